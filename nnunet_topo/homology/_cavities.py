"""The top dimension: holes in 2D, cavities in 3D, by union-find on the dual graph over the walls in falling order.

Top cells are the nodes, the outside is the largest; a wall joins the two beside it. The largest node of a tree is its
root; the smaller of two joined roots is the cell that ends a feature, the wall the one that starts it.
"""

from __future__ import annotations

import numpy as np

from nnunet_topo.homology._cells import CRITICAL, sorted_walls, wall_at, wall_parts, wall_value
from nnunet_topo.homology._components import find
from nnunet_topo.kernels.jit import jit


@jit(inlined=True)
def larger(top, one, two):  # type: ignore[no-untyped-def]
    return top[one] > top[two] or (top[one] == top[two] and one > two)


@jit
def detach_tops(order_by, strides, closed, parent, walls):  # type: ignore[no-untyped-def]
    """Take back hangings of a top cell under one that is smaller in another image: there it may represent the tree."""
    for v in range(len(parent) - 1):
        w = parent[v]
        if w != v and larger(order_by, v, w):
            parent[v] = v
            for t in range(len(strides)):
                if strides[t] == abs(v - w):
                    walls[wall_at(strides, closed, max(v, w), t)] = CRITICAL


@jit
def cavity_pairs(image, strides, top, parent, walls, order_by, starts):  # type: ignore[no-untyped-def]
    """Pairs (wall, top cell) of positive length, and the critical walls that join nothing, in rising order.

    With ``starts`` (N + 1, filled with -1; else empty) the pairs of the image persistence come along: ``order_by``
    (N + 1) are the top cells' values in the comparison image, each tree keeps its largest cell in that order, and
    ``starts`` takes, for a cell so killed, the wall that kills it.
    """
    between = len(starts) > 0
    if between:
        detach_tops(order_by, strides, image.closed, parent, walls)
    keys, closed = image.keys, image.closed
    order = sorted_walls(image, strides, walls)
    largest = np.empty(len(parent) if between else 0, np.int32)
    for v in range(len(largest)):
        largest[v] = v
    births, deaths = np.empty(len(order), np.int32), np.empty(len(order), np.int32)
    count, left = 0, len(order)
    for i in range(len(order) - 1, -1, -1):
        wall = np.int64(order[i])
        v, axis = wall_parts(strides, closed, wall)
        one, two = find(parent, v), find(parent, v - strides[axis])
        if one == two:
            left -= 1
            order[left] = wall
            continue
        if larger(top, one, two):
            one, two = two, one
        parent[one] = two
        if between:
            a, b = largest[one], largest[two]
            if larger(order_by, a, b):
                a, b = b, a
            largest[two] = b
            starts[a] = wall
        if wall_value(keys, strides, closed, wall) < top[one]:
            births[count], deaths[count] = wall, one
            count += 1
    return births[:count].copy(), deaths[:count].copy(), order[left:]
