"""Distances between the surfaces of two masks, computed once and read as several metrics.

The surface of a mask lies between its voxels. Its elements are the corners of voxels at which foreground and background
meet, as in S. Nikolov et al., "Clinically applicable segmentation of head and neck anatomy for radiotherapy", Journal
of Medical Internet Research 23, 2021; outside of the image is background. An element has the area of the surface
around it: the faces between foreground and background that end at the corner, a quarter of each (in 2D half of each
edge), are summed as vectors, so that a slanted plane has its own area and not that of its stairs. Where several pieces
of surface touch in a corner, each is summed by itself.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label
from scipy.spatial import KDTree

from nnunet_topo.metrics.masks import check_masks, check_spacing

_ROUNDING = 1e-9  # relative; three voxels of 0.1 mm are within 0.3 mm, whatever floating point says


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances in mm of the surface elements of either mask to the other's nearest one, and their areas in mm2.

    In 2D the areas are lengths in mm. Distances are inf where the other mask is empty; an empty mask has no elements.
    """

    prediction_to_reference_mm: NDArray[np.float64]
    reference_to_prediction_mm: NDArray[np.float64]
    prediction_areas: NDArray[np.float64]
    reference_areas: NDArray[np.float64]

    def normalised_surface_dice(self, tolerance_mm: float) -> float:
        """Share of both surfaces, by area, that lies within a tolerance of the other one, in [0, 1].

        Not a number when both masks are empty, 0 when only one is. Raises ValueError for a tolerance that is negative
        or not finite. S. Nikolov et al., 2021.
        """
        if not 0 <= tolerance_mm < np.inf:
            raise ValueError(f"The tolerance must be a length in mm of at least 0, not {tolerance_mm!r}.")
        within = sum(areas[distances <= tolerance_mm * (1 + _ROUNDING)].sum() for distances, areas in self._sides())
        total = self.prediction_areas.sum() + self.reference_areas.sum()
        return float(within / total) if total else float("nan")

    def hausdorff_mm(self, percentile: float = 100) -> float:
        """Hausdorff distance in mm, or its percentile: the larger one of both directions.

        The percentile of a direction is the least distance within which that share of the surface lies, by area. Not a
        number when both masks are empty, inf when only one is. Raises ValueError for a percentile outside of (0, 100].
        D. P. Huttenlocher et al., "Comparing images using the Hausdorff distance", IEEE TPAMI 15, 1993.
        """
        if not 0 < percentile <= 100:
            raise ValueError(f"The percentile must be above 0 and at most 100, not {percentile!r}.")
        sides = [_percentile(distances, areas, percentile) for distances, areas in self._sides() if distances.size]
        return max(sides, default=float("nan"))

    def average_symmetric_mm(self) -> float:
        """Average symmetric surface distance in mm: the mean over both surfaces together, by area.

        Not a number when both masks are empty, inf when only one is. T. Heimann et al., "Comparison and evaluation of
        methods for liver segmentation from CT datasets", IEEE TMI 28, 2009.
        """
        total = self.prediction_areas.sum() + self.reference_areas.sum()
        if not total:
            return math.nan
        return float(sum((distances * areas).sum() for distances, areas in self._sides()) / total)

    def _sides(self) -> tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...]:
        return (
            (self.prediction_to_reference_mm, self.prediction_areas),
            (self.reference_to_prediction_mm, self.reference_areas),
        )


def surface_distances(
    prediction: NDArray[np.bool_], reference: NDArray[np.bool_], spacing: Sequence[float]
) -> SurfaceDistances:
    """Distances between the surfaces of two boolean masks of the same shape, 2D or 3D, with spacing in mm.

    Time and memory go with the two surfaces, beside a few bytes a voxel. Raises ValueError for masks of different
    shapes or another type, and for a spacing that does not fit. Empty masks are allowed, see
    :class:`SurfaceDistances`.
    """
    check_masks(prediction, reference)
    check_spacing(spacing, prediction)
    areas_of = _areas_of_corners(tuple(float(size) for size in spacing))
    predicted, true = _corners(prediction), _corners(reference)
    predicted_at, true_at = (np.flatnonzero(areas_of[corners]) for corners in (predicted, true))
    predicted_areas, true_areas = areas_of[predicted.ravel()[predicted_at]], areas_of[true.ravel()[true_at]]
    shape = predicted.shape
    del predicted, true
    return SurfaceDistances(
        _distances(predicted_at, true_at, shape, spacing),
        _distances(true_at, predicted_at, shape, spacing),
        predicted_areas,
        true_areas,
    )


def _corners(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """For each corner of voxels which of the 2^D voxels around it are foreground, as bits; one more along each axis."""
    codes = np.zeros([size + 1 for size in mask.shape], np.uint8)
    voxels = mask.view(np.uint8)
    for bit, after in enumerate(itertools.product((0, 1), repeat=mask.ndim)):
        place = tuple(slice(1 - a, size + 1 - a) for a, size in zip(after, mask.shape, strict=True))
        codes[place] |= voxels << np.uint8(bit)
    return codes


@lru_cache(maxsize=16)
def _areas_of_corners(spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """The area of a surface element for each of the 2^(2^D) codes of :func:`_corners`, 0 where there is no surface."""
    ndim = len(spacing)
    face_parts = np.prod(spacing) / np.asarray(spacing) / 2 ** (ndim - 1)
    areas = np.zeros(256)
    for code in range(2**2**ndim):
        around = np.array([code >> bit & 1 for bit in range(2**ndim)], bool).reshape((2,) * ndim)
        # The side of fewer voxels falls into pieces through faces, and its pieces never have a vector of length 0.
        side = around if 2 * np.count_nonzero(around) <= around.size else ~around
        pieces, count = label(side)
        for piece in range(1, count + 1):
            faces = [np.diff((pieces == piece).astype(int), axis=axis).sum() for axis in range(ndim)]
            areas[code] += np.linalg.norm(faces * face_parts)
    return areas


def _distances(
    from_corners: NDArray[np.int64], to_corners: NDArray[np.int64], shape: tuple[int, ...], spacing: Sequence[float]
) -> NDArray[np.float64]:
    """Distance in mm from each corner, a flat index, to the nearest of the others; inf where there is none."""
    distances = np.full(len(from_corners), np.inf)
    if not (len(from_corners) and len(to_corners)):
        return distances
    off = np.flatnonzero(~np.isin(from_corners, to_corners, assume_unique=True))
    distances[:] = 0
    # Faster than distance transforms, which look at every voxel and keep dozens of bytes of each. Not balanced: on a
    # grid, where many coordinates are equal, medians make a worse tree.
    tree = KDTree(_positions_mm(to_corners, shape, spacing), balanced_tree=False, compact_nodes=False)
    distances[off] = tree.query(_positions_mm(from_corners[off], shape, spacing))[0]
    return distances


def _positions_mm(corners: NDArray[np.int64], shape: tuple[int, ...], spacing: Sequence[float]) -> NDArray[np.float64]:
    return np.stack(np.unravel_index(corners, shape), axis=1) * np.asarray(spacing, float)


def _percentile(distances: NDArray[np.float64], areas: NDArray[np.float64], percentile: float) -> float:
    if percentile == 100:
        return float(distances.max())
    order = np.argsort(distances)
    cumulated = np.cumsum(areas[order])
    return float(distances[order][np.searchsorted(cumulated, cumulated[-1] * percentile / 100 * (1 - _ROUNDING))])
