"""CPU kernels that take spurs off a skeleton; the rule is described in ``centred.py``.

Images are flat and framed as in ``centred_numba.py``, whose ``steps`` these kernels share, with their lengths in mm.
"""

from __future__ import annotations

import numpy as np

from nnunet_topo.kernels.jit import jit
from nnunet_topo.skeletons.centred_numba import neighbourhood


@jit
def prune(state, skeleton, depth, steps, lengths, table, factor, allowance):  # type: ignore[no-untyped-def]
    """Delete spurs from a skeleton until none is left; for each its end, reach and width.

    Args:
        state: 1 where a voxel is present; changes in place.
        skeleton: the voxels that are present, the least deep first.
        depth: of each voxel of the image its distance to the surface in mm.
        steps, lengths: to the 26 neighbours.
        table: of simple points.
        factor, allowance: a spur reaches no further out of its parent than the factor times its width plus the
            allowance in mm.
    """
    reach = np.zeros(len(state), np.float32)  # from an end of the skeleton to the object's tip, where spurs are gone
    chain = np.empty(len(skeleton), np.int64)
    doomed = np.empty(len(skeleton), np.int64)
    spurs = np.empty((len(skeleton), 3))
    found = 0
    while True:
        before, gone = found, 0
        for end in skeleton:
            code = neighbourhood(state, end, steps)
            if not state[end] or code == 0 or code & (code - 1) != 0:
                continue
            size, length, junction = _follow(state, end, steps, lengths, chain)
            tip = max(reach[end], depth[end])
            if junction < 0:  # the whole component: two arms of its deepest voxel
                if chain[size - 1] < end:  # seen from there
                    continue
                centre = _deepest(chain[:size], depth)
                one = _arm(chain[:size], centre, depth, reach, steps, lengths)
                two = _arm(chain[:size][::-1], centre, depth, reach, steps, lengths)
                longer = one if one[1] >= two[1] else two
                if one[1] > factor * one[2] + allowance or two[1] > factor * two[2] + allowance:
                    continue
                for voxel in chain[:size]:
                    if voxel != centre:
                        doomed[gone] = voxel
                        gone += 1
                spurs[found, 0], spurs[found, 1], spurs[found, 2] = longer
                found += 1
                continue
            parent, further = _deepest_around(state, junction, depth, steps, lengths)
            radius = depth[parent]
            width = _width_outside(chain[:size], depth, length + further - radius, steps, lengths)
            out = tip + length + further - radius
            if out > factor * width + allowance:
                continue
            for voxel in chain[:size]:
                doomed[gone] = voxel
                gone += 1
            reach[junction] = max(reach[junction], tip + length)
            spurs[found, 0], spurs[found, 1], spurs[found, 2] = end, out, width
            found += 1
        for voxel in doomed[:gone]:
            state[voxel] = 0
        _tidy(state, skeleton, reach, steps, lengths, table)
        if found == before:
            return spurs[:found]


@jit
def _follow(state, end, steps, lengths, chain):  # type: ignore[no-untyped-def]
    """The chain from an end: (its voxels, its length with the last step, the junction behind it, or -1)."""
    size, length, voxel, last = 0, 0.0, end, -1
    while True:
        chain[size] = voxel
        size += 1
        following, along = -1, 0.0
        for i in range(26):
            other = voxel + steps[i]
            if state[other] and other != last:
                following, along = other, lengths[i]
        if following < 0:
            return size, length, -1
        length += along
        others = 0
        for step in steps:
            others += state[following + step]
        if others > 2:
            return size, length, following
        voxel, last = following, voxel


@jit
def _deepest(voxels, depth):  # type: ignore[no-untyped-def]
    best = voxels[0]
    for voxel in voxels:
        if depth[voxel] > depth[best] or (depth[voxel] == depth[best] and voxel < best):
            best = voxel
    return best


@jit
def _arm(chain, centre, depth, reach, steps, lengths):  # type: ignore[no-untyped-def]
    """Of the chain from its first voxel to the centre: (that voxel, the reach out of the ball around it, the width)."""
    size, length = 1, 0.0
    while chain[size - 1] != centre:
        length += _length(chain[size] - chain[size - 1], steps, lengths)
        size += 1
    tip = max(reach[chain[0]], depth[chain[0]])
    width = _width_outside(chain[:size], depth, length - depth[centre], steps, lengths)
    return np.float64(chain[0]), tip + length - depth[centre], np.float64(width)


@jit
def _length(step, steps, lengths):  # type: ignore[no-untyped-def]
    for i in range(26):
        if step == steps[i]:
            return lengths[i]
    return np.nan


@jit
def _deepest_around(state, junction, depth, steps, lengths):  # type: ignore[no-untyped-def]
    """Of a junction and its neighbours the voxel deepest inside, and the way there."""
    best, way = junction, 0.0
    for i in range(26):
        other = junction + steps[i]
        if state[other] and depth[other] > depth[best]:
            best, way = other, lengths[i]
    return best, way


@jit
def _width_outside(chain, depth, outside, steps, lengths):  # type: ignore[no-untyped-def]
    """The depth of the chain where it leaves the parent's ball: the largest one on the way, from the end, out there."""
    width, along = depth[chain[0]], 0.0
    for i in range(1, len(chain)):
        along += _length(chain[i] - chain[i - 1], steps, lengths)
        if along > outside:
            break
        width = max(width, depth[chain[i]])
    return width


@jit
def _tidy(state, skeleton, reach, steps, lengths, table):  # type: ignore[no-untyped-def]
    """Delete what became simple where spurs met, in the skeleton's order; ends stay."""
    deleted = True
    while deleted:
        deleted = False
        for voxel in skeleton:
            code = neighbourhood(state, voxel, steps)
            if state[voxel] and code & (code - 1) != 0 and table[code >> 3] >> (code & 7) & 1:
                state[voxel] = 0
                deleted = True
                for i in range(26):
                    other = voxel + steps[i]
                    if state[other] and reach[voxel] > 0:
                        reach[other] = max(reach[other], reach[voxel] + lengths[i])
