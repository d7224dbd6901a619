"""Centreline Dice of two masks."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.metrics.masks import check_masks
from nnunet_topo.skeletons import thin


class ClDiceParts(NamedTuple):
    """clDice and the two shares whose harmonic mean it is, each in [0, 1] or not a number."""

    cl_dice: float
    precision: float
    sensitivity: float


def cl_dice(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> float:
    """Centreline Dice of two boolean masks of the same shape, 2D or 3D; see :func:`cl_dice_parts`."""
    return cl_dice_parts(prediction, reference).cl_dice


def cl_dice_parts(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> ClDiceParts:
    """Centreline Dice of two boolean masks of the same shape, 2D or 3D, with its precision and sensitivity.

    The precision is the share of the prediction's skeleton, by voxels, that lies in the reference; the sensitivity the
    share of the reference's skeleton that lies in the prediction. Skeletons are those of
    :func:`nnunet_topo.skeletons.thin`, which keep the topology of a foreground that is 26-connected (8 in 2D). All
    three are not a number when both masks are empty. When only one is, clDice is 0, as is the share of the other
    mask's skeleton, and the share of the empty skeleton is not a number. Raises ValueError for masks of different
    shapes, another type, or other than two or three axes. S. Shit et al., "clDice - a novel topology-preserving loss
    function for tubular structure segmentation", CVPR 2021, equations 1 and 2.
    """
    check_masks(prediction, reference)
    return cl_dice_of_skeletons(prediction, reference, thin(prediction), thin(reference))


def cl_dice_of_skeletons(
    prediction: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    prediction_skeleton: NDArray[np.bool_],
    reference_skeleton: NDArray[np.bool_],
) -> ClDiceParts:
    """:func:`cl_dice_parts` of masks whose skeletons are known."""
    precision = _share_inside(prediction_skeleton, reference)
    sensitivity = _share_inside(reference_skeleton, prediction)
    if np.isnan(precision) and np.isnan(sensitivity):
        return ClDiceParts(float("nan"), precision, sensitivity)
    harmonic = 2 * precision * sensitivity / (precision + sensitivity) if precision > 0 and sensitivity > 0 else 0.0
    return ClDiceParts(harmonic, precision, sensitivity)


def _share_inside(skeleton: NDArray[np.bool_], mask: NDArray[np.bool_]) -> float:
    voxels = int(np.count_nonzero(skeleton))
    return int(np.count_nonzero(skeleton & mask)) / voxels if voxels else float("nan")
