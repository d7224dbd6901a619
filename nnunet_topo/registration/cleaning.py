"""From a segmentation to one clean bone on a grid of equal steps: specks off, holes closed, cropped."""

from __future__ import annotations

from typing import Any

import cc3d
import numpy as np
import SimpleITK as sitk  # noqa: N813  its customary name
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from nnunet_topo.registration.volumes import Grid

_SPECK = 0.05  # pieces of less than this share of the largest one are errors
_BONE = 0.2  # two pieces of at least this share, neither cut by the field of view, are two bones
_CLOSING = 2  # voxels of the new grid
_SMOOTHING = 0.8  # voxels, standard deviation


def clean_occupancy(
    image: sitk.Image, probability: NDArray[np.float32], name: str, *, step_mm: float, pad_mm: float
) -> tuple[NDArray[np.float32], Grid]:
    """How much of each voxel of a new grid is bone (0 to 1, array z, y, x), around the bone alone.

    The grid keeps the image's axes. Beyond the image, its last slices are continued, so that a cut face is not a
    surface. Raises ValueError for a segmentation that is empty, full, or holds several bones.
    """
    grid = Grid.of(image)
    mask = probability > 0.5
    _require_foreground(mask, name)
    kept = _without_specks(mask, name)
    box = cc3d.statistics(kept.view(np.uint8), no_slice_conversion=True)["bounding_boxes"][1].reshape(3, 2)
    margin = np.ceil(4 / grid.spacing[::-1]).astype(int)
    low = np.maximum(box[:, 0] - margin, 0)
    high = np.minimum(box[:, 1] + 1 + margin, mask.shape)
    part = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    values = np.where(mask[part] & ~kept[part], 0, probability[part]).astype(np.float32)

    first = box[:, 0] * grid.spacing[::-1] - pad_mm
    size = np.ceil(((box[:, 1] - box[:, 0]) * grid.spacing[::-1] + 2 * pad_mm) / step_mm).astype(int) + 1
    for axis in range(3):
        places = (first[axis] + step_mm * np.arange(size[axis])) / grid.spacing[::-1][axis] - low[axis]
        values = _resize(values, places, axis)
    origin = grid.points((first / grid.spacing[::-1])[None, ::-1])[0]
    new = Grid(tuple(int(n) for n in size[::-1]), np.full(3, step_mm), origin, grid.direction)
    values[closed(values > 0.5) & (values <= 0.5)] = 1
    return gaussian_filter(values, _SMOOTHING, truncate=3, mode="nearest"), new


def _require_foreground(mask: NDArray[np.bool_], name: str) -> None:
    if not mask.any():
        raise ValueError(f"The {name} segmentation is empty: no voxel is foreground. Check the label, or whether the "
                         "file is the right one.")
    if mask.all():
        raise ValueError(f"The {name} segmentation is foreground everywhere. A label map with background, or a "
                         "probability map of the bone, is needed; perhaps this is an image.")


def _without_specks(mask: NDArray[np.bool_], name: str) -> NDArray[np.bool_]:
    pieces = cc3d.connected_components(mask.view(np.uint8), connectivity=26)
    statistics: Any = cc3d.statistics(pieces, no_slice_conversion=True)
    counts = statistics["voxel_counts"].astype(np.int64)
    counts[0] = 0
    boxes = statistics["bounding_boxes"].reshape(-1, 3, 2).astype(np.int64)
    whole = (boxes[:, :, 0] > 0).all(1) & (boxes[:, :, 1] < np.array(mask.shape) - 1).all(1)
    bones = int((whole & (counts >= _BONE * counts.max())).sum())
    if bones > 1:
        raise ValueError(f"The {name} segmentation holds {bones} separate bones of similar size. Registration moves "
                         "one bone: keep one of them, or name its label, where each has its own.")
    return (counts >= _SPECK * counts.max())[pieces]


def _resize(values: NDArray[np.float32], places: NDArray[np.float64], axis: int) -> NDArray[np.float32]:
    """Linear interpolation along one axis; beyond its ends the last slice."""
    places = np.clip(places, 0, values.shape[axis] - 1)
    below = np.minimum(places.astype(int), max(values.shape[axis] - 2, 0))
    share = (places - below).astype(np.float32).reshape([-1 if k == axis else 1 for k in range(3)])
    low = np.take(values, below, axis)
    high = np.take(values, np.minimum(below + 1, values.shape[axis] - 1), axis)
    return low + share * (high - low)


def closed(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Small gaps closed, as by ITK's BinaryMorphologicalClosing with its ball of radius 2, and cavities filled."""
    inner = (slice(_CLOSING, -_CLOSING),) * 3
    without_gaps = ~_dilated(~_dilated(np.pad(mask, _CLOSING)))[inner]
    outside = cc3d.connected_components(np.pad(~without_gaps, 1, constant_values=True).view(np.uint8), connectivity=6)
    return outside[1:-1, 1:-1, 1:-1] != outside[0, 0, 0]


def _dilated(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """By ITK's ball of radius 2, whose voxels are those up to the square root of 6 away, in few passes.

    Its outer slices are squares of 3 x 3 voxels, the three between them squares of 5 x 5 without corners.
    """
    row = _with_neighbours(mask, 2)
    square = _with_neighbours(row, 1)
    disc = _with_neighbours(square, 1) | _with_neighbours(_with_neighbours(row, 2), 1)
    ball = _with_neighbours(disc, 0)
    ball[2:] |= square[:-2]
    ball[:-2] |= square[2:]
    return ball


def _with_neighbours(mask: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """Or with the next and the previous voxel along an axis."""
    spread = mask.copy()
    after, before = np.moveaxis(spread, axis, 0)[1:], np.moveaxis(spread, axis, 0)[:-1]
    source = np.moveaxis(mask, axis, 0)
    after |= source[:-1]
    before |= source[1:]
    return spread
