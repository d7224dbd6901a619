"""Operations on a predicted mask that change its topology where it is wrong and nothing else.

All of them take a mask in 2D or 3D and return a new one. Foreground is 8-connected in 2D and 26-connected in 3D,
background 4- and 6-connected; what lies outside of the image is background. Sizes are areas in mm2 in 2D and volumes in
mm3 in 3D. Each says what it keeps, which the tests check.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import KDTree

from nnunet_topo.metrics.masks import check_spacing, even_box
from nnunet_topo.postprocessing.components import Mask, components, enclosed_components, smaller, union, voxel_counts
from nnunet_topo.postprocessing.probabilities import above, ordered
from nnunet_topo.postprocessing.tunnels import plugs
from nnunet_topo.skeletons import thin

Probabilities = NDArray[np.floating[Any]]
_BESIDE = 9  # voxels of the skeleton; its ends lie nearer to the background than the rest


def drop_specks(
    mask: Mask,
    spacing: Sequence[float],
    *,
    smaller_than: float = 0.0,
    peak_below: float = 0.0,
    probabilities: Probabilities | None = None,
) -> Mask:
    """Drop the components that are too small, and those that are nowhere likely.

    The result lies in the mask and is the union of the components that stay, each as it was. Its Betti numbers are the
    mask's less those of the dropped components, in every dimension. With 0 and 0 nothing changes.

    Args:
        mask: bool (*S), 2D or 3D.
        spacing: size of a voxel in mm along each axis.
        smaller_than: components of a smaller area (mm2) or volume (mm3) go; one of exactly this size stays.
        peak_below: components whose highest probability is lower go; needs ``probabilities``.
        probabilities: (*S) of the mask's label, in [0, 1].

    Raises:
        ValueError: a mask, spacing or probabilities that do not fit, a size or peak that cannot be.
    """
    _check(mask, spacing, probabilities)
    _check_size("smaller_than", smaller_than)
    _check_share("peak_below", peak_below)
    if peak_below > 0 and probabilities is None:
        raise ValueError("peak_below looks at probabilities; give them, or leave it 0.")
    if not mask.any() or (smaller_than == 0 and peak_below == 0):
        return mask.copy()
    labels, count = components(mask)
    stays = ~smaller(voxel_counts(labels, count), smaller_than, spacing)
    if probabilities is not None and peak_below > 0:
        peaks = np.zeros(count + 1, np.bool_)
        peaks[labels[mask][probabilities[mask] >= peak_below]] = True
        stays &= peaks
    return union(labels, stays)


def fill_holes(
    mask: Mask,
    spacing: Sequence[float],
    *,
    smaller_than: float = 0.0,
    tunnels_smaller_than: float = 0.0,
    allowed: Mask | None = None,
) -> Mask:
    """Fill the holes of a mask in 2D, its cavities in 3D, that are smaller than a size, with all that lies in them.

    A hole is a component of the background that does not reach the outside. The result contains the mask. Filling a
    component C takes one from the mask's last Betti number; by duality it takes as many components from the mask as C
    has holes (2D) or cavities (3D), for what lay in C joins what lies around it, and in 3D as many tunnels as C has.
    Nothing else changes, and with 0 nothing at all. Tunnels are closed by plugs of one voxel's thickness, which lower
    the number of tunnels by at least one each and change no other Betti number; of a tunnel that only a larger plug
    closes nothing is filled.

    Args:
        mask: bool (*S), 2D or 3D.
        spacing: size of a voxel in mm along each axis.
        smaller_than: holes of a smaller area (mm2) or volume (mm3) are filled; one of exactly this size stays.
        tunnels_smaller_than: tunnels that a plug of a smaller volume (mm3) closes are closed; 3D only.
        allowed: bool (*S), voxels that may be filled; a hole or plug with any other voxel stays open. None: all.

    Raises:
        ValueError: a mask, spacing or ``allowed`` that does not fit, a size that cannot be, tunnels in 2D.
    """
    _check(mask, spacing)
    _check_size("smaller_than", smaller_than)
    _check_size("tunnels_smaller_than", tunnels_smaller_than)
    _check_same_shape("allowed", allowed, mask)
    if tunnels_smaller_than > 0 and mask.ndim == 2:
        raise ValueError("Only volumes have tunnels; leave tunnels_smaller_than 0 in 2D.")
    result = mask.copy()
    if not mask.any():
        return result
    if smaller_than > 0:
        labels, count = enclosed_components(mask)
        filled = smaller(voxel_counts(labels, count), smaller_than, spacing)
        if allowed is not None:
            closed = labels != 0
            filled[labels[closed][~allowed[closed]]] = False
        result |= union(labels, filled)
    if tunnels_smaller_than > 0:
        result |= plugs(result, tunnels_smaller_than, spacing, allowed)
    return result


def close_gaps(
    mask: Mask,
    probabilities: Probabilities,
    spacing: Sequence[float],
    *,
    tau: float = 0.5,
    thick: bool = False,
    allowed: Mask | None = None,
) -> Mask:
    """Topological hysteresis: join what weaker probabilities join, by the thinnest bridges.

    Let L be the components of the mask together with all voxels of a probability above ``tau`` that hold a voxel of the
    mask. The result contains the mask, lies in L and has the Betti numbers of L in every dimension: pieces that L
    joins are joined, and holes that L fills are filled. Beside the mask it has no voxel that could go without a change
    of topology, unless ``thick`` asks for it. With tau 0.5 nothing changes.

    Args:
        mask: bool (*S), 2D or 3D.
        probabilities: (*S) of the mask's label, in [0, 1].
        spacing: size of a voxel in mm along each axis; only ``thick`` looks at it.
        tau: probability in [0, 0.5] above which voxels may join the mask.
        thick: give the bridges the thickness that the mask has nearest to them, as far as L allows.
        allowed: bool (*S), voxels that the mask may gain. None: all.

    Raises:
        ValueError: a mask, spacing, probabilities or ``allowed`` that do not fit, or tau outside of [0, 0.5].
    """
    _check(mask, spacing, probabilities)
    _check_same_shape("allowed", allowed, mask)
    if not 0 <= tau <= 0.5:
        raise ValueError(f"tau must be a probability from 0 to 0.5 (0.5: no gap is closed), not {tau!r}.")
    if tau == 0.5 or not mask.any():
        return mask.copy()
    wide = above(probabilities, tau)
    if allowed is not None:
        wide &= allowed
    wide |= mask
    box = even_box(wide)
    result = mask.copy()
    inside, wide = mask[box], wide[box]
    labels, count = components(wide)
    met = np.zeros(count + 1, np.bool_)
    met[labels[inside]] = True
    wide = union(labels, met)
    closed = thin(wide, anchors=inside, keep_end_points=False)
    if thick and not np.array_equal(closed, inside):
        anchors = inside | _around_bridges(inside, closed & ~inside, wide, spacing)
        closed = thin(wide, anchors=anchors, keep_end_points=False)
    result[box] = closed
    return result


def keep_pieces(mask: Mask, *, pieces: int | None = None) -> Mask:
    """Keep the largest components of a mask, as many as ``pieces``; of equal ones the first in the array's order.

    The result lies in the mask and is a union of its components, each as it was: Betti numbers are the mask's less
    those of the components that go. With None, or with as many pieces as there are or more, nothing changes.

    Raises:
        ValueError: what is not a mask, or a number of pieces below 1.
    """
    _check(mask, (1.0,) * mask.ndim)
    if pieces is not None and (isinstance(pieces, bool) or not isinstance(pieces, int) or pieces < 1):
        raise ValueError(f"pieces must be a whole number of at least 1, or None for all, not {pieces!r}.")
    if pieces is None or not mask.any():
        return mask.copy()
    labels, count = components(mask)
    counts = voxel_counts(labels, count)
    counts[0] = 0
    stays = np.zeros(count + 1, np.bool_)
    places = np.flatnonzero(labels)
    first = np.full(count + 1, labels.size)
    first[labels.flat[places[::-1]]] = places[::-1]  # what is written last stays
    stays[np.lexsort((first, -counts))[:pieces]] = True
    return union(labels, stays)


def _around_bridges(mask: Mask, bridges: Mask, within: Mask, spacing: Sequence[float]) -> Mask:
    """The voxels that are nearer to a bridge than the radius of the mask beside it, the median along its skeleton."""
    radii = np.asarray(distance_transform_edt(np.pad(mask, 1), [float(size) for size in spacing]))
    radii = radii[(slice(1, -1),) * mask.ndim]
    middle = np.argwhere(thin(mask))
    bridge = np.argwhere(bridges) * np.asarray(spacing, float)
    nearest = KDTree(middle * np.asarray(spacing, float)).query(bridge, range(1, min(len(middle), _BESIDE) + 1))[1]
    radius = np.median(radii[tuple(np.moveaxis(middle[nearest], -1, 0))], axis=1)
    candidates = np.argwhere(within & ~mask & ~bridges)
    result = bridges.copy()
    if len(candidates):
        distance, place = KDTree(bridge).query(candidates * np.asarray(spacing, float))
        result[tuple(candidates[distance < radius[place]].T)] = True
    return result


def _check(mask: Mask, spacing: Sequence[float], probabilities: Probabilities | None = None) -> None:
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.ndim not in (2, 3):
        given = f"{type(mask).__name__} {getattr(mask, 'dtype', '')} {tuple(getattr(mask, 'shape', ()))}"
        raise ValueError(f"The mask must be a boolean numpy array of two or three axes, not {given}; turn labels into "
                         "a mask first, for instance by labels == 1.")
    check_spacing(spacing, mask)
    if probabilities is None:
        return
    if not isinstance(probabilities, np.ndarray) or probabilities.shape != mask.shape:
        raise ValueError(f"The probabilities must be a numpy array of the mask's shape {mask.shape}, not "
                         f"{type(probabilities).__name__} {tuple(getattr(probabilities, 'shape', ()))}.")
    if probabilities.dtype == np.float16:  # much faster than by their values
        whole = ordered(probabilities)
        if whole.min(initial=0) == 0 and whole.max(initial=0) <= ordered(np.float16(1)):
            return
    low, high = float(probabilities.min(initial=0)), float(probabilities.max(initial=0))
    if not (low >= 0 and high <= 1):  # also where they are NaN
        raise ValueError(f"The probabilities must lie in [0, 1], but they go from {low:g} to {high:g}; apply softmax "
                         "or sigmoid to logits first.")


def _check_size(name: str, size: float) -> None:
    if not (math.isfinite(size) and size >= 0):
        raise ValueError(f"{name} must be an area in mm2 or a volume in mm3 of at least 0, not {size!r}.")


def _check_share(name: str, share: float) -> None:
    if not 0 <= share <= 1:
        raise ValueError(f"{name} must be a probability from 0 to 1, not {share!r}.")


def _check_same_shape(name: str, other: Mask | None, mask: Mask) -> None:
    if other is None:
        return
    if not isinstance(other, np.ndarray) or other.dtype != np.bool_ or other.shape != mask.shape:
        given = f"{type(other).__name__} {getattr(other, 'dtype', '')} {tuple(getattr(other, 'shape', ()))}"
        raise ValueError(f"{name} must be a boolean numpy array of the mask's shape {mask.shape}, not {given}.")
