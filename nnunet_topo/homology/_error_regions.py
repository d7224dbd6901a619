"""Which regions of errors are critical: what each touches, and what it does to the Euler number."""

from __future__ import annotations

import numpy as np

from nnunet_topo.homology._components import find
from nnunet_topo.homology._runs import (
    BOTH,
    FALSE_POSITIVE,
    NEITHER,
    connected_runs,
    is_wrong,
    join,
    runs_of,
)
from nnunet_topo.kernels.jit import jit

_NONE, _MANY = -1, -2  # in a slot, where there is not the number of the one thing that a region touches


@jit
def wrong_regions(states, shape, axes, in_the_open, framed, euler):  # type: ignore[no-untyped-def]
    """Regions of errors: the voxels of all, the region of each, and whether each region is critical.

    ``in_the_open`` is the rule of critical regions, with a background ``framed`` or not, where the table ``euler`` has
    entries also by their Euler numbers; otherwise that of critical components. ``axes`` of the ``shape`` are the
    image's, the first of three is 1 for two.
    """
    starts, first = runs_of(states, shape[2])
    regions, predicted, true, contacts = connected_runs(states, starts, first, shape, in_the_open)
    runs = len(starts) - 1
    if framed:
        regions = np.append(regions, np.int32(runs))  # all that is outside
    outside = np.zeros(runs, np.bool_)
    if framed:
        mark_border(starts, shape, axes, outside)
        for i in range(runs):
            if outside[i] and states[starts[i]] == NEITHER:
                join(regions, i, runs)
    number, count = np.full(runs, -1, np.int32), 0  # of the region of a run that is a root
    for i in range(runs):
        if is_wrong(states[starts[i]]) and regions[i] == i:
            number[i] = count
            count += 1
    background, component = np.full(count, _NONE, np.int32), np.full(count, _NONE, np.int32)
    for k in range(len(contacts)):
        for side in range(2):
            i, j = contacts[k, side], contacts[k, 1 - side]
            state, beside = states[starts[i]], states[starts[j]]
            if not is_wrong(state):
                continue
            region = number[find(regions, i)]
            if beside == NEITHER:
                if contacts[k, 2]:
                    see(background, region, find(regions, j))
            elif in_the_open:  # of the other mask
                see(component, region, find(true if state == FALSE_POSITIVE else predicted, j))
            elif beside == BOTH:  # of what both masks have
                see(component, region, find(regions, j))
    if framed:
        for i in range(runs):
            if outside[i] and is_wrong(states[starts[i]]):
                see(background, number[find(regions, i)], find(regions, runs))
    critical = component < 0
    if in_the_open:
        critical |= background < 0
    voxels, of_voxel = voxels_of_regions(states, starts, regions, number)
    if len(euler):
        change_of_euler_numbers(states, shape, voxels, of_voxel, euler, critical)
    return voxels, of_voxel, critical


@jit
def see(slots, region, thing):  # type: ignore[no-untyped-def]
    if slots[region] == _NONE:
        slots[region] = thing
    elif slots[region] != thing:
        slots[region] = _MANY


@jit
def mark_border(starts, shape, axes, outside):  # type: ignore[no-untyped-def]
    depth, height, width = shape
    for i in range(len(outside)):
        row = starts[i] // width
        z, y = row // height, row % height
        outside[i] = (y == 0 or y == height - 1 or (axes == 3 and (z == 0 or z == depth - 1))
                      or starts[i] % width == 0 or starts[i + 1] % width == 0)


@jit
def voxels_of_regions(states, starts, regions, number):  # type: ignore[no-untyped-def]
    total = 0
    for i in range(len(number)):
        if is_wrong(states[starts[i]]):
            total += starts[i + 1] - starts[i]
    voxels, of_voxel, count = np.empty(total, np.int64), np.empty(total, np.int32), 0
    for i in range(len(number)):
        if is_wrong(states[starts[i]]):
            region = number[find(regions, i)]
            for v in range(starts[i], starts[i + 1]):
                voxels[count], of_voxel[count] = v, region
                count += 1
    return voxels, of_voxel


@jit
def change_of_euler_numbers(states, shape, voxels, of_voxel, euler, critical):  # type: ignore[no-untyped-def]
    """Mark the regions that change the Euler number of the other mask when they are added to it.

    ``euler`` has what the eight voxels around a lattice point, as bits, contribute, times eight.
    """
    depth, height, width = shape
    place = np.zeros(len(states), np.int32)  # of each wrong voxel, counted from 1
    for k in range(len(voxels)):
        place[voxels[k]] = k + 1
    change = np.zeros(len(critical), np.int32)
    for k in range(len(voxels)):
        if critical[of_voxel[k]]:
            continue
        v, state = voxels[k], states[voxels[k]]
        z, y, x = v // (height * width), v // width % height, v % width
        other = 2 if state == FALSE_POSITIVE else 1
        for corner in range(8):  # the lattice points of the voxel
            mask, region, bit, own = 0, 0, 1, 0
            for dz in range((corner >> 2) - 1, (corner >> 2) + 1):
                for dy in range((corner >> 1 & 1) - 1, (corner >> 1 & 1) + 1):
                    for dx in range((corner & 1) - 1, (corner & 1) + 1):
                        if 0 <= z + dz < depth and 0 <= y + dy < height and 0 <= x + dx < width:
                            w = v + (dz * height + dy) * width + dx
                            if states[w] & other:
                                mask |= bit
                            elif states[w] == state and of_voxel[place[w] - 1] == of_voxel[k]:
                                region |= bit
                        if dz == 0 and dy == 0 and dx == 0:
                            own = bit
                        bit <<= 1
            if region & (own - 1) == 0:  # of the region's voxels there, the first looks for all
                change[of_voxel[k]] += euler[mask | region] - euler[mask]
    for region in range(len(critical)):
        critical[region] |= change[region] != 0
