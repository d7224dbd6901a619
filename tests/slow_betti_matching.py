"""Betti matching by plain reduction of whole boundary matrices: slow, obvious, and what the kernel is compared with.

A cell is (corner, axes that it spans); a column is a Python integer whose bits are the rows. With g = -p, the value of
a cell is the maximum over its corners for the connectivity "background", where voxels are vertices; for "foreground",
where voxels are the top cells, the minimum over the voxels that hold it. Pairs are (voxel of the birth, voxel of the
death), sets of which are the result.
"""

from __future__ import annotations

from itertools import combinations, product
from typing import NamedTuple

import numpy as np

Cell = tuple[tuple[int, ...], tuple[int, ...]]


class Image(NamedTuple):
    g: np.ndarray
    closed: bool


def betti_matching(prediction, target, connectivity="background"):
    """For each dimension (matched, unmatched of the prediction, unmatched of the target), each a sorted list."""
    g, t = (Image(-np.asarray(image, np.float32), connectivity == "foreground") for image in (prediction, target))
    both = Image(np.minimum(g.g, t.g), g.closed)
    result = []
    for dimension in range(g.g.ndim):
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


def ordered(image, dimension):
    """Cells of one dimension by value, then corner and type, or in a closed complex by the cell's middle."""
    shape = [size + image.closed for size in image.g.shape]

    def place(cell: Cell):
        corner, axes = cell
        if image.closed:
            return [2 * c + (axis in axes) for axis, c in enumerate(corner)]
        return corner, type_of(cell, len(shape))

    return sorted(cells(shape, dimension), key=lambda cell: (value(image, cell), place(cell)))


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


def holders(image, cell: Cell) -> list[tuple[int, ...]]:
    """Voxels that hold a cell of a closed complex; the voxel at a place has it as its lowest corner."""
    corner, axes = cell
    steps = product(*[(0,) if axis in axes else (-1, 0) for axis in range(len(corner))])
    around = [tuple(c + s for c, s in zip(corner, step, strict=True)) for step in steps]
    return [v for v in around if all(0 <= c < size for c, size in zip(v, image.g.shape, strict=True))]


def facets(cell: Cell) -> list[Cell]:
    corner, axes = cell
    found = []
    for axis in axes:
        rest = tuple(a for a in axes if a != axis)
        found += [(corner, rest), (tuple(c + int(a == axis) for a, c in enumerate(corner)), rest)]
    return found


def value(image, cell: Cell):
    if image.closed:
        return min(image.g[v] for v in holders(image, cell))
    return max(image.g[corner] for corner in corners(cell))


def voxels(image, birth: Cell, death: Cell):
    return voxel(image, birth), voxel(image, death)


def voxel(image, cell: Cell):
    """The voxel that gives a cell its value: among several the last one, but the first corner of a cube."""
    around = holders(image, cell) if image.closed else corners(cell)
    candidates = [v for v in around if image.g[v] == value(image, cell)]
    return tuple(map(int, candidates[0] if len(cell[1]) == 3 else candidates[-1]))
