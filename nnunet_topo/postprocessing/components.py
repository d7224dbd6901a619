"""Connected components of masks and of their backgrounds, of any size and shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import cc3d
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
_ROUNDING = 1e-6  # voxels; 100 voxels of 0.1 mm3 are 10 mm3, whatever floating point says


def components(mask: Mask) -> tuple[NDArray[Any], int]:
    """Labels 1 to n of the components of a foreground, 8-connected in 2D and 26-connected in 3D, and n."""
    neighbours: Literal[8, 26] = 8 if mask.ndim == 2 else 26
    # The frame keeps cc3d from failing on isolated voxels of an axis of size 1 or 3.
    framed, count = cc3d.connected_components(np.pad(mask, 1), connectivity=neighbours, return_N=True)
    labels = framed[(slice(1, -1),) * mask.ndim]
    labels *= mask  # cc3d 4.1 labels some voxels of the background, in 2D where the last axis is of odd size
    return labels, int(count)


def enclosed_components(mask: Mask) -> tuple[NDArray[Any], int]:
    """Labels of the holes of a mask in 2D, its cavities in 3D, and the largest label; the outside and the mask are 0.

    They are the components of the background, 4-connected in 2D and 6-connected in 3D, that do not reach the outside,
    which begins at the border of the image. Labels are above 0, with gaps.
    """
    neighbours: Literal[4, 6] = 4 if mask.ndim == 2 else 6
    frame = np.pad(~mask, 1, constant_values=True)
    framed, count = cc3d.connected_components(frame, connectivity=neighbours, return_N=True)
    labels = framed[(slice(1, -1),) * mask.ndim]
    labels[labels == framed.flat[0]] = 0
    return labels, int(count)


def voxel_counts(labels: NDArray[Any], count: int) -> NDArray[np.int64]:
    """The number of voxels of each label from 0 to ``count``."""
    counts = np.bincount(labels[labels != 0], minlength=count + 1)  # few of a large image; the others take long
    counts[0] = labels.size - counts.sum()
    return counts


def union(labels: NDArray[Any], chosen: NDArray[np.bool_]) -> Mask:
    """The voxels of the labels that are chosen, never those of 0."""
    result = labels != 0
    result[result] = chosen[labels[result]]
    return result


def smaller(counts: NDArray[np.int64], size: float, spacing: Sequence[float]) -> NDArray[np.bool_]:
    """Which numbers of voxels are less than a size in mm2 or mm3; a size of so many voxels is not less than itself."""
    return counts < size / math.prod(spacing) - _ROUNDING
