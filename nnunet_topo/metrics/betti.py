"""Difference in Betti numbers of two masks."""

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.homology import Connectivity, betti_numbers
from nnunet_topo.metrics.masks import check_masks


def betti_error(
    prediction: NDArray[np.bool_], reference: NDArray[np.bool_], connectivity: Connectivity = "foreground"
) -> tuple[int, ...]:
    """Absolute difference of the Betti numbers of two boolean masks of the same shape, one for each dimension.

    (components, holes) in 2D, (components, tunnels, cavities) in 3D, at the connectivity of
    :func:`nnunet_topo.homology.betti_numbers`. An empty mask has Betti numbers 0. It only counts: a false
    component makes up for a missing one, which Betti matching tells apart. Raises ValueError for masks of different
    shapes, another type, or other than two or three axes.
    """
    check_masks(prediction, reference)
    numbers = zip(betti_numbers(prediction, connectivity), betti_numbers(reference, connectivity), strict=True)
    return tuple(abs(predicted - true) for predicted, true in numbers)
