"""Betti matching by plain reduction of whole boundary matrices: slow, obvious, and what the kernel is compared with.

A cell is (corner, axes that it spans), its value the maximum over its corners of g = 1 - p; a column is a Python
integer whose bits are the rows. Pairs are (voxel of the birth, voxel of the death), sets of which are the result.
"""

from __future__ import annotations

from itertools import combinations, product

import numpy as np

Cell = tuple[tuple[int, ...], tuple[int, ...]]


def betti_matching(prediction, target):
    """For each dimension (matched, unmatched of the prediction, unmatched of the target), each a sorted list."""
    g = np.float32(1) - np.asarray(prediction, np.float32)
    t = np.float32(1) - np.asarray(target, np.float32)
    both = np.minimum(g, t)
    result = []
    for dimension in range(g.ndim):
        bars_g, bars_t = bars(g, dimension), bars(t, dimension)
        deaths = {death for _, death in positive(both, pairing(both, both, dimension))}
        image_g = {death: birth for birth, death in pairing(g, both, dimension)}
        image_t = {death: birth for birth, death in pairing(t, both, dimension)}
        matched = [
            (image_g[death], image_t[death])
            for death in deaths
            if image_g[death] in bars_g and image_t[death] in bars_t
        ]
        alone_g = bars_g.keys() - {a for a, _ in matched}
        alone_t = bars_t.keys() - {b for _, b in matched}
        result.append(
            (
                sorted((*voxels(g, a, bars_g[a]), *voxels(t, b, bars_t[b])) for a, b in matched),
                sorted(voxels(g, a, bars_g[a]) for a in alone_g),
                sorted(voxels(t, b, bars_t[b]) for b in alone_t),
            )
        )
    return result


def bars(g, dimension):
    return dict(positive(g, pairing(g, g, dimension)))


def positive(g, pairs):
    return [(birth, death) for birth, death in pairs if value(g, birth) < value(g, death)]


def pairing(rows_by, columns_by, dimension):
    """Pairs of cells (birth, death): rows in the order of one image, columns in that of the other."""
    rank = {cell: i for i, cell in enumerate(ordered(rows_by, dimension))}
    rows = list(rank)
    reduced: dict[int, int] = {}
    pairs = []
    for cell in ordered(columns_by, dimension + 1):
        column = sum(1 << rank[facet] for facet in facets(cell))
        while column and column.bit_length() in reduced:
            column ^= reduced[column.bit_length()]
        if column:
            reduced[column.bit_length()] = column
            pairs.append((rows[column.bit_length() - 1], cell))
    return pairs


def ordered(g, dimension):
    """Cells of one dimension by value, then corner, then type."""
    return sorted(cells(g.shape, dimension), key=lambda cell: (value(g, cell), cell[0], type_of(cell, g.ndim)))


def cells(shape, dimension):
    for axes in combinations(range(len(shape)), dimension):
        sizes = [size - (axis in axes) for axis, size in enumerate(shape)]
        for corner in product(*map(range, sizes)):
            yield corner, axes


def type_of(cell: Cell, ndim: int) -> int:
    """Edges are numbered by the axis along which they lie, squares of a volume by the axis across."""
    axes = cell[1]
    return -sum(axes) if len(axes) == 2 and ndim == 3 else sum(axes)


def corners(cell: Cell) -> list[tuple[int, ...]]:
    corner, axes = cell
    return [
        tuple(c + int(axis in raised) for axis, c in enumerate(corner))
        for raised in (set(np.compress(flags, axes)) for flags in product((0, 1), repeat=len(axes)))
    ]


def facets(cell: Cell) -> list[Cell]:
    corner, axes = cell
    found = []
    for axis in axes:
        rest = tuple(a for a in axes if a != axis)
        found += [(corner, rest), (tuple(c + int(a == axis) for a, c in enumerate(corner)), rest)]
    return found


def value(g, cell: Cell):
    return max(g[corner] for corner in corners(cell))


def voxels(g, birth: Cell, death: Cell):
    return voxel(g, birth), voxel(g, death)


def voxel(g, cell: Cell):
    """The corner that gives a cell its value: among several the last one, but the first one of a cube."""
    candidates = [corner for corner in corners(cell) if g[corner] == value(g, cell)]
    return tuple(map(int, candidates[0] if len(cell[1]) == 3 else candidates[-1]))
