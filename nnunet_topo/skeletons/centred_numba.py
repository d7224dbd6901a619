"""CPU kernels of the centred skeleton; what they do is described in ``centred.py``.

An image is kept flat and framed by a layer of background, so that no neighbour needs a test of the border, and an image
in 2D is a volume of one plane. ``steps`` leads from a voxel to its 26 neighbours in raster order, as in the codes of
``simple_points.py``, and ``faces`` to those that share a face with it, without those outside of a plane.
"""

from __future__ import annotations

import numpy as np

from nnunet_topo.kernels.jit import jit

_PRESENT, _REACHED, _QUEUED = np.uint8(1), np.uint8(2), np.uint8(4)  # bits of a voxel's state


@jit
def squared_distances(mask, voxels, strides, spacing):  # type: ignore[no-untyped-def]
    """For each voxel the squared distance in mm from its centre to the nearest face of the background, elsewhere 0.

    The nearest point of a box that is a voxel lies half a voxel before its centre along each axis but those along which
    there is no step, so that the axes can be looked at one after the other, each from the voxel outwards.
    """
    before = np.zeros(len(mask), np.float32)
    after = np.zeros(len(mask), np.float32)
    for axis in range(len(strides)):
        step, size = strides[axis], spacing[axis]
        for voxel in voxels:
            nearest = np.inf if axis == 0 else before[voxel]
            for sign in (-1, 1):
                other, along = voxel, 0.5 * size
                while along * along < nearest:
                    other += sign * step
                    here = along * along
                    if not mask[other]:
                        nearest = here
                        break
                    if axis > 0:
                        nearest = min(nearest, here + before[other])
                    along += size
            after[voxel] = nearest
        before, after = after, before
    return before


@jit
def with_surroundings(depth, voxels, steps, scale):  # type: ignore[no-untyped-def]
    """For each voxel its depth plus the mean over the 27 voxels around it of depth plus mean depth around them.

    In whole numbers, 1458 times the scale for 1 mm, so that sums do not depend on their order.
    """
    whole = np.zeros(len(depth), np.int32)
    sums = np.zeros(len(depth), np.int32)
    for voxel in voxels:
        whole[voxel] = np.int32(np.rint(depth[voxel] * scale))
    for voxel in voxels:
        sums[voxel] = 28 * whole[voxel]
        for step in steps:
            sums[voxel] += whole[voxel + step]
    result = np.empty(len(voxels), np.int64)
    for i, voxel in enumerate(voxels):
        result[i] = 729 * np.int64(whole[voxel]) + sums[voxel]
        for step in steps:
            result[i] += sums[voxel + step]
    return result


@jit
def thin(state, voxels, ends_of_levels, steps, faces, table):  # type: ignore[no-untyped-def]
    """Delete simple voxels level by level; ``state`` is 1 where a voxel is present and changes in place.

    Of a level and of those before it, voxels that can be deleted go in rounds of one pass for each face, in which those
    go whose neighbour there is background when the pass begins. A voxel of one neighbour stays.
    """
    active = np.empty(len(voxels), np.int64)
    following = np.empty(len(voxels), np.int64)
    candidates = np.empty(len(voxels), np.int64)
    crowds = np.empty(len(voxels), np.uint8)
    begin = 0
    for end in ends_of_levels:
        count = end - begin
        active[:count] = voxels[begin:end]
        for voxel in voxels[begin:end]:
            state[voxel] |= _REACHED
        begin = end
        while count:
            touched = 0
            for face in faces:
                found = _bordering(state, active[:count], face, steps, candidates, crowds)
                for voxel in candidates[:found]:
                    code = neighbourhood(state, voxel, steps)
                    if code & (code - 1) == 0 or not table[code >> 3] >> (code & 7) & 1:
                        continue
                    state[voxel] = 0
                    for step in steps:
                        other = voxel + step
                        if state[other] == _PRESENT | _REACHED:
                            state[other] |= _QUEUED
                            following[touched] = other
                            touched += 1
            count = 0
            for voxel in following[:touched]:
                if state[voxel] & _PRESENT:
                    state[voxel] ^= _QUEUED
                    active[count] = voxel
                    count += 1


@jit
def _bordering(state, active, face, steps, candidates, crowds):  # type: ignore[no-untyped-def]
    """Gather the voxels whose neighbour at a face is background, those of most neighbours first; how many they are."""
    begins = np.zeros(28, np.int64)
    for i, voxel in enumerate(active):
        crowds[i] = 27
        if state[voxel] & _PRESENT and not state[voxel + face] & _PRESENT:
            crowds[i] = 26
            for step in steps:
                crowds[i] -= state[voxel + step] & _PRESENT
            begins[crowds[i] + 1] += 1
    begins = np.cumsum(begins)
    for i, voxel in enumerate(active):
        if crowds[i] < 27:
            candidates[begins[crowds[i]]] = voxel
            begins[crowds[i]] += 1
    return begins[26]


@jit
def neighbourhood(state, voxel, steps):  # type: ignore[no-untyped-def]
    """The code of a voxel's neighbourhood."""
    code = 0
    for i in range(26):
        code |= np.int64(state[voxel + steps[i]] & _PRESENT) << i
    return code
