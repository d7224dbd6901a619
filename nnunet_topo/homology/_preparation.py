"""What every step starts from: codes of cells and forests from apparent pairs, found slab by slab of an image."""

from __future__ import annotations

import numpy as np

from nnunet_topo.homology._apparent import pair_image, raised
from nnunet_topo.homology._apparent_loops import pair_volume
from nnunet_topo.homology._cells import ABSENT
from nnunet_topo.kernels.jit import jit


@jit
def pair_slab(rows, columns, strides, closed):  # type: ignore[no-untyped-def]
    if len(strides) == 2:
        return pair_image(rows, strides, closed)
    else:
        return pair_volume(rows, columns, strides, closed)


@jit
def prepare(rows, columns, strides):  # type: ignore[no-untyped-def]
    """Codes of edges and walls, forest of vertices, values and forest of top cells.

    ``rows``: image by which vertices and edges are ordered; ``columns``: that for squares and cubes, the same in 2D.
    Slabs keep what is needed on the way small; what a cell gets depends on no more than the planes beside its slab.
    """
    size, ndim, plane = len(rows.keys), len(strides), strides[0]
    edges = np.empty(ndim * size, np.uint8)
    walls = edges if ndim == 2 else np.empty(ndim * size, np.uint8)
    parent, top, top_parent = np.empty(size, np.int32), np.empty(size + 1, np.int32), np.empty(size + 1, np.int32)
    # in 3D longer, since the planes beside a slab, which are made twice, are many voxels
    length = plane * max(16, (2**14 if ndim == 2 else 2**17) // plane)
    for start in range(0, size, length):
        stop = min(start + length, size)
        low, high = max(start - 2 * plane, 0), min(stop + 3 * plane, size)
        slab = pair_slab(rows.keys[low:high], columns.keys[low:high], strides, rows.closed)
        inside = slice(start - low, stop - low)
        cells = slice(ndim * (start - low), ndim * (stop - low))
        edges[ndim * start : ndim * stop] = slab[0][cells]
        if ndim == 3:
            walls[ndim * start : ndim * stop] = slab[1][cells]
        parent[start:stop] = slab[2][inside] + np.int32(low)
        top[start:stop] = slab[3][inside]
        for v in range(start, stop):
            hung = slab[4][v - low]
            top_parent[v] = size if hung == high - low else hung + low
    top[size], top_parent[size] = slab[3][high - low], size
    return edges, walls, parent, top, top_parent


@jit
def square_tops(image, strides):  # type: ignore[no-untyped-def]
    """In 2D, values (N + 1) of the squares."""
    keys = image.keys
    top = np.full(len(keys) + 1, ABSENT, np.int32)
    top[: len(keys)] = keys if image.closed else raised(raised(keys, strides[1]), strides[0])
    return top
