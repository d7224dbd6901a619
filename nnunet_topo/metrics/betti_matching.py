"""Betti matching error of two masks."""

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.homology import betti_numbers, matched_betti_numbers
from nnunet_topo.metrics.masks import check_masks


def betti_matching_error(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> tuple[int, ...]:
    """Features of either mask that the other does not have at the same place, counted for each dimension.

    (components, holes) in 2D, (components, tunnels, cavities) in 3D, of a foreground that is 6-connected (4 in 2D) and
    a background that is 26-connected (8 in 2D): "background" of :func:`nnunet_topo.homology.betti_numbers`. Never less
    than the difference of those Betti numbers. Two masks that are not empty share one component wherever they lie; if
    exactly one is empty, all features of the other count, and if both are, nothing does. Exact also for whole volumes:
    the numbers are those of :func:`nnunet_topo.homology.betti_matching` on the same masks, without persistence.
    Raises ValueError for masks of different shapes, another type, or other than two or three axes. N. Stucki et al.,
    "Topologically faithful image segmentation via induced matching of persistence barcodes", ICML 2023, section 4.
    """
    check_masks(prediction, reference)
    numbers = betti_numbers(prediction, "background"), betti_numbers(reference, "background")
    matched = matched_betti_numbers(prediction, reference)
    return tuple(one + two - 2 * both for one, two, both in zip(*numbers, matched, strict=True))
