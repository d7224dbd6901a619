"""What the losses share that look at single images on the CPU: which part, the way there and back, and a thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Place = tuple[slice, ...]  # of a crop, one slice a spatial axis


def check_numbers(threads: int | None, **not_negative: float) -> None:
    """Refuse fewer than one thread, and options that must not be negative but are."""
    for name, value in not_negative.items():
        if value < 0:
            raise ValueError(f"{name} must be at least 0, got {value}.")
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, or None for one for each core, got {threads}.")


def crops(probabilities: Tensor, target: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """A crop of each sample around a random voxel of its foreground, or anywhere where it has none."""
    if max(probabilities.shape[2:]) <= side:
        return probabilities, target
    places = [(slice(None), *random_place(sample, side)) for sample in target]
    return (torch.stack([sample[place] for sample, place in zip(probabilities, places, strict=True)]),
            torch.stack([sample[place] for sample, place in zip(target, places, strict=True)]))


def random_place(target: Tensor, side: int) -> Place:
    """The place of a crop of a target (C, *S), of ``side`` voxels or the whole of an axis that has fewer."""
    sizes = target.shape[1:]
    candidates = (target.amax(0) if target.is_floating_point() else target.any(0)).nonzero()
    chosen = candidates[int(torch.randint(len(candidates), ()))].cpu().tolist() if len(candidates) else \
        [int(torch.randint(size, ())) for size in sizes]
    starts = [min(max(at - side // 2, 0), max(size - side, 0)) for at, size in zip(chosen, sizes, strict=True)]
    return tuple(slice(start, start + side) for start in starts)


def tiles(channels: Tensor, side: int) -> list[Tensor]:
    """Tiles (B, C, *side), smaller at the far ends, that together cover a patch (B, C, *S) once."""
    parts = [channels]
    for axis in range(2, channels.ndim):  # split, since the gradient of each slice would be as large as the patch
        parts = [part for whole in parts for part in whole.split(side, axis)]
    return parts


def images(channels: Tensor, upside_down: bool, frame: bool) -> Tensor:
    """(B * C, *S) images in floating point, whose superlevel sets are looked at."""
    result = channels.flatten(0, 1)
    result = result if result.is_floating_point() else result.float()
    result = 1 - result if upside_down else result
    if not frame:
        return result
    highest = result.detach().flatten(1).amax(1).view(-1, *[1] * (result.ndim - 1))
    padded = nn.functional.pad(result, [1] * (2 * (result.ndim - 1)))
    inside = nn.functional.pad(torch.ones_like(result, dtype=torch.bool), [1] * (2 * (result.ndim - 1)))
    return torch.where(inside, padded, highest)


def as_columns(rows: Sequence[tuple[NDArray, ...]], values: Tensor) -> list[Tensor]:
    """The columns of all tables, integers as they are and numbers in the values' type, on their device."""
    columns = [torch.from_numpy(np.concatenate(column)) for column in zip(*rows, strict=True)]
    return [column.to(values.device) if column.dtype == torch.int64 else column.to(values.device, values.dtype)
            for column in columns]


def in_background(function: Callable[..., Any], *arguments: Any, **options: Any) -> Future[Any]:
    """Call a function on a thread of its own, which may spread the work over further threads."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(function, *arguments, **options)
    pool.shutdown(wait=False)
    return future
