"""The check of masks that all of homology makes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def check_masks(what: str, *masks: NDArray[np.bool_]) -> None:
    """Raise ValueError unless all are boolean numpy arrays of two or three axes and of one shape.

    ``what`` begins the sentence, for instance "Betti numbers are taken".
    """
    for mask in masks:
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.ndim not in (2, 3):
            given = f"{type(mask).__name__} {getattr(mask, 'dtype', '')} {tuple(getattr(mask, 'shape', ()))}"
            raise ValueError(f"{what} of boolean numpy arrays of two or three axes, not of {given}; "
                             "turn labels into a mask first, for instance by labels == 1.")
    if any(mask.shape != masks[0].shape for mask in masks):
        raise ValueError(f"{what} of masks of one shape, not of {' and '.join(str(mask.shape) for mask in masks)}; "
                         "bring them onto the same grid first.")
