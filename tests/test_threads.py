"""How many threads kernels take."""

from __future__ import annotations

import os
import threading

import pytest
import torch

from nnunet_topo.kernels.threads import cores, over_threads


def largest_at_once(calls: int, **options: int) -> int:
    """How many of the calls are at work at the same time, each waiting a while for a further one."""
    lock, arrived = threading.Condition(), []
    at_work, most = 0, 0

    def call(_: int) -> None:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
            arrived.append(None)
            lock.notify_all()
            lock.wait_for(lambda: at_work > 3, timeout=0.2)
            at_work -= 1

    over_threads(call, range(calls), **options)
    return most


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_cores_are_those_that_the_process_may_run_on(monkeypatch):
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert cores() == len(before)


def test_slurm_gives_fewer_cores_than_the_machine_has(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    for given, count in (("6", 6), ("128", 64), ("", 64), ("many", 64)):
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", given)
        assert cores() == count


def test_threads_follow_torch_unless_they_are_given(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert largest_at_once(4) == 1
        assert largest_at_once(4, threads=3) == 3
        torch.set_num_threads(2)
        assert largest_at_once(4) == 2
    finally:
        torch.set_num_threads(before)


def test_results_keep_their_order():
    assert over_threads(lambda a, b: a - b, range(9), range(0, 90, 10), threads=4) == [-9 * i for i in range(9)]
