"""The checks of masks and of their connectivity that all of homology makes."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Connectivity = Literal["foreground", "background"]  # the side that is connected across corners

Neighbours = Literal[4, 6, 8, 26]
_NEIGHBOURS: dict[int, tuple[Neighbours, Neighbours]] = {2: (8, 4), 3: (26, 6)}  # across corners, through faces only


def neighbours(axes: int, connectivity: Connectivity) -> tuple[Neighbours, Neighbours]:
    """How many neighbours a voxel of the foreground has, and one of the background."""
    across_corners, through_faces = _NEIGHBOURS[axes]
    return (across_corners, through_faces) if connectivity == "foreground" else (through_faces, across_corners)


def connectivity_in_words(axes: int, connectivity: Connectivity = "foreground") -> str:
    """For instance "foreground 8, background 4"."""
    return "foreground {}, background {}".format(*neighbours(axes, connectivity))


def extents(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last index of the voxels of a mask along each axis; (0, 0) for all where there is none."""
    found = []
    for axis in range(mask.ndim):
        present = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        found.append((int(present[0]), int(present[-1])) if present.size else (0, 0))
    return found


def check_connectivity(connectivity: str) -> None:
    """Raise ValueError for anything else than "foreground" and "background"."""
    if connectivity not in get_args(Connectivity):
        raise ValueError(f'The connectivity must be "foreground" or "background", not {connectivity!r}.')


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
