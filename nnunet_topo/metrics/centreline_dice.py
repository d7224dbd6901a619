"""Centreline Dice of two masks."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.metrics.masks import check_masks
from nnunet_topo.skeletons import centred_skeleton, thin

Skeleton = Literal["thin", "centred", "lee"]


class ClDiceParts(NamedTuple):
    """clDice and the two shares whose harmonic mean it is, each in [0, 1] or not a number."""

    cl_dice: float
    precision: float
    sensitivity: float


def cl_dice(
    prediction: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    *,
    skeleton: Skeleton = "thin",
    spacing: Sequence[float] | None = None,
) -> float:
    """Centreline Dice of two boolean masks of the same shape, 2D or 3D; see :func:`cl_dice_parts`."""
    return cl_dice_parts(prediction, reference, skeleton=skeleton, spacing=spacing).cl_dice


def cl_dice_parts(
    prediction: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    *,
    skeleton: Skeleton = "thin",
    spacing: Sequence[float] | None = None,
) -> ClDiceParts:
    """Centreline Dice of two boolean masks of the same shape, 2D or 3D, with its precision and sensitivity.

    The precision is the share of the prediction's skeleton, by voxels, that lies in the reference; the sensitivity the
    share of the reference's skeleton that lies in the prediction. Skeletons are those of
    :func:`nnunet_topo.skeletons.thin`, which keep the topology of a foreground that is 26-connected (8 in 2D). All
    three are not a number when both masks are empty. When only one is, clDice is 0, as is the share of the other
    mask's skeleton, and the share of the empty skeleton is not a number. S. Shit et al., "clDice - a novel
    topology-preserving loss function for tubular structure segmentation", CVPR 2021, equations 1 and 2.

    Args:
        prediction, reference: boolean masks.
        skeleton: "thin"; "centred" for :func:`nnunet_topo.skeletons.centred_skeleton`, which does not change when both
            masks are moved; "lee" for the thinning of scikit-image (T. C. Lee et al., CVGIP 1994), by which published
            results and challenges have it. The latter depends on the order of axes, which is x, y, z in TopCoW and
            TopBrain and z, y, x, as readers give them, in ToothFairy, and is empty for some boxes of even width.
        spacing: length of a voxel along each axis in mm, for "centred".

    Raises:
        ValueError: masks of different shapes, another type, or other than two or three axes; another skeleton; no
            spacing where it is needed.
    """
    check_masks(prediction, reference)
    return cl_dice_of_skeletons(prediction, reference, *(_skeleton(mask, skeleton, spacing)
                                                         for mask in (prediction, reference)))


def _skeleton(mask: NDArray[np.bool_], skeleton: Skeleton, spacing: Sequence[float] | None) -> NDArray[np.bool_]:
    if skeleton == "centred":
        if spacing is None:
            raise ValueError('The skeleton "centred" needs the spacing of the masks; pass it as spacing=.')
        return centred_skeleton(mask, spacing)
    if skeleton == "lee":
        from skimage.morphology import skeletonize

        return skeletonize(mask, method="lee") > 0
    if skeleton not in get_args(Skeleton):
        raise ValueError(f"The skeleton must be one of {', '.join(get_args(Skeleton))}, not {skeleton!r}.")
    return thin(mask)


def cl_dice_of_skeletons(
    prediction: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    prediction_skeleton: NDArray[np.bool_],
    reference_skeleton: NDArray[np.bool_],
) -> ClDiceParts:
    """:func:`cl_dice_parts` of masks whose skeletons are known."""
    return cl_dice_of_shares(_share_inside(prediction_skeleton, reference),
                             _share_inside(reference_skeleton, prediction))  # fmt: skip


def cl_dice_of_shares(precision: float, sensitivity: float) -> ClDiceParts:
    """:func:`cl_dice_parts` where the two shares are known; that of an empty skeleton is not a number."""
    if np.isnan(precision) and np.isnan(sensitivity):
        return ClDiceParts(float("nan"), precision, sensitivity)
    harmonic = 2 * precision * sensitivity / (precision + sensitivity) if precision > 0 and sensitivity > 0 else 0.0
    return ClDiceParts(harmonic, precision, sensitivity)


def _share_inside(skeleton: NDArray[np.bool_], mask: NDArray[np.bool_]) -> float:
    voxels = int(np.count_nonzero(skeleton))
    return int(np.count_nonzero(skeleton & mask)) / voxels if voxels else float("nan")
