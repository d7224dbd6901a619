"""A skeleton that runs along the middle of an object and moves with it, for measurements.

Voxels are deleted from the surface inwards, in the order of their distance to it in mm (C. Pudney, "Distance-ordered
homotopic thinning", Computer Vision and Image Understanding 72, 1998), as long as they are simple points: so the
topology is exactly that of the mask. Many voxels of a thin object have the same distance, so that of their surroundings
is added to it, twice averaged over 3 x 3 x 3 voxels. Where that is the same too, by symmetry, a rule decides that looks
at neighbours and not at indices: first go voxels whose neighbour at the first face is background, then those at the
opposite face and so on, and of these the voxels of most neighbours, so that a row of even width is thinned before it is
shortened. A voxel that has one neighbour when its turn comes is an end and stays.

What a rough surface leaves is taken off afterwards: a spur is a chain from an end to a junction that reaches out of
its parent, the ball around the deepest voxel of the junction, by no more than ``SPUR_FACTOR`` times its own depth there
plus ``SPUR_ALLOWANCE`` edges of a voxel. A spur's reach is measured to the object's tip, also where shorter spurs have
been taken off it (the erosion thickness of Y. Yan et al., ACM Transactions on Graphics 35, 2016). All spurs of a
junction go together. A component without a junction whose both arms are spurs of its deepest voxel, such as a ball or
a cylinder not much longer than wide, becomes that voxel.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.grids import check_spacing
from nnunet_topo.skeletons.simple_points import simple_point_table

SPUR_FACTOR = 1.5
SPUR_ALLOWANCE = 1.0
_SCALE = 1024  # in which depths are whole numbers, for the shortest edge of a voxel
_LEVEL = 128  # of their sums over surroundings, 1458 times as large; finer ones cost time
_OFFSETS = np.array([offset for offset in itertools.product((-1, 0, 1), repeat=3) if any(offset)])


@dataclass(frozen=True)
class Spurs:
    """What was taken off a skeleton.

    Attributes:
        ends: (N, axes) int, indices of the voxels at which they ended.
        reach_mm: (N,) how far each reached out of its parent.
        width_mm: (N,) its depth there.
    """

    ends: NDArray[np.int64]
    reach_mm: NDArray[np.float64]
    width_mm: NDArray[np.float64]


@dataclass(frozen=True)
class CentredSkeleton:
    """The voxels of a skeleton.

    Attributes:
        voxels: (N, axes) int, their indices, sorted.
        depth_mm: (N,) from a voxel's centre to the nearest face of a voxel of the background.
        spurs: what was taken off.
    """

    voxels: NDArray[np.int64]
    depth_mm: NDArray[np.float64]
    spurs: Spurs


def centred_skeleton(mask: NDArray[np.bool_], spacing: Sequence[float]) -> NDArray[np.bool_]:
    """The centred skeleton of a mask (*S), 2D or 3D, as a mask.

    It has the Betti numbers of the mask (26-connected foreground and 6-connected background, 8 and 4 in 2D): a hollow
    object becomes a closed surface, and an empty mask stays empty. Outside of the image is background. When the mask is
    moved, the skeleton moves with it exactly. When axes are mirrored or exchanged, so is the skeleton but for places of
    even width, where a side has to be chosen. Takes 13 bytes a voxel around the mask (of the box, less where most of it
    is empty) and 60 a voxel of the mask.

    Args:
        mask: bool array.
        spacing: length of a voxel along each axis in mm.

    Raises:
        ValueError: another array, or a spacing that is not a positive length for each axis.
    """
    result = np.zeros_like(mask)
    result[tuple(skeleton_and_spurs(mask, spacing).voxels.T)] = True
    return result


def skeleton_and_spurs(mask: NDArray[np.bool_], spacing: Sequence[float]) -> CentredSkeleton:
    """The voxels of :func:`centred_skeleton`, whose arguments and errors these are, and what was taken off."""
    from nnunet_topo.skeletons import centred_numba, spurs_numba  # at the first call; see the package

    _check(mask, spacing)
    corner, framed = _framed_box(mask)
    axes = mask.ndim
    edges = np.ones(3)
    edges[3 - axes:] = spacing
    strides = np.array(framed.strides)  # one byte a voxel: in voxels as well
    flat = framed.reshape(-1)
    voxels = np.flatnonzero(flat)
    steps, lengths = _OFFSETS @ strides, np.linalg.norm(_OFFSETS * edges, axis=1)
    depth = centred_numba.squared_distances(flat, voxels, strides[3 - axes:], edges[3 - axes:])
    depth[voxels] = np.sqrt(depth[voxels])

    levels = centred_numba.with_surroundings(depth, voxels, steps, _SCALE / edges[3 - axes:].min()) // _LEVEL
    order = np.argsort(levels, kind="stable")
    ends_of_levels = np.append(np.flatnonzero(np.diff(levels[order])) + 1, len(order))
    state = flat.view(np.uint8)
    faces = np.concatenate([(-stride, stride) for stride in strides[3 - axes:]])
    table = simple_point_table("topological", 3)
    centred_numba.thin(state, voxels[order], ends_of_levels, steps, faces, table)

    left = voxels[order][state[voxels[order]] > 0]
    state[left] = 1
    left = left[np.argsort(depth[left], kind="stable")]
    rows = spurs_numba.prune(state, left, depth, steps, lengths, table, SPUR_FACTOR, SPUR_ALLOWANCE * max(spacing))
    left = np.sort(left[state[left] > 0])

    def indices(places: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.stack(np.unravel_index(places, framed.shape), -1)[:, 3 - axes:] - 1 + corner

    spurs = Spurs(indices(rows[:, 0].astype(np.int64)), rows[:, 1].copy(), rows[:, 2].copy())
    return CentredSkeleton(indices(left), depth[left].astype(np.float64), spurs)


def _framed_box(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The box around the mask as a volume with a frame of background, and the index of its first voxel."""
    box = []
    for axis in range(mask.ndim):
        present = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        box.append(slice(present[0], present[-1] + 1) if present.size else slice(0, 0))
    inside = mask[tuple(box)]
    inside = inside.reshape((1,) * (3 - mask.ndim) + inside.shape)
    framed = np.zeros(np.add(inside.shape, 2), np.bool_)
    framed[1:-1, 1:-1, 1:-1] = inside
    return np.array([part.start for part in box], np.int64), framed


def _check(mask: NDArray[np.bool_], spacing: Sequence[float]) -> None:
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.ndim not in (2, 3):
        given = f"{type(mask).__name__} {getattr(mask, 'dtype', '')} {tuple(getattr(mask, 'shape', ()))}"
        raise ValueError(f"A centred skeleton is that of a boolean numpy array of two or three axes, not of {given}; "
                         "turn labels into a mask first, for instance by labels == 1.")
    check_spacing(spacing, mask.ndim)
