"""A kernel over the parts of an image, see ``parts.py``."""

from __future__ import annotations

import numpy as np

from nnunet_topo.kernels.jit import jit


@jit
def euler_characteristics(labels, strides, count):  # type: ignore[no-untyped-def]
    """What each part of a volume adds to the Euler characteristic of a mask of closed cubes that it belongs to.

    ``labels`` is a flat framed volume of parts, those of the foreground after those of the background. A vertex, edge,
    square or cube is the foreground's where a voxel around it is, and such voxels are of one part, since they share a
    corner; else the voxels around it are of one part of the background, since they share faces.
    """
    result = np.zeros(count, np.int64)
    sx, sy, _ = strides
    around = np.array([0, 1, sy, sy + 1, sx, sx + 1, sx + sy, sx + sy + 1])
    for v in range(len(labels) - around[7]):
        one = labels[v]
        if (one == labels[v + 1] and one == labels[v + around[2]] and one == labels[v + around[3]]
                and one == labels[v + around[4]] and one == labels[v + around[5]] and one == labels[v + around[6]]
                and one == labels[v + around[7]]):  # fmt: skip
            continue  # a vertex less three edges, and three squares less a cube
        for axes in range(8):  # bits: along which of them the cell reaches, from the vertex between the eight
            part = 0
            for k in range(8):
                if k & axes == axes:
                    part = max(part, labels[v + around[k]])
            odd = (axes & 1) + (axes >> 1 & 1) + (axes >> 2 & 1) & 1
            result[part] += 1 - 2 * odd
    return result
