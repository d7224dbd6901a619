"""How deep voxels lie inside masks: their Euclidean distance to the background, up to that of the skeleton."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from nnunet_topo.skeletons.thinning import over_threads

_FIRST_BOUND = 8  # voxels; on devices, deeper masks cost further rounds


def depth(mask: Tensor, skeleton: Tensor) -> tuple[Tensor, Tensor]:
    """Distance to the background, bounded by the largest one on the skeleton; both without gradient.

    Nothing outside of the image counts as background. A mask without any background has depth 1 everywhere. On the CPU
    the distance is SciPy's. Elsewhere it is the same number by minima along the axes, as far as the skeleton's depth
    asks for, which the host has to wait for once, or for deep masks a few times.

    Args:
        mask, skeleton: (B, C, *S) bool, the skeleton inside the mask.

    Returns:
        The distance in voxels, whatever their spacing, (B, C, *S) float32, at most R; and R (B, C, 1, ...), the largest
        distance on the skeleton, at least 1.
    """
    if mask.device.type == "cpu":
        arrays = mask.numpy().reshape(-1, *mask.shape[2:])
        distance = torch.from_numpy(np.stack(over_threads(_distance, arrays))).view(mask.shape)
    else:
        distance = distance_on_device(mask, skeleton)
    space = tuple(range(2, mask.ndim))
    radius = torch.where(skeleton, distance, 0.0).amax(space, keepdim=True).clamp(min=1)
    return torch.minimum(distance, radius), radius


def distance_on_device(mask: Tensor, skeleton: Tensor) -> Tensor:
    """Distance to the background, exact up to the largest one on the skeleton and not below it elsewhere."""
    space = tuple(range(2, mask.ndim))
    full = mask.all(2, keepdim=True)
    for axis in space[1:]:
        full = full.all(axis, keepdim=True)
    looked_at = skeleton & ~full
    bound, diagonal = _FIRST_BOUND, sum(mask.shape[axis] ** 2 for axis in space)
    squares = _squared_distance(mask, bound)
    while bound**2 < diagonal and bool((looked_at & (squares > bound**2)).any()):
        bound *= 2
        squares = _squared_distance(mask, bound)
    return torch.where(full, 1.0, squares.sqrt())


def _squared_distance(mask: Tensor, bound: int) -> Tensor:
    """Squared distance to the background, exact up to ``bound``; above, some number that is larger than its square."""
    squares = mask.float() * (bound**2 + 1)
    for axis in range(2, mask.ndim):
        before, squares = squares, squares.clone()
        for step in range(1, min(bound, mask.shape[axis] - 1) + 1):
            length = mask.shape[axis] - step
            for here, there in ((0, step), (step, 0)):
                part = squares.narrow(axis, here, length)
                torch.minimum(part, before.narrow(axis, there, length) + step**2, out=part)
    return squares


def _distance(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    distance = mask.astype(np.float32)
    if mask.all() or not mask.any():
        return distance
    # a frame of background around the mask, where the image has it, is as near as any background further away
    box = tuple(_extent(mask, axis) for axis in range(mask.ndim))
    inside: Any = distance_transform_edt(mask[box])
    distance[box] = inside
    return distance


def _extent(mask: NDArray[np.bool_], axis: int) -> slice:
    others = tuple(other for other in range(mask.ndim) if other != axis)
    indices = np.flatnonzero(mask.any(others))
    return slice(max(int(indices[0]) - 1, 0), int(indices[-1]) + 2)
