"""Pairs of cells that cancel at once, found by comparing neighbouring values, without sorting anything.

A cell and one of its cofaces are paired in the reduction of any boundary matrix when the coface is the smallest one of
the cell and the cell the largest face of the coface. More than nine of ten cells of an image go this way; what follows
works on the rest. Every step is a pass over whole arrays without any branch, which compilers turn into vector code:
cells of one type are a plane of such an array, at the index of their lowest corner, and neighbours are slices of it.
"""

from __future__ import annotations

import numpy as np

from nnunet_topo.homology._cells import ABSENT, CREATOR, CRITICAL, DESTROYER, MISSING, lowered
from nnunet_topo.kernels.jit import jit


@jit
def raised(values, step):  # type: ignore[no-untyped-def]
    """The larger of each value and the one a step further on: from vertices to edges, to squares, to cubes."""
    result = np.full(len(values), ABSENT, np.int32)
    below, above = values[: len(values) - step], values[step:]
    for i in range(len(below)):
        result[i] = max(below[i], above[i])
    return result


@jit
def hang_under_next(vertices, edges, step, parent):  # type: ignore[no-untyped-def]
    below, above = vertices[: len(vertices) - step], vertices[step:]
    for i in range(len(below)):
        over = i + step if above[i] < below[i] else i
        parent[i] = over if edges[i] == below[i] and below[i] != ABSENT else parent[i]


@jit
def hang_under_last(vertices, edges, step, parent):  # type: ignore[no-untyped-def]
    above, hanging = vertices[step:], parent[step:]
    for i in range(len(above)):
        hanging[i] = i if edges[i] == above[i] and above[i] != ABSENT else hanging[i]


@jit
def pair_vertices(vertices, edges, strides, closed):  # type: ignore[no-untyped-def]
    """A forest of the vertices, whose roots are the oldest of their trees, over edges that are paired with the younger.

    ``edges``: values of those along each axis. The smallest edge of a vertex is the first, in the order of the edges,
    that has its value. If the vertex at its other end has the same value and comes later, it is not paired with this.
    """
    parent = np.empty(len(vertices), np.int32)
    for v in range(len(vertices)):
        parent[v] = v
    for t in range(len(strides) - 1, -1, -1):  # what comes last stays
        axis = len(strides) - 1 - t if closed else t
        hang_under_next(vertices, edges[axis], strides[axis], parent)
    for t in range(len(strides) - 1, -1, -1):
        hang_under_last(vertices, edges[t], strides[t], parent)
    return parent


@jit
def hang_across_last_wall(top, wall, step, parent):  # type: ignore[no-untyped-def]
    before, here, last_wall, hanging = top[: len(wall) - step], top[step : len(wall)], wall[step:], parent[step:]
    for i in range(len(before)):
        over = i if before[i] != here[i] else i + step
        hanging[i] = over if last_wall[i] == here[i] else hanging[i]


@jit
def hang_across_next_wall(top, wall, step, parent):  # type: ignore[no-untyped-def]
    here, next_wall = top[: len(wall) - step], wall[step:]
    for i in range(len(here)):
        parent[i] = i + step if next_wall[i] == here[i] else parent[i]


@jit
def pair_tops(values, walls, strides, closed):  # type: ignore[no-untyped-def]
    """Values (N + 1) of the top cells, and a forest of them over walls that are paired with the smaller beside them.

    ``values`` (N): of the top cells; ``walls``: of those across each axis. The largest wall of a top cell is the first
    of the next ones that has its value; else the first of the last ones that has, in falling order. It is
    not paired with this cell if the cell beyond has that value too. Absent cells hang under the outside, N.
    """
    size, ndim = len(values), len(strides)
    top, parent = np.empty(size + 1, np.int32), np.empty(size + 1, np.int32)
    top[:size] = values
    top[size] = ABSENT
    for v in range(size + 1):
        parent[v] = v
    for t in range(ndim):  # what comes last stays: the last wall in the order of identities
        axis = t if ndim == 3 or closed else 1 - t
        hang_across_last_wall(top, walls[axis], strides[axis], parent)
    for t in range(ndim - 1, -1, -1):
        hang_across_next_wall(top, walls[t], strides[t], parent)
    for v in range(size):
        parent[v] = size if top[v] == ABSENT else parent[v]
    return top, parent


@jit
def mark_hanging(parent, step, mark, marks):  # type: ignore[no-untyped-def]
    """Mark what joins a node to the one a step further on, if one hangs under the other."""
    next_parent = parent[step:]
    for i in range(min(len(marks), len(next_parent))):
        marks[i] = mark if (parent[i] == i + step) | (next_parent[i] == i) else marks[i]


@jit
def mark_missing(values, marks):  # type: ignore[no-untyped-def]
    for i in range(len(values)):
        marks[i] = MISSING if values[i] == ABSENT else marks[i]


@jit
def by_identity(planes, strides, closed, order):  # type: ignore[no-untyped-def]
    """Codes by identity from those of each type, (types, N), of whole planes.

    ``order``: of a closed complex, the types in the order of their identities, see :mod:`._cells`; the one that stands
    alone in a plane of its own comes first or last.
    """
    codes = np.empty(planes.size, np.uint8)
    if closed:
        plane, row = strides[0], strides[len(strides) - 2]
        for start in range(0, planes.shape[1], plane):
            place = len(planes) * start
            if len(planes) == 2 or order[0] == 0:
                codes[place : place + plane] = planes[order[0], start : start + plane]
                place += plane
            if len(planes) == 3:
                one, two = (order[1], order[2]) if order[0] == 0 else (order[0], order[1])
                for v in range(start, start + plane, row):
                    codes[place : place + row] = planes[one, v : v + row]
                    codes[place + row : place + 2 * row] = planes[two, v : v + row]
                    place += 2 * row
            if len(planes) == 2 or order[0] != 0:
                last = order[len(planes) - 1]
                codes[place : place + plane] = planes[last, start : start + plane]
        return codes
    if len(planes) == 2:
        for v in range(planes.shape[1]):
            codes[2 * v], codes[2 * v + 1] = planes[0, v], planes[1, v]
    else:
        for v in range(planes.shape[1]):
            codes[3 * v], codes[3 * v + 1], codes[3 * v + 2] = planes[0, v], planes[1, v], planes[2, v]
    return codes


@jit
def pair_image(keys, strides, closed):  # type: ignore[no-untyped-def]
    """In 2D: codes of edges, which are walls too, forest of vertices, values and forest of the squares."""
    if closed:
        edges = lowered(keys, strides[1]), lowered(keys, strides[0])
        vertices, squares = lowered(edges[0], strides[0]), keys
    else:
        edges = raised(keys, strides[0]), raised(keys, strides[1])
        vertices, squares = keys, raised(edges[1], strides[0])
    parent = pair_vertices(vertices, edges, strides, closed)
    top, top_parent = pair_tops(squares, (edges[1], edges[0]), strides, closed)
    codes = np.full((2, len(keys)), CRITICAL, np.uint8)
    for t in range(2):
        step = strides[t]
        mark_hanging(parent, step, DESTROYER, codes[t])
        mark_hanging(top_parent, step, CREATOR, codes[1 - t, step:])
    for t in range(2):
        mark_missing(edges[t], codes[t])
    codes_by_identity = by_identity(codes, strides, closed, (1, 0, 0))
    return codes_by_identity, codes_by_identity, parent, top, top_parent
