"""Betti numbers of masks, exact: by connected components and the Euler characteristic, without persistence.

A mask becomes a cubical complex in one of two ways (T. Y. Kong and A. Rosenfeld, "Digital topology: introduction and
survey", CVGIP 48, 1989, sections 3 and 4):

* ``"foreground"``: each voxel is a closed cube. Voxels that share a corner are connected: 8 in 2D, 26 in 3D; the
  background then has 4 or 6.
* ``"background"``: each voxel is a vertex, and a cube is present when all its vertices are. Voxels are connected
  through faces only: 4 in 2D, 6 in 3D; the background then has 8 or 26.
"""

from typing import Literal

import cc3d
import numpy as np
from numpy.typing import NDArray

# By the number of axes: (connectivity of the side that is connected across corners, of the side that is not).
_NEIGHBOURS: dict[int, tuple[Literal[8, 26], Literal[4, 6]]] = {2: (8, 4), 3: (26, 6)}


def betti_numbers(mask: NDArray[np.bool_], connectivity: str = "foreground") -> tuple[int, ...]:
    """Betti numbers of a mask: (components, holes) in 2D, (components, tunnels, cavities) in 3D.

    ``mask`` is a boolean array of two or three axes of any size; outside of it is background. ``connectivity`` names
    the side that is connected across corners: "foreground" (8 in 2D, 26 in 3D) or "background" (foreground 4 or 6).
    An empty mask, or one without any voxel, has zeros. Raises ValueError for any other mask or connectivity.
    """
    _check(mask, connectivity)
    across, faces = _NEIGHBOURS[mask.ndim]
    foreground, background = (across, faces) if connectivity == "foreground" else (faces, across)

    # The frame is the outside. It also keeps cc3d from failing on isolated voxels of an axis of size 1 or 3.
    framed = np.pad(mask, 1)
    components = _count_components(framed, foreground)
    # Alexander duality: what the mask encloses is what the background falls into, the outside itself not counted.
    enclosed = _count_components(~framed, background) - 1
    if mask.ndim == 2:
        return components, enclosed
    return components, components + enclosed - euler_characteristic(mask, connectivity), enclosed


def euler_characteristic(mask: NDArray[np.bool_], connectivity: str = "foreground") -> int:
    """Euler characteristic of a mask: its cells counted with alternating signs, b0 - b1 (+ b2).

    Arguments and errors as in :func:`betti_numbers`; 0 for an empty mask.
    """
    _check(mask, connectivity)
    if connectivity == "background":
        return _alternating_count(mask, np.logical_and)
    # A face of closed cubes is there when any cube beside it is; the count starts at the cubes, of dimension ndim.
    return (-1) ** mask.ndim * _alternating_count(np.pad(mask, 1), np.logical_or)


def _alternating_count(cells: NDArray[np.bool_], combine: np.ufunc, axis: int = 0) -> int:
    """Cells present, minus those between two neighbours along one axis, plus those along two axes, and so on."""
    if axis == cells.ndim:
        return int(np.count_nonzero(cells))
    before = (slice(None),) * axis
    lower, upper = (*before, slice(None, -1)), (*before, slice(1, None))
    between = combine(cells[lower], cells[upper])
    return _alternating_count(cells, combine, axis + 1) - _alternating_count(between, combine, axis + 1)


def _count_components(mask: NDArray[np.bool_], neighbours: Literal[4, 6, 8, 26]) -> int:
    _, count = cc3d.connected_components(mask, connectivity=neighbours, return_N=True)
    return int(count)


def _check(mask: NDArray[np.bool_], connectivity: str) -> None:
    if connectivity not in ("foreground", "background"):
        raise ValueError(f'The connectivity must be "foreground" or "background", not {connectivity!r}.')
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.ndim not in _NEIGHBOURS:
        given = f"{type(mask).__name__} {getattr(mask, 'dtype', '')} {tuple(getattr(mask, 'shape', ()))}"
        raise ValueError(
            f"Betti numbers are taken of a boolean numpy array of two or three axes, not of {given}; "
            "turn labels into a mask first, for instance by labels == 1."
        )
