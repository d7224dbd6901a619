"""Thinning in Triton, for CUDA; the algorithm is described in ``thinning.py``.

One kernel finds the end points of an iteration, and one for each subfield deletes its simple points in place: voxels of
one subfield are never neighbours, so none reads what another writes. Only foreground looks at its neighbours. Nothing
is copied to the host but the flag that an iteration deleted something.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from nnunet_topo.skeletons.thinning_torch import simple_points_on, subfields

_BLOCK = 256
_SIZES = ["voxels", "depth", "height", "width", "start_z", "start_y", "start_x"]  # one compilation for all of them


def thin(
    images: Tensor, rule: str, iterations: int | None, anchors: Tensor | None = None, *, keep_end_points: bool = True
) -> Tensor:
    """As :func:`nnunet_topo.skeletons.thinning_torch.thin`, without an observer."""
    axes = images.ndim - 1
    table = simple_points_on(rule, axes, images.device)
    thinned = images.to(torch.uint8, copy=True, memory_format=torch.contiguous_format)
    fixed = torch.zeros_like(thinned) if anchors is None else anchors.to(torch.uint8).contiguous()
    stays = torch.empty_like(fixed) if keep_end_points else fixed
    changed = torch.zeros((), dtype=torch.int32, device=images.device)
    size = (1,) * (3 - axes) + tuple(images.shape[1:])
    iteration = 0
    with torch.cuda.device_of(images):
        while iteration != iterations:
            iteration += 1
            if keep_end_points:
                grid = (len(images) * triton.cdiv(math.prod(size), _BLOCK),)
                _end_points[grid](thinned, fixed, stays, math.prod(size), *size, axes, _BLOCK)
            for odd in subfields(axes):
                starts = (0,) * (3 - axes) + tuple(1 - parity for parity in odd)  # the parities are of indices from 1
                count = math.prod((length + 1 - start) // 2 for length, start in zip(size, starts, strict=True))
                if count:
                    grid = (len(images) * triton.cdiv(count, _BLOCK),)
                    _delete[grid](thinned, stays, table, changed, math.prod(size), *size, *starts, axes, _BLOCK)
            if iterations is None:
                if not changed.item():
                    break
                changed.zero_()
    return thinned.bool()


@triton.jit
def _foreground(image, place, inside, z, y, x, depth, height, width, dz, dy, dx):
    there = (inside & (z + dz >= 0) & (z + dz < depth) & (y + dy >= 0) & (y + dy < height)
             & (x + dx >= 0) & (x + dx < width))
    return tl.load(image + place + (dz * height + dy) * width + dx, there, 0).to(tl.int32)


@triton.jit(do_not_specialize=_SIZES)
def _end_points(
    images, fixed, stays, voxels, depth, height, width, axes: tl.constexpr, block: tl.constexpr
):
    """Which voxels stay in this iteration: the fixed ones, and foreground of at most one neighbour."""
    blocks = (voxels + block - 1) // block
    first = (tl.program_id(0) // blocks).to(tl.int64) * voxels
    place = tl.program_id(0) % blocks * block + tl.arange(0, block)
    inside = place < voxels
    z, y, x = place // (height * width), place // width % height, place % width
    own = inside & (tl.load(images + first + place, inside, 0) != 0)
    reach: tl.constexpr = axes - 2
    count = tl.full(place.shape, 0, tl.int32)
    for dz in tl.static_range(-reach, reach + 1):
        for dy in tl.static_range(-1, 2):
            for dx in tl.static_range(-1, 2):
                count += _foreground(images + first, place, own, z, y, x, depth, height, width, dz, dy, dx)
    stay = (count <= 2) | (tl.load(fixed + first + place, inside, 0) != 0)  # the voxel itself counts
    tl.store(stays + first + place, stay.to(tl.uint8), inside)


@triton.jit(do_not_specialize=_SIZES)
def _delete(
    images, stays, table, changed, voxels, depth, height, width, start_z, start_y, start_x,
    axes: tl.constexpr, block: tl.constexpr,
):
    """Delete the simple points of a subfield that need not stay, and say whether there was one."""
    count_z, count_y, count_x = (depth + 1 - start_z) // 2, (height + 1 - start_y) // 2, (width + 1 - start_x) // 2
    count = count_z * count_y * count_x
    blocks = (count + block - 1) // block
    first = (tl.program_id(0) // blocks).to(tl.int64) * voxels
    index = tl.program_id(0) % blocks * block + tl.arange(0, block)
    z = index // (count_y * count_x) * 2 + start_z
    y = index // count_x % count_y * 2 + start_y
    x = index % count_x * 2 + start_x
    place = (z * height + y) * width + x
    inside = index < count
    inside &= tl.load(images + first + place, inside, 0) != 0
    inside &= tl.load(stays + first + place, inside, 1) == 0
    reach: tl.constexpr = axes - 2
    code = tl.full(place.shape, 0, tl.int32)
    for dz in tl.static_range(-reach, reach + 1):
        for dy in tl.static_range(-1, 2):
            for dx in tl.static_range(-1, 2):
                if dz != 0 or dy != 0 or dx != 0:  # from the last neighbour, in the highest bit, to the first
                    there = _foreground(images + first, place, inside, z, y, x, depth, height, width, -dz, -dy, -dx)
                    code = code << 1 | there
    simple = tl.load(table + (code >> 3), inside, 0).to(tl.int32) >> (code & 7) & 1
    delete = inside & (simple != 0)
    tl.store(images + first + place, tl.full(place.shape, 0, tl.uint8), delete)
    tl.store(changed + tl.full(place.shape, 0, tl.int32), tl.full(place.shape, 1, tl.int32), delete)
