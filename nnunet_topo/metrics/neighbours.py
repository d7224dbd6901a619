"""Labels of a prediction that touch labels which they never touch in references."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.homology import touching_labels


def invalid_neighbours(prediction: NDArray[np.integer], allowed: NDArray[np.bool_]) -> dict[int, int]:
    """For each label of a label map, the background 0 left out, how many others it touches that it must not.

    One pair of voxels that share a face, an edge or a corner suffices, and a pair of labels counts at both. It is the
    metric "invalid neighbours" of the TopBrain challenge, whose class average is the mean of the numbers. Labels that
    were missed cost nothing.

    Args:
        prediction: label map of two or three axes.
        allowed: symmetric table (classes, classes), true where two labels may touch: for instance the union over all
            references of :func:`nnunet_topo.homology.touching_labels`.

    Raises:
        ValueError: a label outside of the table, no whole numbers, or a table that is not square, bool and symmetric.
    """
    if allowed.dtype != np.bool_ or allowed.ndim != 2 or not np.array_equal(allowed, allowed.T):
        raise ValueError("allowed must be a square and symmetric table of bool, the union of touching_labels of the "
                         f"references, not {allowed.dtype} {allowed.shape}.")
    invalid = touching_labels(prediction, len(allowed)) & ~allowed
    return {int(label): int(invalid[label, 1:].sum()) for label in np.unique(prediction) if label != 0}
