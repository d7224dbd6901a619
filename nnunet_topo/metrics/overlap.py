"""Overlap and volume of two masks."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.metrics.masks import check_masks, check_spacing


def dice(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> float:
    """Dice coefficient 2 |P and R| / (|P| + |R|) of two boolean masks of the same shape, in [0, 1].

    Not a number when both masks are empty, since there is nothing to overlap; 0 when only one is. Raises ValueError
    for masks of different shapes or another type. L. R. Dice, Ecology 26, 1945.
    """
    check_masks(prediction, reference)
    total = int(np.count_nonzero(prediction)) + int(np.count_nonzero(reference))
    if total == 0:
        return float("nan")
    return 2 * int(np.count_nonzero(prediction & reference)) / total


def iou(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> float:
    """Intersection over union |P and R| / |P or R| of two boolean masks of the same shape, in [0, 1].

    Not a number when both masks are empty, 0 when only one is. Raises ValueError for masks of different shapes or
    another type. P. Jaccard, Bulletin de la Société Vaudoise des Sciences Naturelles 37, 1901.
    """
    check_masks(prediction, reference)
    union = int(np.count_nonzero(prediction | reference))
    return int(np.count_nonzero(prediction & reference)) / union if union else float("nan")


def volume_difference_mm3(
    prediction: NDArray[np.bool_], reference: NDArray[np.bool_], spacing: Sequence[float]
) -> float:
    """Volume of the prediction minus that of the reference in mm3, above 0 where too much is predicted.

    In 2D it is the difference of areas in mm2. ``spacing`` is the size of a voxel in mm along each axis. An empty mask
    has volume 0. Raises ValueError for masks of different shapes or another type, and for a spacing that does not fit.
    """
    check_masks(prediction, reference)
    check_spacing(spacing, prediction)
    return (int(np.count_nonzero(prediction)) - int(np.count_nonzero(reference))) * float(math.prod(spacing))
