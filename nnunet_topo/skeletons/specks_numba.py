"""CPU kernel that takes noise specks and pin-holes out of a sample; see ``specks.py``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.kernels.jit import jit

_SAMPLE, _CERTAIN, _VISITED, _OUTSIDE = 1, 2, 4, 8


def without_specks(sample: NDArray[np.bool_], certain: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The cleaned sample (Z, Y, X)."""
    state = np.full(tuple(size + 2 for size in sample.shape), _OUTSIDE, np.uint8)
    inner = (slice(1, -1),) * 3
    state[inner] = sample.view(np.uint8) | certain.view(np.uint8) << 1
    _, height, width = state.shape
    near = [(dz * height + dy) * width + dx for dz in (-1, 0, 1) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    box = np.array([step for step in near if step], np.int64)
    cross = np.array([-height * width, -width, -1, 1, width, height * width], np.int64)
    _clean(state.reshape(-1), box, cross)
    return np.ascontiguousarray(state[inner] & _SAMPLE).view(np.bool_)


@jit
def _clean(state, box, cross):  # type: ignore[no-untyped-def]
    """Flip back every group of connected voxels that noise flipped and that touches no voxel of its new kind."""
    size = 1024
    group = np.empty(size, np.int64)
    for start in range(len(state)):
        flipped = state[start]
        if flipped != _SAMPLE and flipped != _CERTAIN:  # noise turned on, or off, and not yet visited
            continue
        near = box if flipped == _SAMPLE else cross
        friend = (_SAMPLE | _CERTAIN) if flipped == _SAMPLE else 0
        alone = True
        group[0], count, done = start, 1, 0
        state[start] = flipped | _VISITED
        while done < count:
            for step in near:
                at = group[done] + step
                kind = state[at]
                if kind == flipped:
                    state[at] = flipped | _VISITED
                    if count == size:
                        larger = np.empty(2 * size, np.int64)
                        larger[:size] = group
                        group, size = larger, 2 * size
                    group[count] = at
                    count += 1
                elif kind == friend:
                    alone = False
            done += 1
        if alone:
            for i in range(count):
                # visited voxels keep their old kind for the groups still to come: groups of one kind never touch, and
                # a group of the other kind looks for voxels that noise left as they were
                state[group[i]] ^= _SAMPLE
