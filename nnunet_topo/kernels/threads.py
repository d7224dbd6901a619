"""How many threads kernels may take, and work spread over them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch

Result = TypeVar("Result")


def cores() -> int:
    """How many cores this process may use: those it may run on (its affinity), and no more than SLURM gave each task.

    Not torch's number of threads, which nnU-Net sets to 1 for trainings on a GPU, whatever else the cores have to do.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # macOS, Windows
    given = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return min(count, int(given)) if given.isdecimal() and int(given) > 0 else count


def over_threads(
    function: Callable[..., Result], *items: Iterable[Any], threads: int | None = None
) -> list[Result]:
    """``list(map(function, *items))``, several calls at a time: for kernels, which leave the interpreter to others.

    Args:
        function: called with one item of each iterable.
        items: iterables of equal length.
        threads: how many calls at a time; None for torch's own number, as the operations of torch take it, which is 1
            in nnU-Net's loader workers, but not more than :func:`cores`.
    """
    calls = list(zip(*items, strict=True))
    threads = min(len(calls), min(torch.get_num_threads(), cores()) if threads is None else threads)
    if threads <= 1:
        return [function(*call) for call in calls]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda call: function(*call), calls))
