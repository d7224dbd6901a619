"""Betti matching error of two masks."""

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.homology import Connectivity, betti_numbers, matched_betti_numbers
from nnunet_topo.metrics.masks import check_masks


def betti_matching_error(
    prediction: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    connectivity: Connectivity = "foreground",
    *,
    published: bool = False,
) -> tuple[int, ...]:
    """Features of either mask that the other does not have at the same place, counted for each dimension.

    (components, holes) in 2D, (components, tunnels, cavities) in 3D, at the connectivity of
    :func:`nnunet_topo.homology.betti_numbers`: 8 or 26 neighbours in the "foreground" or in the "background". Never
    less than the difference of those Betti numbers, and the same for mirrored, transposed and exchanged masks. Features
    are matched as :func:`nnunet_topo.homology.matched_betti_numbers` says. Exact also for whole volumes.

    ``published``: the number of the authors' code, for comparison with papers: connectivity "background" only; ties are
    broken by position, so that it depends on the orientation of the masks and is sometimes too small; and two masks
    that are not empty share one component wherever they lie.

    If exactly one mask is empty, all features of the other count, and if both are, nothing does. Raises ValueError for
    masks of different shapes, another type, or other than two or three axes; for another connectivity, and for the
    published form of another than "background". N. Stucki et al., "Topologically faithful image segmentation via
    induced matching of persistence barcodes", ICML 2023, section 4.
    """
    check_masks(prediction, reference)
    matched = matched_betti_numbers(prediction, reference, connectivity, published=published)
    numbers = betti_numbers(prediction, connectivity), betti_numbers(reference, connectivity)
    return tuple(one + two - 2 * both for one, two, both in zip(*numbers, matched, strict=True))
