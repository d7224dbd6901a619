"""The soft skeleton in torch operations, for any device; the algorithm is described in ``soft.py``.

Windows are shifted views and gradients are gathered: no atomic additions, so results are the same in every run.
Images (N, *S) of two or three axes are worked on together.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Extreme = Callable[..., Tensor]  # torch.minimum or torch.maximum


def forward(images: Tensor, eroded: Tensor, skeleton: Tensor, rest: Tensor, iterations: int) -> None:
    """Fill the skeletons (N, *S), the levels 1, 2, ... (N, levels, *S) and the rests (N, *S) of images (N, *S)."""
    skeleton.zero_()
    rest.fill_(1)
    level = images
    for i in range(iterations + 1):
        following = eroded[:, i % eroded.shape[1]]
        following.copy_(level)
        for axis in _axes(level):
            _include_neighbours(torch.minimum, level, following, axis)
        d = torch.sub(level, _maxima(following)[-1]).clamp_(min=0)
        skeleton += (d - skeleton * d).clamp_(min=0)
        rest *= 1 - d
        level = following


def backward(images: Tensor, eroded: Tensor, rest: Tensor, gradient: Tensor, result: Tensor) -> None:
    """Fill the gradients (N, *S) of images (N, *S), given the gradients (N, *S) of their skeletons."""
    ahead = torch.zeros_like(images)  # gradient of the level i + 1
    for i in range(eroded.shape[1] - 1, -1, -1):
        level = images if i == 0 else eroded[:, i - 1]
        here = _through_opening(level, eroded[:, i], rest, gradient, ahead)
        _through_erosion(level, ahead, here)
        ahead = here
    result.copy_(ahead)


def skeleton_of_mask(images: Tensor, iterations: int, skeleton: Tensor) -> Tensor:
    """Fill the skeletons of masks (N, *S) by the closed form; whether one is deeper than the iterations reach."""
    # a mask that is not full is empty after fewer erosions than its axes have voxels
    reach = min(iterations, sum(images.shape[1:])) + 1
    level = images.to(torch.uint8 if reach < 255 else torch.int16)
    depth = level.clone()  # becomes min(D, reach + 1), with D the city-block distance to the background
    for _ in range(reach):
        following = level.clone()
        for axis in _axes(level):
            _include_neighbours(torch.minimum, level, following, axis)
        level = following
        depth += level
    torch.logical_and(images & (depth <= reach), depth == _maxima(depth)[-1], out=skeleton)
    return ((depth > reach).flatten(1).any(1) & ~images.flatten(1).all(1)).any()


def _through_opening(level: Tensor, following: Tensor, rest: Tensor, gradient: Tensor, ahead: Tensor) -> Tensor:
    """Gradient of d = relu(level - dilate(following)): returned for ``level``, subtracted from ``ahead``."""
    maxima = _maxima(following)
    d = level - maxima[-1]
    # dS/dd is the product of the other levels' (1 - d), which are all 1 where d = 1; the rest is 0 there
    full = d == 1
    weight = (rest + full).div_((1 - d).add_(full)).mul_(gradient).mul_(d > 0)
    del d, full
    part, extreme = weight, maxima.pop()
    for axis in _axes(level):
        partial = maxima.pop()
        part = _to_first(part, partial, extreme, axis)
        extreme = partial
    ahead -= part
    return weight


def _through_erosion(level: Tensor, ahead: Tensor, here: Tensor) -> None:
    """Gradient of the erosion: ``ahead`` is added to ``here`` at the voxels that hold the minimum."""
    axes = _axes(level)
    minima = [_include_neighbours(torch.minimum, level, level.clone(), axis) for axis in axes]
    weight = ahead
    # min(min(z, y), x) from the outside in: first x gets its part, then y, and z what is left
    for k in range(len(axes) - 1, 0, -1):
        least = torch.minimum(minima[0], minima[1]) if k == 2 else minima[0]
        inner = weight * ((least < minima[k]) + 0.5 * (least == minima[k]))
        here += _to_first(weight - inner, level, minima[k], axes[k])
        weight = inner
    here += _to_first(weight, level, minima[0], axes[0])


def _axes(images: Tensor) -> list[int]:
    """The image axes in the order in which ties are settled: z, y, x."""
    return list(range(1, images.ndim))


def _maxima(image: Tensor) -> list[Tensor]:
    """The image, its maxima over windows of three along x, then also along y, then also along z."""
    maxima = [image]
    for axis in reversed(_axes(image)):
        maxima.append(_include_neighbours(torch.maximum, maxima[-1], maxima[-1].clone(), axis))
    return maxima


def _include_neighbours(extreme: Extreme, image: Tensor, out: Tensor, axis: int) -> Tensor:
    """``out`` becomes the extreme of itself and of the image's two neighbours along an axis."""
    length = image.shape[axis] - 1
    for target, source in ((out.narrow(axis, 1, length), image.narrow(axis, 0, length)),
                           (out.narrow(axis, 0, length), image.narrow(axis, 1, length))):
        extreme(target, source, out=target)
    return out


def _to_first(weight: Tensor, image: Tensor, extreme: Tensor, axis: int) -> Tensor:
    """Hand each voxel's weight to the first voxel of its window along an axis that holds the window's extreme."""
    length = image.shape[axis] - 1
    but_last, but_first = (lambda x: x.narrow(axis, 0, length)), (lambda x: x.narrow(axis, 1, length))
    to_before = (but_last(image) == but_first(extreme)) * but_first(weight)
    left = weight.clone()
    but_first(left).sub_(to_before)
    result = (image == extreme) * left
    left -= result
    but_last(result).add_(to_before)
    but_first(result).add_(but_last(left))
    return result
