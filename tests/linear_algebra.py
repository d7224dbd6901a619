"""Homology of pairs of masks over GF(2) by plain elimination: slow, obvious, and what counts of matches are judged by.

Cells are points of the doubled grid; the axes on which a point is odd are those along which the cell extends. A chain
is a Python integer whose bits are cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

import numpy as np

Cell = tuple[int, ...]
Mask = np.ndarray


def cells_of(mask: Mask, connectivity: str) -> set[Cell]:
    """Cells of a mask: closed unit cubes for "foreground", for "background" cubes whose corners are voxels."""
    closed = connectivity == "foreground"
    voxels = {tuple(2 * int(c) + closed for c in voxel) for voxel in np.argwhere(mask)}
    around = {tuple(c + step for c, step in zip(voxel, steps, strict=True))
              for voxel in voxels for steps in product((-1, 0, 1), repeat=mask.ndim)}
    if closed:
        return around
    return {cell for cell in around
            if all(corner in voxels for corner in product(*[(c - 1, c + 1) if c % 2 else (c,) for c in cell]))}


def facets(cell: Cell) -> Iterator[Cell]:
    for axis in range(len(cell)):
        if cell[axis] % 2:
            for step in (-1, 1):
                yield (*cell[:axis], cell[axis] + step, *cell[axis + 1 :])


def rank(vectors: Iterable[int]) -> int:
    basis: dict[int, int] = {}
    for vector in vectors:
        while vector:
            if vector.bit_length() not in basis:
                basis[vector.bit_length()] = vector
                break
            vector ^= basis[vector.bit_length()]
    return len(basis)


def cycles(columns: Iterable[tuple[int, int]]) -> list[int]:
    """A basis of the chains without boundary, given (chain, boundary) of each cell."""
    basis: dict[int, tuple[int, int]] = {}
    kernel = []
    for chain, boundary in columns:
        while boundary and boundary.bit_length() in basis:
            other, its_boundary = basis[boundary.bit_length()]
            chain, boundary = chain ^ other, boundary ^ its_boundary
        if boundary:
            basis[boundary.bit_length()] = chain, boundary
        else:
            kernel.append(chain)
    return kernel


def matched_betti_numbers(one: Mask, two: Mask, connectivity: str) -> tuple[int, ...]:
    """Dimensions of the intersections of the masks' homology in that of their union."""
    union = sorted(cells_of(one | two, connectivity))
    bit = {cell: 1 << i for i, cell in enumerate(union)}

    def boundary(cell: Cell) -> int:
        return sum(bit[facet] for facet in facets(cell))

    def of_dimension(cells: Iterable[Cell], k: int) -> list[Cell]:
        return [cell for cell in cells if sum(c % 2 for c in cell) == k]

    matched = []
    for k in range(one.ndim):
        boundaries = [boundary(cell) for cell in of_dimension(union, k + 1)]
        of_one, of_two = (cycles((bit[cell], boundary(cell)) for cell in of_dimension(cells_of(mask, connectivity), k))
                          for mask in (one, two))
        zero = rank(boundaries)
        both = rank(boundaries + of_one + of_two)
        matched.append(rank(boundaries + of_one) + rank(boundaries + of_two) - both - zero)
    return tuple(matched)
