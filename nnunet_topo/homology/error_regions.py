"""Errors of a mask that change its topology, region by region.

Critical regions: L. Lux, A. H. Berger et al., "Topograph: an efficient graph-based framework for strictly topology
preserving image segmentation", ICLR 2025. Critical components: A. Grim, J. Chandrashekar, U. Sumbul, "Efficient
connectivity-preserving instance segmentation with supervoxel-based loss function", AAAI 2025. The foreground is
connected across corners, 8 in 2D and 26 in 3D, the background through faces, 4 and 6.
"""

from __future__ import annotations

import functools
import itertools
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.homology.masks import check_masks

Outside = Literal["background", "nothing"]


class WrongRegions(NamedTuple):
    """All regions of false positives and of false negatives of a mask.

    Attributes:
        voxels: (n,) indices of all wrong voxels into the flattened image, in C order.
        regions: (n,) of each the number of its region, from 0.
        critical: (regions,) bool, whether a region is critical.
    """

    voxels: NDArray[np.int64]
    regions: NDArray[np.int32]
    critical: NDArray[np.bool_]

    def in_critical(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The voxels of the critical regions, and of each the number of its region among these."""
        among = self.critical[self.regions]
        renumbered = np.cumsum(self.critical) - 1
        return self.voxels[among], renumbered[self.regions[among]]


def critical_regions(
    prediction: NDArray[np.bool_], target: NDArray[np.bool_], *, outside: Outside = "background"
) -> WrongRegions:
    """Regions of errors, and which of them change the topology (Topograph).

    A region of false positives is added to the target, one of false negatives to the prediction. It is critical unless
    it touches exactly one component of that mask and, through faces, exactly one component of what is in no mask; in 3D
    also if it changes that mask's Euler number. Voxels belong to one region where they share a face, or else an edge or
    a corner around which all other voxels are in no mask.

    A region that is not critical changes no Betti number of the mask it is added to, whose components and cavities (in
    2D holes) stay as they were. Where no region is critical, prediction, target and their union have the same Betti
    numbers, and in 2D the same homotopy type. In 3D, a region is not seen that closes one tunnel and opens another, or
    changes a knot. Warping judges no regions but voxels, one at a time: :func:`nnunet_topo.homology.critical_voxels`.

    Args:
        prediction, target: boolean arrays of one shape and of two or three axes.
        outside: "background": a frame of background, as for Betti numbers; or "nothing": background on two sides of
            what crosses the image is two components, as the authors have it.

    Raises:
        ValueError: other masks, or another ``outside``.
    """
    if outside not in ("background", "nothing"):
        raise ValueError(f'outside must be "background" or "nothing", not {outside!r}.')
    return _wrong_regions(prediction, target, in_the_open=True, framed=outside == "background")


def critical_components(prediction: NDArray[np.bool_], target: NDArray[np.bool_]) -> WrongRegions:
    """Connected components of the errors, and which of them split or merge components, or are ones of their own.

    A component of false negatives is critical unless it touches exactly one component of what both masks have: what is
    left of the target's component that holds it. A component of false positives is critical under the same condition,
    with the roles of the masks exchanged. Holes and tunnels do not count. Arguments and errors as in
    :func:`critical_regions`.
    """
    return _wrong_regions(prediction, target, in_the_open=False, framed=False)


def _wrong_regions(
    prediction: NDArray[np.bool_], target: NDArray[np.bool_], *, in_the_open: bool, framed: bool
) -> WrongRegions:
    check_masks("Regions of errors are found", prediction, target)
    axes, shape = prediction.ndim, (1, *prediction.shape)[-3:]
    if np.array_equal(prediction, target):
        return WrongRegions(np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.bool_))
    from nnunet_topo.homology._error_regions import wrong_regions  # numba is only needed from here on

    states = np.left_shift(np.ascontiguousarray(target).view(np.uint8), 1)
    states |= np.ascontiguousarray(prediction).view(np.uint8)
    euler = _contributions() if in_the_open and axes == 3 else np.empty(0, np.int32)
    return WrongRegions(*wrong_regions(states.ravel(), shape, axes, in_the_open, framed, euler))


@functools.cache
def _contributions() -> NDArray[np.int32]:
    """What eight voxels, as bits, that share a lattice point add to the Euler number of closed voxels, times eight.

    A cell of dimension d has 2^d lattice points and is shared among them; it is there when a voxel around it is.
    """
    voxels = np.array(list(itertools.product((0, 1), repeat=3)))
    codes = np.arange(256)
    result = np.zeros(256, np.int32)
    for cell in itertools.product((0, 1, None), repeat=3):  # on which side of the point along each axis; None: at it
        around = [all(side is None or side == at for side, at in zip(cell, voxel, strict=True)) for voxel in voxels]
        bits = sum(1 << place for place, there in enumerate(around) if there)
        dimension = sum(side is not None for side in cell)
        result += (-1) ** dimension * (8 >> dimension) * ((codes & bits) != 0)
    return result
