"""Runs of two masks: how each row falls into stretches of one state, how these touch, and what hangs together.

A voxel's state is ``prediction + 2 * target``. All is done run by run: one look at each voxel, and then time that grows
with the number of runs.
"""

from __future__ import annotations

import numpy as np

from nnunet_topo.homology._components import find
from nnunet_topo.kernels.heap import with_room
from nnunet_topo.kernels.jit import jit

NEITHER, FALSE_POSITIVE, FALSE_NEGATIVE, BOTH = 0, 1, 2, 3  # states


@jit
def runs_of(states, width):  # type: ignore[no-untyped-def]
    """Where each run of a flat image begins, with the image's size behind; and the first run of each row, likewise."""
    count = 0
    for row in range(0, len(states), width):
        count += 1
        for v in range(row + 1, row + width):
            count += states[v] != states[v - 1]
    starts, first = np.empty(count + 1, np.int32), np.empty(len(states) // width + 1, np.int32)
    i = 0
    for row in range(0, len(states), width):
        first[row // width], starts[i] = i, row
        i += 1
        for v in range(row + 1, row + width):
            if states[v] != states[v - 1]:
                starts[i] = v
                i += 1
    first[-1], starts[-1] = i, len(states)
    return starts, first


@jit
def touching_runs(starts, first, row, other, width, found):  # type: ignore[no-untyped-def]
    """Pairs of runs of two rows that touch, across faces (1) or at a corner only (0), into (n, 3); their number."""
    i, j, shift, count = np.int64(first[row]), np.int64(first[other]), (other - row) * width, 0
    while True:
        end_i, end_j = starts[i + 1] + shift, starts[j + 1]
        found[count, 0], found[count, 1], found[count, 2] = i, j, 1
        count += 1
        if end_i == end_j:
            if i + 1 == first[row + 1]:  # rows are as long as each other
                return count
            for one, two in ((i, j + 1), (i + 1, j)):
                found[count, 0], found[count, 1], found[count, 2] = one, two, 0
                count += 1
        i, j = i + (end_i <= end_j), j + (end_j <= end_i)


@jit
def join(parent, one, two):  # type: ignore[no-untyped-def]
    if parent[one] == parent[two]:
        return
    one, two = find(parent, one), find(parent, two)
    parent[max(one, two)] = min(one, two)


@jit
def connected_runs(states, starts, first, shape, in_the_open):  # type: ignore[no-untyped-def]
    """Forests of runs: of regions of one state, of components of the prediction, and of the target; and contacts.

    Components hang together across faces, edges and corners. So do regions, unless ``in_the_open``: then those of no
    mask do through faces only, and wrong ones through faces, and where all other voxels around an edge or a corner
    that two of their voxels share are in no mask.

    Contacts are pairs of runs of different states, one of them wrong, and whether they share a face, (n, 3).
    """
    depth, height, width = shape
    regions = np.arange(len(starts) - 1).astype(np.int32)
    predicted, true = regions.copy(), regions.copy()
    kinds = states[starts[:-1]]
    found, contacts, size = np.empty((4 * width, 3), np.int32), np.empty(1024, np.int32), 0
    for row in range(depth * height):
        z, y = row // height, row % height
        for back in range(5):  # this row, and those before it that touch it
            dz, dy = (0, 0) if back == 0 else ((0, -1) if back == 1 else (-1, back - 3))
            if z + dz < 0 or not 0 <= y + dy < height:
                continue
            if back == 0:
                count = 0
                for i in range(first[row], first[row + 1] - 1):
                    found[count, 0], found[count, 1], found[count, 2] = i, i + 1, 1
                    count += 1
            else:
                count = touching_runs(starts, first, row, row + dz * height + dy, width, found)
            for k in range(count):
                i, j, face = found[k, 0], found[k, 1], found[k, 2] and dz * dy == 0
                one, two = kinds[i], kinds[j]
                if one & two & 1:
                    join(predicted, i, j)
                if one & two & 2:
                    join(true, i, j)
                if one == two:
                    if face or not in_the_open or (
                        is_wrong(one) and meet_in_the_open(states, starts, i, j, dz, dy, height, width)
                    ):
                        join(regions, i, j)
                elif is_wrong(one) or is_wrong(two):
                    contacts = with_room(contacts, size + 3)
                    contacts[size], contacts[size + 1], contacts[size + 2] = i, j, face
                    size += 3
    return regions, predicted, true, contacts[:size].reshape(-1, 3)


@jit
def is_wrong(state):  # type: ignore[no-untyped-def]
    return state == FALSE_POSITIVE or state == FALSE_NEGATIVE


@jit
def meet_in_the_open(states, starts, i, j, dz, dy, height, width):  # type: ignore[no-untyped-def]
    """Whether some voxels of two runs, which lie at an edge or a corner, have none of a mask beside them there."""
    shift = (dz * height + dy) * width
    for w in range(max(starts[j], starts[i] + shift - 1), min(starts[j + 1], starts[i + 1] + shift + 1)):
        for dx in range(-1, 2):
            v = w - shift - dx  # w lies at (dz, dy, dx) from it
            if starts[i] <= v < starts[i + 1]:
                masked = 0
                for z in range(dz, 1):
                    for y in range(min(dy, 0), max(dy, 0) + 1):
                        for x in range(min(dx, 0), max(dx, 0) + 1):
                            masked += states[v + (z * height + y) * width + x] != NEITHER
                if masked == 2:
                    return True
    return False
