"""What is asked of the pieces of masks, in one pass each."""

from __future__ import annotations

import numpy as np

from nnunet_topo.homology._components import find
from nnunet_topo.kernels.jit import jit


@jit
def overlapping_pieces(one, two, count_one, count_two):  # type: ignore[no-untyped-def]
    """Into how many parts the pieces of two labelled images fall when those that share a voxel hang together.

    Labels are 1 to ``count_one`` and ``count_two``; pieces that share no voxel with the other image do not count.
    """
    parent = np.arange(count_one + count_two + 1)
    shares = np.zeros(count_one + count_two + 1, np.bool_)
    last_one, last_two = 0, 0
    for v in range(len(one)):
        a, b = np.int64(one[v]), np.int64(two[v])
        if a == 0 or b == 0 or (a == last_one and b == last_two):
            continue
        last_one, last_two = a, b
        shares[a] = shares[count_one + b] = True
        parent[find(parent, a)] = find(parent, count_one + b)
    parts = 0
    for piece in range(len(parent)):
        parts += shares[piece] and parent[piece] == piece
    return parts


@jit
def shared_pieces(pieces, one, two, shape, count):  # type: ignore[no-untyped-def]
    """How many of ``count`` pieces have voxels of both masks; and which edge reaches which pieces first.

    The first edge is given by its number, in the order of edges of the shape (of three axes), for pieces with voxels of
    one mask only, of the other only, and of both.
    """
    kinds = np.zeros(count + 1, np.uint8)
    for v in range(len(pieces)):
        if pieces[v] != 0:
            kinds[pieces[v]] |= one[v] + 2 * two[v]
    depth, height, width = shape
    first = np.full(4, 3 * len(pieces), np.int64)
    v = 0
    for x in range(depth):
        for y in range(height):
            for z in range(width):
                kind = kinds[pieces[v]]
                if kind != 0:  # a voxel is first reached along the first axis on which there is one before it
                    if x > 0:
                        edge = 3 * (v - height * width)
                    elif y > 0:
                        edge = 3 * (v - width) + 1
                    else:
                        edge = 3 * (v - 1) + 2 if z > 0 else -1
                    first[kind] = min(first[kind], edge)
                v += 1
    return np.sum(kinds == 3), first[1:]


@jit
def last_voxels(pieces, among, count):  # type: ignore[no-untyped-def]
    """For each number of a piece the last of its voxels that is among some; -1 if none is."""
    last = np.full(count + 1, -1, np.int64)
    for v in range(len(pieces)):
        if among[v]:
            last[pieces[v]] = v
    return last
