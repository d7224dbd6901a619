"""The checks that every metric of two masks makes first."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nnunet_topo import grids
from nnunet_topo.homology.masks import extents


def check_masks(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> None:
    """Raise ValueError unless both are boolean numpy arrays of the same shape."""
    for name, mask in (("prediction", prediction), ("reference", reference)):
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
            given = f"{type(mask).__name__} {getattr(mask, 'dtype', '')}".strip()
            raise ValueError(
                f"The {name} must be a boolean numpy array, not {given}; "
                "turn labels into a mask first, for instance by labels == 1."
            )
    if prediction.shape != reference.shape:
        raise ValueError(
            f"Prediction and reference must have the same shape, but the prediction has {prediction.shape} "
            f"and the reference {reference.shape}; bring both onto the same grid first."
        )


def check_spacing(spacing: Sequence[float], mask: NDArray[np.bool_]) -> None:
    """Raise ValueError unless the mask has two or three axes and spacing is one positive length in mm for each."""
    if mask.ndim not in (2, 3):
        raise ValueError(f"Masks must have two or three axes, not shape {mask.shape}; take one channel at a time.")
    grids.check_spacing(spacing, mask.ndim)


def even_box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """The box around a mask, one or two voxels larger where the image is, beyond which no metric looks.

    It begins at even indices, because thinning goes by their parity; an empty mask keeps a voxel.
    """
    return tuple(slice(max(first - 1, 0) // 2 * 2, last + 2) for first, last in extents(mask))
