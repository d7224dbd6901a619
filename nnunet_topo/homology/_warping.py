"""Kernel of homotopy warping, on flat masks with a frame of one voxel, so that no neighbour needs a test of the border.

All work but a first look at every voxel is on those that differ. Simple ones wait in a heap with the smallest
(distance, index) in front. A voxel need only be tested again when a neighbour was flipped.
"""

from __future__ import annotations

import numpy as np

from nnunet_topo.kernels.heap import pop, push, with_room
from nnunet_topo.kernels.jit import jit

_FAR = np.int32(2**31 - 1)


@jit
def warp(mask, towards, offsets, steps, table):  # type: ignore[no-untyped-def]
    """Flip voxels of ``mask`` (uint8, 0 and 1) in place, always the first of those that differ and are simple.

    ``offsets`` lead to the neighbours, in raster order, and ``steps`` are their distances.
    """
    distances = distances_from_border(mask, towards, offsets, steps)
    waiting = np.zeros(len(mask), np.bool_)
    heap, size = np.empty(1024, np.int64), 0
    for v in range(len(mask)):
        if distances[v] != _FAR and is_simple(mask, v, offsets, table):
            waiting[v] = True
            heap = with_room(heap, size + 1)
            size = push(heap, size, -labelled_voxel(distances[v], v))
    while size > 0:
        v = voxel_of(-heap[0])
        size = pop(heap, size)
        waiting[v] = False
        if mask[v] == towards[v] or not is_simple(mask, v, offsets, table):
            continue
        mask[v] = towards[v]
        heap = with_room(heap, size + len(offsets))
        for offset in offsets:
            w = v + offset
            if mask[w] != towards[w] and not waiting[w] and is_simple(mask, w, offsets, table):
                waiting[w] = True
                size = push(heap, size, -labelled_voxel(distances[w], w))


@jit
def distances_from_border(mask, towards, offsets, steps):  # type: ignore[no-untyped-def]
    """How far each voxel that differs is from the border of the mask, through others that differ alike.

    Voxels that the border does not reach stay far: none of their neighbours will ever change, so they are not simple.
    """
    distances = np.full(len(mask), _FAR, np.int32)
    waiting = np.zeros(len(mask), np.bool_)
    queue, first, end = np.empty(1024, np.int32), 0, 0
    for v in range(len(mask)):
        if mask[v] != towards[v]:
            nearest = _FAR
            for k in range(len(offsets)):
                if mask[v + offsets[k]] != mask[v]:
                    nearest = min(nearest, steps[k])
            if nearest != _FAR:
                distances[v], waiting[v] = nearest, True
                queue = with_room(queue, end + 1)
                queue[end], end = v, end + 1
    while first < end:  # a voxel that is reached on a shorter way waits again
        v, first = np.int64(queue[first]), first + 1
        waiting[v] = False
        queue = with_room(queue, end + len(offsets))
        for k in range(len(offsets)):
            w = v + offsets[k]
            distance = distances[v] + steps[k]
            if mask[w] != towards[w] and mask[w] == mask[v] and distance < distances[w]:
                distances[w] = distance
                if not waiting[w]:
                    waiting[w] = True
                    queue[end], end = w, end + 1
    return distances


@jit
def is_simple(mask, v, offsets, table):  # type: ignore[no-untyped-def]
    code = 0
    for k in range(len(offsets)):
        code |= np.int64(mask[v + offsets[k]]) << k
    return (table[code >> 3] >> (code & 7)) & 1 != 0


@jit
def labelled_voxel(distance, v):  # type: ignore[no-untyped-def]
    """A voxel with its distance in front, in one integer."""
    return (np.int64(distance) << 32) | np.int64(v)


@jit
def voxel_of(item):  # type: ignore[no-untyped-def]
    return item & np.int64(0xFFFFFFFF)
