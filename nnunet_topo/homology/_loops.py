"""Dimension 1 of a volume: loops, by reduction of the boundary matrix of squares.

Columns are squares, rows are edges. Cleared are squares that start a cavity; left out are edges that end a component.
Apparent pairs are never built: when the largest edge of a column belongs to one, the boundary of its square is added
on the fly. The column at work is a heap of edges with their values in front, in which those that stand twice cancel
when they come up. Only columns that had to be changed are stored, their edges in no order, which saves a fifth of the
time.
"""

from __future__ import annotations

import numpy as np

from nnunet_topo.homology._cells import (
    CRITICAL,
    DESTROYER,
    edge_at,
    edge_parts,
    edge_value,
    labelled,
    spanned,
    square_at,
    square_parts,
)
from nnunet_topo.kernels.heap import NOTHING, pop_single, push, with_room
from nnunet_topo.kernels.jit import jit

WANTED = np.uint8(8)  # the code of rows for which a reduction is made
KEPT = np.uint8(9)  # a DESTROYER that is not one in the comparison: stored, for the reductions there


@jit
def keep_edges(edges, others):  # type: ignore[no-untyped-def]
    """Columns will be used for the reductions of another image too: its rows must be in them."""
    for edge in range(len(others)):
        if edges[edge] == DESTROYER and others[edge] != DESTROYER:
            edges[edge] = KEPT


@jit(inlined=True)
def square_beside(edge, number, strides, closed):  # type: ignore[no-untyped-def]
    """The square with that number of the four around an edge, the smallest identity first."""
    v, axis = edge_parts(strides, closed, edge)
    first, second = (1 if axis == 0 else 0), (1 if axis == 2 else 2)
    if number == 0:
        return square_at(strides, closed, v - strides[first], second)
    if number == 1:
        return square_at(strides, closed, v - strides[second], first)
    return square_at(strides, closed, v, first if number == 2 else second)


@jit(inlined=True)
def boundary(square, keys, strides, closed, codes):  # type: ignore[no-untyped-def]
    """The four edges of a square, labelled; NOTHING for those that are left out."""
    v, across = square_parts(strides, closed, square)
    first, second = (1 if across == 0 else 0), (1 if across == 2 else 2)
    a, b = spanned(strides, across)
    e0, e1 = edge_at(strides, closed, v, first), edge_at(strides, closed, v, second)
    e2, e3 = edge_at(strides, closed, v + a, second), edge_at(strides, closed, v + b, first)
    if closed:
        c = strides[across]
        value = min(keys[v], keys[v - c])
        k0, k1 = min(keys[v - b], keys[v - b - c]), min(keys[v - a], keys[v - a - c])
        k2, k3 = min(keys[v + a], keys[v + a - c]), min(keys[v + b], keys[v + b - c])
        k0, k1, k2, k3 = min(value, k0), min(value, k1), min(value, k2), min(value, k3)
    else:
        k00, k01, k10, k11 = keys[v], keys[v + b], keys[v + a], keys[v + a + b]
        k0, k1, k2, k3 = max(k00, k10), max(k00, k01), max(k10, k11), max(k01, k11)
    return (
        labelled(k0, e0) if codes[e0] != DESTROYER else NOTHING,
        labelled(k1, e1) if codes[e1] != DESTROYER else NOTHING,
        labelled(k2, e2) if codes[e2] != DESTROYER else NOTHING,
        labelled(k3, e3) if codes[e3] != DESTROYER else NOTHING,
    )


@jit(inlined=True)
def edge_of(item):  # type: ignore[no-untyped-def]
    return item & np.int64(0xFFFFFFFF)


@jit
def reduce_squares(columns, image, codes, strides, wanted, seeds, stored):  # type: ignore[no-untyped-def]
    """Reduce the boundary matrix: the edge that each column claims (-1: none), and the reduced columns.

    columns  squares in their order, none of which is part of an apparent pair
    image    by which the edges are ordered
    codes    of the edges: below CRITICAL, paired with the square of that number around it; DESTROYER, left out
    wanted   stop when so many edges with the code WANTED are claimed; -1: reduce all
    seeds    (columns or 0, 2): slices of ``stored`` with the edges to start with instead of the boundary, if not empty

    Column j, reduced, is stored as the edges store[start[j]:end[j]]; as nothing where nothing was added.
    """
    keys, closed = image.keys, image.closed
    owner = np.full(len(codes), -1, np.int32)
    claims = np.full(len(columns), -1, np.int32)
    start, end = np.zeros(len(columns), np.int64), np.zeros(len(columns), np.int64)
    store, used = np.empty(1024, np.int32), 0
    odd = np.zeros(len(codes), np.uint8)
    heap, size = np.empty(64, np.int64), 0
    for j in range(len(columns)):
        size = 0
        first, beyond = (seeds[j, 0], seeds[j, 1]) if len(seeds) > 0 else (0, 0)
        if beyond - first + 4 > len(heap):
            heap = with_room(heap, beyond - first + 4)
        if first == beyond:
            for item in boundary(columns[j], keys, strides, closed, codes):
                size = push(heap, size, item)
        for i in range(first, beyond):
            if codes[stored[i]] != DESTROYER:
                size = push(heap, size, labelled(edge_value(keys, strides, closed, stored[i]), stored[i]))
        added = False
        while True:
            pivot, size = pop_single(heap, size)
            if pivot == NOTHING:
                break
            edge = edge_of(pivot)
            k = owner[edge]
            if codes[edge] < CRITICAL:
                square = square_beside(edge, codes[edge], strides, closed)
            elif k < 0:
                break
            else:
                square = columns[k]
                from_store, to_store, source = start[k], end[k], store
                if from_store == to_store and len(seeds) > 0:
                    from_store, to_store, source = seeds[k, 0], seeds[k, 1], stored
                if from_store < to_store:
                    if size + to_store - from_store + 4 > len(heap):
                        heap = with_room(heap, size + to_store - from_store + 4)
                    for i in range(from_store, to_store):
                        other = source[i]
                        if other != edge and codes[other] != DESTROYER:
                            size = push(heap, size, labelled(edge_value(keys, strides, closed, other), other))
                    added = True
                    continue
            added = True
            if size + 4 > len(heap):
                heap = with_room(heap, size + 4)
            for item in boundary(square, keys, strides, closed, codes):
                if item != pivot:
                    size = push(heap, size, item)
        if pivot == NOTHING:
            continue
        owner[edge], claims[j] = j, edge
        if codes[edge] == WANTED:
            wanted -= 1
            if wanted == 0:
                break
        if added:
            if used + size + 1 > len(store):
                store = with_room(store, used + size + 1)
            store[used], start[j] = edge, used
            used += 1
            for i in range(size):
                odd[edge_of(heap[i])] ^= 1
            for i in range(size):
                other = edge_of(heap[i])
                store[used] = other  # to be overwritten if it is not meant
                used += odd[other]
                odd[other] = 0
            end[j] = used
    return claims, start, end, store[:used]
