"""Betti numbers of masks, exact: by connected components and the Euler characteristic, without persistence.

A mask becomes a cubical complex in one of two ways (T. Y. Kong and A. Rosenfeld, "Digital topology: introduction and
survey", CVGIP 48, 1989, sections 3 and 4):

* ``"foreground"``: each voxel is a closed cube. Voxels that share a corner are connected: 8 in 2D, 26 in 3D; the
  background then has 4 or 6.
* ``"background"``: each voxel is a vertex, and a cube is present when all its vertices are. Voxels are connected
  through faces only: 4 in 2D, 6 in 3D; the background then has 8 or 26.
"""

from collections.abc import Iterator

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nnunet_topo.homology.masks import Connectivity, Neighbours, check_connectivity, check_masks, neighbours

_VOXELS_AT_ONCE = 2**25  # each needs about a dozen bytes


def betti_numbers(mask: NDArray[np.bool_], connectivity: Connectivity = "foreground") -> tuple[int, ...]:
    """Betti numbers of a mask: (components, holes) in 2D, (components, tunnels, cavities) in 3D.

    ``mask`` is a boolean array of two or three axes of any size; outside of it is background. ``connectivity`` names
    the side that is connected across corners: "foreground" (8 in 2D, 26 in 3D) or "background" (foreground 4 or 6).
    An empty mask, or one without any voxel, has zeros. Large masks are looked at in slabs, so that less than half a
    gigabyte is needed beside the mask. Raises ValueError for any other mask or connectivity.
    """
    _check(mask, connectivity)
    of_foreground, of_background = neighbours(mask.ndim, connectivity)
    foreground, background = _Components(of_foreground), _Components(of_background)
    for slab in _slabs(mask):
        foreground.add(slab)
        background.add(~slab)
    components = foreground.count()
    # Alexander duality: what the mask encloses is what the background falls into, the outside itself not counted.
    enclosed = background.count() - 1
    if mask.ndim == 2:
        return components, enclosed
    return components, components + enclosed - euler_characteristic(mask, connectivity), enclosed


def euler_characteristic(mask: NDArray[np.bool_], connectivity: Connectivity = "foreground") -> int:
    """Euler characteristic of a mask: its cells counted with alternating signs, b0 - b1 (+ b2).

    Arguments and errors as in :func:`betti_numbers`; 0 for an empty mask.
    """
    _check(mask, connectivity)
    # A face of closed cubes is there when any cube beside it is; the count starts at the cubes, of dimension ndim.
    combine, sign = (np.logical_and, 1) if connectivity == "background" else (np.logical_or, (-1) ** mask.ndim)
    counts = [_alternating_count(slab, combine) - (_alternating_count(slab[:1], combine) if i else 0)
              for i, slab in enumerate(_slabs(mask))]
    return sign * sum(counts)


def _alternating_count(cells: NDArray[np.bool_], combine: np.ufunc, axis: int = 0) -> int:
    """Cells present, minus those between two neighbours along one axis, plus those along two axes, and so on."""
    if axis == cells.ndim:
        return int(np.count_nonzero(cells))
    before = (slice(None),) * axis
    lower, upper = (*before, slice(None, -1)), (*before, slice(1, None))
    between = combine(cells[lower], cells[upper])
    return _alternating_count(cells, combine, axis + 1) - _alternating_count(between, combine, axis + 1)


def _slabs(mask: NDArray[np.bool_]) -> Iterator[NDArray[np.bool_]]:
    """The mask in a frame of background, cut along its first axis into slabs; each shares a plane with the next.

    The frame is the outside. It also keeps cc3d from failing on isolated voxels of an axis of size 1 or 3.
    """
    last = mask.shape[0] + 1  # row of the framed mask
    height = max(_VOXELS_AT_ONCE // max(mask[:1].size, 1), 3)
    for start in range(0, last, height):
        stop = min(start + height, last)
        frame = [(int(start == 0), int(stop == last)), *[(1, 1)] * (mask.ndim - 1)]
        yield np.pad(mask[max(start - 1, 0) : stop], frame)


class _Components:
    """Counts the connected components of a mask that comes in slabs, see :func:`_slabs`."""

    def __init__(self, neighbours: Neighbours) -> None:
        self.neighbours = neighbours
        self.labels = 0  # of all slabs so far, each counted from 1
        self.last_plane: NDArray[np.int64] | None = None
        self.joined: list[NDArray[np.int64]] = []  # (2, n): labels of one component, on either side of a shared plane

    def add(self, slab: NDArray[np.bool_]) -> None:
        labels, count = cc3d.connected_components(slab, connectivity=self.neighbours, return_N=True)
        if self.last_plane is not None:
            pairs = np.stack([self.last_plane, labels[0][slab[0]].astype(np.int64) + self.labels])
            new = (np.diff(pairs, prepend=-1) != 0).any(0)  # neighbours mostly have the same two labels
            self.joined.append(pairs[:, new])
        self.last_plane = labels[-1][slab[-1]].astype(np.int64) + self.labels
        self.labels += int(count)

    def count(self) -> int:
        if not self.joined:
            return self.labels
        pairs = np.concatenate(self.joined, axis=1)
        names, (one, other) = np.unique(pairs, return_inverse=True)
        graph = coo_array((np.ones(pairs.shape[1], bool), (one, other)), (len(names), len(names)))
        return self.labels - len(names) + int(connected_components(graph, directed=False, return_labels=False))


def _check(mask: NDArray[np.bool_], connectivity: str) -> None:
    check_connectivity(connectivity)
    check_masks("Betti numbers are taken", mask)
