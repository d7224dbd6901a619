"""How deep voxels lie inside masks: their Euclidean distance to the background, up to that of the skeleton.

The squared distance is the minimum over the background's voxels of a sum over the axes, so that it can be taken axis by
axis. Vessels are thin: where no distance above a bound is asked for, minima over shifts up to the bound are exact, and
at the usual radii several times faster than an unbounded transform (SciPy's, on one core), on any device.
"""

from __future__ import annotations

import torch
from torch import Tensor

_FIRST_BOUND = 8  # voxels; masks with a deeper skeleton cost further rounds


def depth(mask: Tensor, skeleton: Tensor) -> tuple[Tensor, Tensor]:
    """Exact distance to the background, bounded by the largest one on the skeleton; both without gradient.

    Nothing outside of the image counts as background. A mask without any background has depth 1 everywhere. The host
    waits for the device once, or for deep skeletons a few times.

    Args:
        mask, skeleton: (B, C, *S) bool, the skeleton inside the mask.

    Returns:
        The distance in voxels, whatever their spacing, (B, C, *S) float32, at most R; and R (B, C, 1, ...), the largest
        distance on the skeleton, at least 1.
    """
    images, skeletons = mask.flatten(0, 1), skeleton.flatten(0, 1)
    size = 1 if mask.device.type == "cpu" else max(len(images), 1)  # one image at a time stays in the CPU's cache
    distance = torch.cat([_distance(*pair) for pair in zip(images.split(size), skeletons.split(size), strict=True)])
    distance = distance.view(mask.shape)
    radius = torch.where(skeleton, distance, 0.0).amax(tuple(range(2, mask.ndim)), keepdim=True).clamp(min=1)
    return torch.minimum(distance, radius), radius


def _distance(images: Tensor, skeletons: Tensor) -> Tensor:
    """Distance to the background of masks (N, *S), exact up to the largest one on the skeletons and above not less."""
    full = images.flatten(1).all(1).view(-1, *[1] * (images.ndim - 1))
    looked_at = skeletons & ~full
    bound, diagonal = _FIRST_BOUND, sum(size**2 for size in images.shape[1:])
    squares = _squared_distance(images, bound)
    while bound**2 < diagonal and bool((looked_at & (squares > bound**2)).any()):
        bound *= 2
        squares = _squared_distance(images, bound)
    return torch.where(full, 1.0, squares.sqrt())


def _squared_distance(images: Tensor, bound: int) -> Tensor:
    """Squared distance to the background, exact up to ``bound``; above, some number that is larger than its square."""
    squares = images.float() * (bound**2 + 1)
    for axis in range(1, images.ndim):
        before, squares = squares, squares.clone()
        for step in range(1, min(bound, images.shape[axis] - 1) + 1):
            length = images.shape[axis] - step
            for here, there in ((0, step), (step, 0)):
                part = squares.narrow(axis, here, length)
                torch.minimum(part, before.narrow(axis, there, length) + step**2, out=part)
    return squares
