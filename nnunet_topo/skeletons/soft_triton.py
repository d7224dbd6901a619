"""The soft skeleton in Triton, for CUDA; the algorithm is described in ``soft.py``.

Two kernels a level forward and four backward, which read and write whole images a few times where torch operations
(``soft_torch.py``, which this agrees with) do it a hundred times. Gradients are gathered: a voxel notes which voxel of
its window holds the extreme, and each voxel collects from those that noted it. No atomic additions.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 256
_SIZES = ["voxels", "depth", "height", "width"]  # one compilation for all sizes of images


def forward(images: Tensor, eroded: Tensor, skeleton: Tensor, rest: Tensor, iterations: int) -> None:
    """Fill the skeletons (N, *S), the levels 1, 2, ... (N, levels, *S) and the rests (N, *S) of images (N, *S)."""
    skeleton.zero_()
    rest.fill_(1)
    level = images
    for i in range(iterations + 1):
        following = eroded[:, i % eroded.shape[1]]
        _run(_erosion, level, following)
        _run(_opening, level, following, skeleton, rest)
        level = following


def backward(images: Tensor, eroded: Tensor, rest: Tensor, gradient: Tensor, result: Tensor) -> None:
    """Fill the gradients (N, *S) of images (N, *S), given the gradients (N, *S) of their skeletons."""
    result.zero_()  # gradient of the level i + 1, then of the level i
    weight, ahead = torch.empty_like(result), torch.empty_like(result)
    holder = torch.empty_like(result, dtype=torch.uint8)
    for i in range(eroded.shape[1] - 1, -1, -1):
        level = images if i == 0 else eroded[:, i - 1]
        _run(_opening_weight, level, eroded[:, i], rest, gradient, weight, holder)
        _run(_through_dilation, weight, holder, result, ahead)
        _run(_minima, level, holder)
        _run(_through_erosion, ahead, holder, weight, result)


def _run(kernel: Any, *tensors: Tensor) -> None:
    """Run a kernel over all voxels of images (N, *S), whose voxels are dense; N may have any stride."""
    first = tensors[0]
    size = (1,) * (4 - first.ndim) + tuple(first.shape[1:])
    voxels = math.prod(size)
    grid = (triton.cdiv(voxels, _BLOCK) * len(first),)
    strides = [tensor.stride(0) for tensor in tensors]
    with torch.cuda.device_of(first):
        # a fused multiplication and addition would round once where the pooling operations' composition rounds twice
        kernel[grid](*tensors, *strides, voxels, *size, axes=first.ndim - 1, block=_BLOCK, enable_fp_fusion=False)


@triton.jit
def _place(voxels, height, width, block: tl.constexpr):
    """Image, index in it, whether there is such a voxel, and its coordinates."""
    blocks = (voxels + block - 1) // block
    image = (tl.program_id(0) // blocks).to(tl.int64)
    place = tl.program_id(0) % blocks * block + tl.arange(0, block)
    return image, place, place < voxels, place // (height * width), place // width % height, place % width


@triton.jit
def _minimum(a, b):
    return tl.minimum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def _maximum(a, b):
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def _neighbour(image, place, inside, position, size, step, offset: tl.constexpr, other):
    there = inside & (position + offset >= 0) & (position + offset < size)
    return tl.load(image + place + offset * step, there, other)


@triton.jit(do_not_specialize=_SIZES)
def _erosion(
    level, eroded, level_stride, eroded_stride, voxels, depth, height, width, axes: tl.constexpr, block: tl.constexpr
):
    image, place, inside, z, y, x = _place(voxels, height, width, block)
    level += image * level_stride
    value = tl.load(level + place, inside, 0.0)
    for offset in tl.static_range(-1, 2, 2):
        value = _minimum(value, _neighbour(level, place, inside, x, width, 1, offset, float("inf")))
        value = _minimum(value, _neighbour(level, place, inside, y, height, width, offset, float("inf")))
        if axes == 3:
            value = _minimum(value, _neighbour(level, place, inside, z, depth, height * width, offset, float("inf")))
    tl.store(eroded + image * eroded_stride + place, value, inside)


@triton.jit
def _largest_of_box(image, place, inside, z, y, x, depth, height, width, axes: tl.constexpr):
    """The largest value of each voxel's box, and the number of the first voxel of the box that holds it."""
    reach: tl.constexpr = axes - 2
    largest = tl.full(place.shape, -float("inf"), image.dtype.element_ty)
    holder = tl.full(place.shape, 0, tl.int32)
    for dz in tl.static_range(-reach, reach + 1):
        for dy in tl.static_range(-1, 2):
            for dx in tl.static_range(-1, 2):
                there = (inside & (z + dz >= 0) & (z + dz < depth) & (y + dy >= 0) & (y + dy < height)
                         & (x + dx >= 0) & (x + dx < width))
                value = tl.load(image + place + (dz * height + dy) * width + dx, there, -float("inf"))
                holder = tl.where(value > largest, 9 * dz + 3 * dy + dx + 13, holder)
                largest = _maximum(largest, value)
    return largest, holder


@triton.jit(do_not_specialize=_SIZES)
def _opening(
    level, eroded, skeleton, rest, level_stride, eroded_stride, skeleton_stride, rest_stride,
    voxels, depth, height, width, axes: tl.constexpr, block: tl.constexpr,
):
    image, place, inside, z, y, x = _place(voxels, height, width, block)
    largest, _ = _largest_of_box(eroded + image * eroded_stride, place, inside, z, y, x, depth, height, width, axes)
    d = _maximum(tl.load(level + image * level_stride + place, inside, 0.0) - largest, 0.0)
    skeleton += image * skeleton_stride + place
    rest += image * rest_stride + place
    s = tl.load(skeleton, inside, 0.0)
    tl.store(skeleton, s + _maximum(d - s * d, 0.0), inside)
    tl.store(rest, tl.load(rest, inside, 0.0) * (1 - d), inside)


@triton.jit(do_not_specialize=_SIZES)
def _opening_weight(
    level, eroded, rest, gradient, weight, holder,
    level_stride, eroded_stride, rest_stride, gradient_stride, weight_stride, holder_stride,
    voxels, depth, height, width, axes: tl.constexpr, block: tl.constexpr,
):
    """What the level gains from its opening, and which voxel of the box loses it."""
    image, place, inside, z, y, x = _place(voxels, height, width, block)
    largest, first = _largest_of_box(eroded + image * eroded_stride, place, inside, z, y, x, depth, height, width, axes)
    d = tl.load(level + image * level_stride + place, inside, 0.0) - largest
    # dS/dd is the product of the other levels' (1 - d), which are all 1 where d = 1; the rest is 0 there
    others = tl.load(rest + image * rest_stride + place, inside, 0.0) / tl.where(d == 1, 1.0, 1 - d)
    others = tl.where(d == 1, 1.0, others)
    gained = others * tl.load(gradient + image * gradient_stride + place, inside, 0.0)
    tl.store(weight + image * weight_stride + place, tl.where(d > 0, gained, 0.0), inside)
    tl.store(holder + image * holder_stride + place, first.to(tl.uint8), inside)


@triton.jit(do_not_specialize=_SIZES)
def _through_dilation(
    weight, holder, ahead, less, weight_stride, holder_stride, ahead_stride, less_stride,
    voxels, depth, height, width, axes: tl.constexpr, block: tl.constexpr,
):
    """``less`` becomes ``ahead`` less the weights of all voxels in whose boxes this voxel holds the maximum."""
    image, place, inside, z, y, x = _place(voxels, height, width, block)
    weight += image * weight_stride
    holder += image * holder_stride
    reach: tl.constexpr = axes - 2
    total = tl.load(ahead + image * ahead_stride + place, inside, 0.0)
    for dz in tl.static_range(-reach, reach + 1):
        for dy in tl.static_range(-1, 2):
            for dx in tl.static_range(-1, 2):
                there = (inside & (z - dz >= 0) & (z - dz < depth) & (y - dy >= 0) & (y - dy < height)
                         & (x - dx >= 0) & (x - dx < width))
                other = place - (dz * height + dy) * width - dx
                held = there & (tl.load(holder + other, there, 255) == 9 * dz + 3 * dy + dx + 13)
                total -= tl.load(weight + other, held, 0.0)
    tl.store(less + image * less_stride + place, total, inside)


@triton.jit
def _smallest_of_three(image, place, inside, position, size, step):
    """The smallest value of a window along an axis, and the number (0, 1, 2) of the first voxel that holds it."""
    before = _neighbour(image, place, inside, position, size, step, -1, float("inf"))
    here = tl.load(image + place, inside, 0.0)
    after = _neighbour(image, place, inside, position, size, step, 1, float("inf"))
    smallest = _minimum(_minimum(before, here), after)
    return smallest, tl.where(before == smallest, 0, tl.where(here == smallest, 1, 2))


@triton.jit
def _halves(rest, own):
    """How many halves of a gradient go to an axis rather than to the rest: all, one where both tie, or none."""
    return tl.where(own < rest, 2, tl.where(own == rest, 1, 0))


@triton.jit(do_not_specialize=_SIZES)
def _minima(
    level, code, level_stride, code_stride, voxels, depth, height, width, axes: tl.constexpr, block: tl.constexpr
):
    """Who holds min(min(z, y), x): a number in base 3 of the holders along z, y, x and the halves of x, y."""
    image, place, inside, z, y, x = _place(voxels, height, width, block)
    level += image * level_stride
    along_x, holder_x = _smallest_of_three(level, place, inside, x, width, 1)
    along_y, holder_y = _smallest_of_three(level, place, inside, y, height, width)
    if axes == 3:
        along_z, holder_z = _smallest_of_three(level, place, inside, z, depth, height * width)
        halves_y = _halves(along_z, along_y)
        halves_x = _halves(_minimum(along_z, along_y), along_x)
    else:
        holder_z = tl.full(holder_y.shape, 0, tl.int32)
        halves_y = tl.full(holder_y.shape, 2, tl.int32)
        halves_x = _halves(along_y, along_x)
    number = holder_z + 3 * holder_y + 9 * holder_x + 27 * halves_x + 81 * halves_y
    tl.store(code + image * code_stride + place, number.to(tl.uint8), inside)


@triton.jit
def _shared(ahead, code, place, there, expected, axis: tl.constexpr):
    """What voxels give to the voxel that is number ``expected`` in their window along an axis."""
    number = tl.load(code + place, there, 0).to(tl.int32)
    halves_x = number // 27 % 3
    halves_y = number // 81
    if axis == 2:
        holder = number // 9 % 3
        quarters = 2 * halves_x
    elif axis == 1:
        holder = number // 3 % 3
        quarters = (2 - halves_x) * halves_y
    else:
        holder = number % 3
        quarters = (2 - halves_x) * (2 - halves_y)
    gives = there & (holder == expected) & (quarters > 0)
    return tl.load(ahead + place, gives, 0.0) * (quarters * 0.25)


@triton.jit(do_not_specialize=_SIZES)
def _through_erosion(
    ahead, code, here, result, ahead_stride, code_stride, here_stride, result_stride,
    voxels, depth, height, width, axes: tl.constexpr, block: tl.constexpr,
):
    """``result`` becomes ``here`` and what of ``ahead`` comes from the voxels whose minimum this voxel holds."""
    image, place, inside, z, y, x = _place(voxels, height, width, block)
    ahead += image * ahead_stride
    code += image * code_stride
    total = tl.load(here + image * here_stride + place, inside, 0.0)
    for offset in tl.static_range(-1, 2):
        there = inside & (x + offset >= 0) & (x + offset < width)
        total += _shared(ahead, code, place + offset, there, 1 - offset, 2)
        there = inside & (y + offset >= 0) & (y + offset < height)
        total += _shared(ahead, code, place + offset * width, there, 1 - offset, 1)
        if axes == 3:
            there = inside & (z + offset >= 0) & (z + offset < depth)
            total += _shared(ahead, code, place + offset * height * width, there, 1 - offset, 0)
    tl.store(result + image * result_stride + place, total, inside)
