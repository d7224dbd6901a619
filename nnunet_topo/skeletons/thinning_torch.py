"""Thinning in torch operations, for any device; the algorithm is described in ``thinning.py``.

Every voxel of a subfield is looked at in every iteration, in whole-image operations on integers: no atomic operation,
no sorting, nothing copied to the host but the flag that an iteration changed nothing. The same voxels as on the CPU.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from nnunet_topo.skeletons.simple_points import simple_point_table

Observer = Callable[[tuple[slice, ...], Tensor, Tensor, Tensor, Tensor], None]


def thin(
    images: Tensor,
    rule: str,
    iterations: int | None,
    anchors: Tensor | None = None,
    *,
    keep_end_points: bool = True,
    observe: Observer | None = None,
) -> Tensor:
    """Thin bool images (N, *S) of two or three axes.

    Args:
        images: what to thin.
        rule: name of the table of simple points.
        iterations: how many, or None until nothing changes.
        anchors: (N, *S) bool, voxels that stay.
        keep_end_points: whether voxels with one neighbour at the start of an iteration stay.
        observe: called for every subfield of every iteration, before its deletion, with the subfield's place in the
            images, its voxels, whether each, foreground or not, may move at all, whether it passes the test for
            deletion, and the codes of the neighbourhoods.
    """
    axes = images.ndim - 1
    table = simple_points_on(rule, axes, images.device)
    padded = torch.nn.functional.pad(images, [1] * (2 * axes))  # in numbers of one byte, 0 and 1
    padded = padded.to(torch.uint8)
    everything = (slice(None), *[slice(1, -1)] * axes)
    iteration = 0
    while iteration != iterations:
        iteration += 1
        stays = anchors
        if keep_end_points:
            end_points = _count_of_box(padded) - padded[everything] <= 1
            stays = end_points if anchors is None else end_points | anchors
        before = padded.clone() if iterations is None else None
        for odd in subfields(axes):
            starts = [2 - parity for parity in odd]  # indices count from 1, inside of the padding
            here = (slice(None), *[slice(start, size + 1, 2)
                                   for start, size in zip(starts, images.shape[1:], strict=True)])
            inside = (slice(None), *[slice(start - 1, None, 2) for start in starts])
            voxels = padded[here]
            if voxels.numel() == 0:
                continue
            codes = _codes(padded, starts)
            deletable = _looked_up(table, codes)
            if stays is not None:
                deletable &= ~stays[inside]
            if observe is not None:
                movable = torch.ones_like(deletable) if stays is None else ~stays[inside]
                observe(inside, voxels.bool(), movable, deletable, codes)
            padded[here] = voxels & ~deletable
        if before is not None and torch.equal(before, padded):
            break
    return padded[everything].bool()


def subfields(axes: int) -> list[tuple[int, ...]]:
    """Parities of the axes' indices, the first axis changing fastest."""
    return [parities[::-1] for parities in itertools.product((0, 1), repeat=axes)]


def _codes(padded: Tensor, starts: list[int]) -> Tensor:
    """Codes of the neighbourhoods, centre included, of one subfield; last axis in the lowest bits."""
    codes = padded
    shift = 1
    for axis in range(padded.ndim - 1, 0, -1):
        start, last = starts[axis - 1], padded.shape[axis] - 1
        in_front = (slice(None),) * axis
        before, here, after = (codes[place] for place in [(*in_front, slice(start + step, last + step, 2))
                                                          for step in (-1, 0, 1)])
        codes = torch.add(before.int(), here, alpha=1 << shift).add_(after, alpha=1 << 2 * shift)
        shift *= 3
    centre = shift // 2
    return codes & ((1 << centre) - 1) | codes >> centre + 1 << centre


def _looked_up(table: Tensor, codes: Tensor) -> Tensor:
    return (table[codes >> 3] >> (codes & 7).to(torch.uint8) & 1).bool()


def _count_of_box(padded: Tensor) -> Tensor:
    """Foreground in the box of 3^d voxels around each voxel."""
    count = padded
    for axis in range(padded.ndim - 1, 0, -1):
        size = padded.shape[axis] - 2
        count = count.narrow(axis, 0, size) + count.narrow(axis, 1, size) + count.narrow(axis, 2, size)
    return count


@lru_cache(maxsize=8)
def simple_points_on(rule: str, axes: int, device: torch.device) -> Tensor:
    return torch.tensor(simple_point_table(rule, axes), device=device)
