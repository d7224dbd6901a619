"""A heap of whole numbers in an array, for kernels: the largest comes up first."""

from __future__ import annotations

import numpy as np

from nnunet_topo.kernels.jit import jit

NOTHING = np.int64(-(2**63))  # below every item


@jit
def push(heap, size, item):  # type: ignore[no-untyped-def]
    """Add an item to a heap of the given size, whose largest is the first; the new size."""
    if item == NOTHING:
        return size
    place = size
    while place > 0:
        above = (place - 1) >> 1
        if heap[above] >= item:
            break
        heap[place] = heap[above]
        place = above
    heap[place] = item
    return size + 1


@jit
def pop(heap, size):  # type: ignore[no-untyped-def]
    """Remove the largest item; the new size. The place behind the heap is written on.

    Which of two children is larger cannot be foreseen: no branch hangs on it.
    """
    size -= 1
    item = heap[size]
    heap[size] = NOTHING
    place, below = 0, 1
    while below < size:
        below += np.int64(heap[below + 1] > heap[below])
        largest = heap[below]
        if largest <= item:
            break
        heap[place] = largest
        place = below
        below = 2 * place + 1
    heap[place] = item
    return size


@jit
def pop_single(heap, size):  # type: ignore[no-untyped-def]
    """Remove the largest item that stands an odd number of times, and all above it: (item or NOTHING, size)."""
    while size > 0:
        item = heap[0]
        size = pop(heap, size)
        if size == 0 or heap[0] != item:
            return item, size
        size = pop(heap, size)
    return NOTHING, size


@jit
def with_room(array, size):  # type: ignore[no-untyped-def]
    """The array, or a longer copy. Not called where it is not needed: handing arrays about takes as long as a push."""
    if size <= len(array):
        return array
    longer = np.empty(2 * size, array.dtype)
    longer[: len(array)] = array
    return longer
