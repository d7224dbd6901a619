"""CPU kernels of the soft skeleton; the algorithm is described in ``soft.py``.

Kernels take images (Z, Y, X), C-contiguous; an image of two axes has Z = 1. A neighbour outside of the image is
replaced by the voxel at the border: in a window of three this changes neither the extreme value nor which voxel is the
first to hold it. Inner loops run over contiguous rows, few at a time, so that they vectorise; extreme values are
written as conditional expressions because that is what a processor's minimum and maximum instructions compute.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from nnunet_topo.kernels.jit import jit


def forward(images: Tensor, eroded: Tensor, skeleton: Tensor, rest: Tensor, iterations: int) -> None:
    """Fill the skeletons (N, *S), the levels 1, 2, ... (N, levels, *S) and the rests (N, *S) of images (N, *S)."""
    for image, levels, s, t in zip(images, eroded, skeleton, rest, strict=True):
        volume = _volume(image)
        _forward(volume, levels.numpy().reshape(-1, *volume.shape), _volume(s), _volume(t), iterations)


def backward(images: Tensor, eroded: Tensor, rest: Tensor, gradient: Tensor, result: Tensor) -> None:
    """Fill the gradients (N, *S) of images (N, *S), given the gradients (N, *S) of their skeletons."""
    for image, levels, t, g, r in zip(images, eroded, rest, gradient, result, strict=True):
        volume = _volume(image)
        stack = levels.numpy().reshape(-1, *volume.shape)
        _backward(volume, stack, _volume(t), _volume(g), _volume(r), image.ndim == 2)


def _volume(image: Tensor) -> np.ndarray[Any, Any]:
    array = image.detach().contiguous().numpy()
    return array if array.ndim == 3 else array[None]


@jit
def _forward(image, eroded, skeleton, rest, iterations):  # type: ignore[no-untyped-def]
    depth, height, width = image.shape
    zero, one = image.dtype.type(0), image.dtype.type(1)
    skeleton[:] = zero
    rest[:] = one
    across_x = np.empty((height, width), image.dtype)
    across_xy = np.empty((3, height, width), image.dtype)
    opened = np.empty(width, image.dtype)
    level = image
    for i in range(iterations + 1):
        following = eroded[i % len(eroded)]
        for z in range(depth):
            _erode_plane(level, z, following[z])
        for z in range(depth + 1):  # planes are opened as soon as the one behind them is at hand
            if z < depth:
                _dilate_plane(following[z], across_x, across_xy[z % 3])
            if z > 0:
                front, here, back = max(z - 2, 0) % 3, (z - 1) % 3, min(z, depth - 1) % 3
                for y in range(height):
                    _maximum(across_xy[front, y], across_xy[here, y], across_xy[back, y], opened)
                    _collect(level[z - 1, y], opened, skeleton[z - 1, y], rest[z - 1, y], zero, one)
        level = following


@jit
def _collect(values, opened, skeleton, rest, zero, one):  # type: ignore[no-untyped-def]
    """One row of S <- S + relu(d - S d) and T <- T (1 - d), in the order of operations of the official code."""
    for x in range(len(values)):
        d = values[x] - opened[x]
        d = d if d > zero else zero
        added = d - skeleton[x] * d
        skeleton[x] += added if added > zero else zero
        rest[x] *= one - d


@jit
def _erode_plane(level, z, out):  # type: ignore[no-untyped-def]
    depth, height, _ = level.shape
    front, back = max(z - 1, 0), min(z + 1, depth - 1)
    for y in range(height):
        row = level[z, y]
        target = out[y]
        _minimum_along(row, target)
        _minimum_with(target, level[front, y], level[back, y])
        _minimum_with(target, level[z, max(y - 1, 0)], level[z, min(y + 1, height - 1)])


@jit
def _minimum_along(row, out):  # type: ignore[no-untyped-def]
    before, here, after, middle = row[:-2], row[1:-1], row[2:], out[1:-1]
    for x in range(len(before)):
        least = before[x] if before[x] < here[x] else here[x]
        middle[x] = least if least < after[x] else after[x]
    last = len(row) - 1
    inner = min(last, 1)
    out[0] = row[0] if row[0] < row[inner] else row[inner]
    out[last] = row[last - inner] if row[last - inner] < row[last] else row[last]


@jit
def _minimum_with(out, first, second):  # type: ignore[no-untyped-def]
    for x in range(len(out)):
        least = first[x] if first[x] < second[x] else second[x]
        out[x] = least if least < out[x] else out[x]


@jit
def _dilate_plane(plane, across_x, across_xy):  # type: ignore[no-untyped-def]
    """Maximum over 3 x 3 windows: first along x, then along y."""
    height = len(plane)
    for y in range(height):
        _maximum_along(plane[y], across_x[y])
    for y in range(height):
        _maximum(across_x[max(y - 1, 0)], across_x[y], across_x[min(y + 1, height - 1)], across_xy[y])


@jit
def _maximum_along(row, out):  # type: ignore[no-untyped-def]
    before, here, after, middle = row[:-2], row[1:-1], row[2:], out[1:-1]
    for x in range(len(before)):
        most = before[x] if before[x] > here[x] else here[x]
        middle[x] = most if most > after[x] else after[x]
    last = len(row) - 1
    inner = min(last, 1)
    out[0] = row[0] if row[0] > row[inner] else row[inner]
    out[last] = row[last - inner] if row[last - inner] > row[last] else row[last]


@jit
def _maximum(first, second, third, out):  # type: ignore[no-untyped-def]
    for x in range(len(out)):
        most = first[x] if first[x] > second[x] else second[x]
        out[x] = most if most > third[x] else third[x]


@jit
def _backward(image, eroded, rest, gradient, result, flat):  # type: ignore[no-untyped-def]
    other = np.empty(image.shape, image.dtype)
    # gradients of the levels i + 1 and i; they change places at every level, and the last one must be the result
    ahead, here = (other, result) if len(eroded) % 2 == 1 else (result, other)
    ahead[:] = image.dtype.type(0)
    for i in range(len(eroded) - 1, -1, -1):
        level = image if i == 0 else eroded[i - 1]
        _through_opening(level, eroded[i], rest, gradient, ahead, here)
        _through_erosion(level, ahead, here, flat)
        ahead, here = here, ahead


@jit
def _through_opening(level, following, rest, gradient, ahead, here):  # type: ignore[no-untyped-def]
    """Gradient of d = relu(level - dilate(following)): set in ``here``, subtracted from ``ahead``."""
    depth, height, width = level.shape
    zero, one = level.dtype.type(0), level.dtype.type(1)
    across_x = np.empty((3, height, width), level.dtype)
    across_xy = np.empty((3, height, width), level.dtype)
    opened = np.empty(width, level.dtype)
    for plane in range(depth + 1):
        if plane < depth:
            _dilate_plane(following[plane], across_x[plane % 3], across_xy[plane % 3])
        if plane == 0:
            continue
        z = plane - 1
        front, back = max(z - 1, 0), min(z + 1, depth - 1)
        for y in range(height):
            above, below = max(y - 1, 0), min(y + 1, height - 1)
            _maximum(across_xy[front % 3, y], across_xy[z % 3, y], across_xy[back % 3, y], opened)
            for x in range(width):
                most = opened[x]
                d = level[z, y, x] - most
                if not d > zero:
                    here[z, y, x] = zero
                    continue
                # dS/dd is the product of the other levels' (1 - d), which are all 1 where d = 1
                weight = gradient[z, y, x] * (rest[z, y, x] / (one - d) if d < one else one)
                here[z, y, x] = weight
                # the first voxel of the window, in the order z, y, x, that holds the maximum
                k = _choose(across_xy[front % 3, y, x] == most, front, across_xy[z % 3, y, x] == most, z, back)
                j = _choose(across_x[k % 3, above, x] == most, above, across_x[k % 3, y, x] == most, y, below)
                left = max(x - 1, 0)
                i = _choose(following[k, j, left] == most, left, following[k, j, x] == most, x, x + 1)
                ahead[k, j, i] -= weight


@jit
def _through_erosion(level, ahead, here, flat):  # type: ignore[no-untyped-def]
    """Gradient of the erosion: ``ahead`` is added to ``here`` at the voxels that hold the minimum."""
    depth, height, width = level.shape
    values, weights, sums = level.reshape(-1), ahead.reshape(-1), here.reshape(-1)
    zero = level.dtype.type(0)
    for z in range(depth):
        front, back = height * width if z > 0 else 0, height * width if z < depth - 1 else 0
        for y in range(height):
            above, below = width if y > 0 else 0, width if y < height - 1 else 0
            for x in range(width):
                at = (z * height + y) * width + x
                weight = weights[at]
                if weight == zero:
                    continue
                k, least_z = _first_minimum(values, at, front, back)
                j, least_y = _first_minimum(values, at, above, below)
                i, least_x = _first_minimum(values, at, 1 if x > 0 else 0, 1 if x < width - 1 else 0)
                of_zy = weight * _share(least_z if least_z < least_y else least_y, least_x)
                of_z = zero if flat else of_zy * _share(least_z, least_y)
                sums[k] += of_z
                sums[j] += of_zy - of_z
                sums[i] += weight - of_zy


# The last three are written without nested conditions: the outcome is close to random, and a wrong guess of the
# processor's branch prediction costs more than the rest.


@jit
def _choose(is_first, first, is_second, second, third):  # type: ignore[no-untyped-def]
    choice = second if is_second else third
    return first if is_first else choice


@jit
def _first_minimum(values, at, before, after):  # type: ignore[no-untyped-def]
    """Index and value of the first minimum among the voxel and its neighbours at the given distances."""
    a, b, c = values[at - before], values[at], values[at + after]
    index = at if b < a else at - before
    least = b if b < a else a
    index = at + after if c < least else index
    return index, c if c < least else least


@jit
def _share(first, second):  # type: ignore[no-untyped-def]
    """The part of the gradient of min(first, second) that the first one takes: half where they are equal."""
    share = 1.0 if first < second else 0.0
    return type(first)(0.5 if first == second else share)
