"""Tasks in processes: results, failures, deaths, and nothing left running."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import pytest

from nnunet_topo.processes import Failure, outcomes

DIED = Failure("its process died (exit code 9)")


def half(number: int) -> float:
    """A task for a process: 3 ends it at once, 4 raises, 5 lasts, 6 is killed as the kernel does where memory runs out,
    and 7 gets Ctrl-C, which no mask keeps from it, as on Windows."""
    if number == 3:
        os._exit(9)
    if number == 4:
        raise ValueError("four is too many")
    if number == 5:
        time.sleep(60)
    if number == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 7:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.raise_signal(signal.SIGINT)
    return number / 2


@pytest.mark.parametrize("processes", [0, 1])
def test_every_task_has_its_result_or_the_reason_why_not(processes):
    results = dict(outcomes(half, [1, 4, 2], processes))
    assert results == {0: 0.5, 1: Failure("four is too many"), 2: 1.0}


def test_a_process_that_dies_takes_only_its_task_with_it():
    results = dict(outcomes(half, [1, 3, 2, 3], 2))
    assert results == {0: 0.5, 1: DIED, 2: 1.0, 3: DIED}


@pytest.mark.skipif(os.name == "nt", reason="other signals")
def test_a_process_that_the_system_kills_is_told_from_one_that_crashes():
    results = dict(outcomes(half, [6, 2], 1))
    assert results == {0: Failure("its process was killed, as a system does when memory runs out; fewer processes at a "
                                  "time need less"), 1: 1.0}


def test_an_interrupt_is_for_the_caller_and_ends_no_process():
    assert dict(outcomes(half, [7, 2], 1)) == {0: 3.5, 1: 1.0}


def test_a_file_that_cannot_be_used_is_named_in_a_sentence(tmp_path):
    ((_, failure),) = outcomes(os.listdir, [tmp_path / "none"], 0)
    assert failure.reason == f"{tmp_path / 'none'} cannot be used: it does not exist. Check the path."


@pytest.mark.parametrize("processes", [0, 1])
def test_tasks_that_come_with_the_last_result_are_done_by_the_same_processes(processes):
    tasks, results = [1, 2], []
    for index, outcome in outcomes(half, tasks, processes):
        results.append((index, outcome))
        if len(results) == 2:
            before = multiprocessing.active_children()
            tasks += [8, 10]
    assert results == [(0, 0.5), (1, 1.0), (2, 4.0), (3, 5.0)]
    assert len(before) == processes and not multiprocessing.active_children()


def test_an_unexpected_exception_comes_with_its_type_and_place():
    ((_, failure),) = outcomes(half, ["text"], 0)
    assert failure.reason.startswith("TypeError: ") and "(test_processes.py, line " in failure.reason


def test_no_process_is_left_when_the_iteration_is_left():
    running = outcomes(half, [1, 5, 5], 2)
    assert next(running) == (0, 0.5)
    running.close()
    assert not multiprocessing.active_children()


def test_no_task_starts_no_process_and_a_negative_number_is_refused():
    assert list(outcomes(half, [], 2)) == [] and not multiprocessing.active_children()
    with pytest.raises(ValueError, match="must be 0"):
        next(outcomes(half, [1], -1))
