"""City-block distance of masks on the CPU, and the closed form of the soft skeleton that follows from it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.kernels.jit import jit

FAR = 32767  # distance where there is no background at all; also the largest distance that int16 holds


def city_block_distance(mask: NDArray[np.bool_]) -> NDArray[np.int16]:
    """Distance of each voxel of a bool image (Z, Y, X) to the background in it, exact; FAR without background."""
    distance = np.empty(mask.shape, np.int16)
    _two_passes(mask, distance)
    return distance


def skeleton_of_mask(mask: NDArray[np.bool_], iterations: int, skeleton: NDArray[np.bool_]) -> bool:
    """Fill the soft skeleton of a bool image (Z, Y, X); whether it is deeper somewhere than the iterations reach."""
    return bool(_local_maxima(city_block_distance(mask), iterations + 1, skeleton))


@jit
def _two_passes(mask, distance):  # type: ignore[no-untyped-def]
    depth, height, width = mask.shape
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                nearest = FAR - 1
                if z > 0:
                    nearest = min(nearest, distance[z - 1, y, x])
                if y > 0:
                    nearest = min(nearest, distance[z, y - 1, x])
                if x > 0:
                    nearest = min(nearest, distance[z, y, x - 1])
                distance[z, y, x] = nearest + 1 if mask[z, y, x] else 0
    for z in range(depth - 1, -1, -1):
        for y in range(height - 1, -1, -1):
            for x in range(width - 1, -1, -1):
                nearest = distance[z, y, x] - 1
                if z + 1 < depth:
                    nearest = min(nearest, distance[z + 1, y, x])
                if y + 1 < height:
                    nearest = min(nearest, distance[z, y + 1, x])
                if x + 1 < width:
                    nearest = min(nearest, distance[z, y, x + 1])
                if mask[z, y, x]:
                    distance[z, y, x] = nearest + 1


@jit
def _local_maxima(distance, reach, skeleton):  # type: ignore[no-untyped-def]
    depth, height, width = distance.shape
    deeper = False
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                here = distance[z, y, x]
                deeper |= reach < here < FAR
                skeleton[z, y, x] = 0 < here <= reach and not _has_larger_neighbour(distance, z, y, x)
    return deeper


@jit
def _has_larger_neighbour(distance, z, y, x):  # type: ignore[no-untyped-def]
    depth, height, width = distance.shape
    for k in range(max(z - 1, 0), min(z + 2, depth)):
        for j in range(max(y - 1, 0), min(y + 2, height)):
            for i in range(max(x - 1, 0), min(x + 2, width)):
                if distance[k, j, i] > distance[z, y, x]:
                    return True
    return False
