"""Overlap of two masks."""

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.metrics.masks import check_masks


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
