"""The soft skeleton in torch operations, for CUDA and other devices: images (N, *S), 2D or 3D.

Minima, maxima and gradients are gathered along one axis at a time through shifted views: no pooling (whose backward
uses atomic additions on CUDA), no scatter, so the result is deterministic.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Combine = Callable[..., Tensor]


def forward(images: Tensor, iterations: int, keep: bool) -> tuple[Tensor, Tensor | None, Tensor]:
    """Skeleton S, the levels e_0 ... e_{n+1} stacked in front (None unless ``keep``), and T = prod_i (1 - d_i)."""
    levels = images.new_empty(iterations + 2, *images.shape) if keep else None
    if levels is not None:
        levels[0] = images
    skeleton, rest, here = torch.zeros_like(images), torch.ones_like(images), images
    for level in range(iterations + 1):
        eroded = _erode(here)
        difference = torch.relu_(here - _dilate(eroded)[-1])
        skeleton = skeleton + torch.relu_(difference - skeleton * difference)
        rest = rest - rest * difference
        here = eroded
        if levels is not None:
            levels[level + 1] = eroded
    return skeleton, levels, rest


def backward(gradient: Tensor, levels: Tensor, rest: Tensor) -> Tensor:
    """Gradient with respect to e_0 from the one with respect to the skeleton."""
    of_eroded = torch.zeros_like(gradient)
    for level in range(len(levels) - 2, -1, -1):
        image, eroded = levels[level], levels[level + 1]
        partial = _dilate(eroded)
        difference = image - partial[-1]
        weight = torch.where(difference < 1, gradient * rest / (1 - difference), gradient)
        weight = torch.where(difference > 0, weight, 0)
        of_eroded -= _route_dilation(weight, partial)
        of_eroded = weight + _route_erosion(of_eroded, image)
    return of_eroded


def skeleton_of_mask(mask: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """Closed form for a bool mask (N, *S), and whether it is deeper somewhere than the iterations reach (0-dim bool)."""
    here = mask.to(torch.int16)
    depth = here.clone()  # min(D, n + 2), D the city-block distance to the background
    for _ in range(iterations + 1):
        here = _erode(here)
        depth += here
    skeleton = (depth > 0) & (depth <= iterations + 1) & (depth == _dilate(depth)[-1])
    deeper = (depth > iterations + 1).flatten(1).any(1) & ~mask.flatten(1).all(1)  # all foreground: never a skeleton
    return skeleton, deeper.any()


def _window(image: Tensor, axis: int, combine: Combine) -> Tensor:
    """Minimum or maximum over windows of 3 along one axis; outside of the image nothing counts."""
    length = image.shape[axis]
    result = image.clone()
    for start, source in ((1, 0), (0, 1)):
        part = result.narrow(axis, start, length - 1)
        combine(part, image.narrow(axis, source, length - 1), out=part)
    return result


def _erode(image: Tensor) -> Tensor:
    result = image
    for axis in range(1, image.ndim):
        minimum = _window(image, axis, torch.minimum)
        result = minimum if axis == 1 else torch.minimum(result, minimum, out=result)
    return result


def _dilate(image: Tensor) -> list[Tensor]:
    """The image, and its maxima over windows along the last axis, the last two, ...: the box comes last."""
    partial = [image]
    for axis in range(image.ndim - 1, 0, -1):
        partial.append(_window(partial[-1], axis, torch.maximum))
    return partial


def _route(gradient: Tensor, source: Tensor, result: Tensor, axis: int) -> Tensor:
    """Send the gradient of each window along an axis to the first voxel of ``source`` that equals ``result``."""
    length = source.shape[axis]
    before = torch.zeros_like(result, dtype=torch.bool)
    _tail(before, axis).copy_(_head(source, axis) == _tail(result, axis))
    here = (source == result) & ~before
    routed = torch.where(here, gradient, 0)
    if length > 1:
        after = ~(before | here)
        _head(routed, axis).add_(_tail(torch.where(before, gradient, 0), axis))
        _tail(routed, axis).add_(_head(torch.where(after, gradient, 0), axis))
    return routed


def _head(image: Tensor, axis: int) -> Tensor:
    return image.narrow(axis, 0, image.shape[axis] - 1)


def _tail(image: Tensor, axis: int) -> Tensor:
    return image.narrow(axis, 1, image.shape[axis] - 1)


def _route_dilation(gradient: Tensor, partial: list[Tensor]) -> Tensor:
    """First in scan order: the first plane that holds the maximum, in it the first row, in it the first voxel."""
    for axis in range(1, gradient.ndim):
        depth = gradient.ndim - axis
        gradient = _route(gradient, partial[depth - 1], partial[depth], axis)
    return gradient


def _route_erosion(gradient: Tensor, image: Tensor) -> Tensor:
    """Through ``minimum(minimum(z, y), x)``: equal sides get half each, and in each axis the first smallest voxel."""
    minima = [_window(image, axis, torch.minimum) for axis in range(1, image.ndim)]
    smallest = minima[0]
    shares = [gradient]
    for minimum in minima[1:]:
        share = torch.where(minimum < smallest, gradient, torch.where(minimum == smallest, gradient / 2, 0))
        keep = torch.where(minimum < smallest, 0.0, torch.where(minimum == smallest, 0.5, 1.0)).to(gradient.dtype)
        shares = [keep * earlier for earlier in shares] + [share]
        smallest = torch.minimum(smallest, minimum)
    return sum((_route(share, image, minimum, axis)
                for axis, (share, minimum) in enumerate(zip(shares, minima, strict=True), 1)),
               start=torch.zeros_like(gradient))
