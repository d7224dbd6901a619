"""Tasks in processes of their own: one that dies takes only its task with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

from nnunet_topo.disk import in_words


@dataclass(frozen=True)
class Failure:
    """Why a task has no result, in words."""

    reason: str


def outcomes(function: Callable[[Any], Any], tasks: Sequence[Any], processes: int) -> Iterator[tuple[int, Any]]:
    """Call ``function`` for each task; yields the task's index with the result or a Failure, in order of completion.

    Each process works on one task at a time, so that no more than ``processes`` tasks are in memory. A process that
    dies (out of memory, a crash in compiled code) is replaced. All processes end when the iteration ends or is left.

    Args:
        function: importable by its name; tasks and results can be pickled.
        tasks: its arguments; a list may grow until the last of its results has been looked at.
        processes: how many are started, by spawn; with 0 the calling process does the work.
    """
    if processes < 0:
        raise ValueError(f"The number of processes must be 0 (work in this process) or more, not {processes}.")
    if processes == 0:
        for index, task in enumerate(tasks):
            yield index, _outcome(function, task)
        return
    busy: dict[Any, tuple[BaseProcess, int]] = {}  # by the connection to the process
    idle: list[tuple[BaseProcess, Any]] = []
    started: list[BaseProcess] = []
    given = 0

    def give_tasks() -> None:
        nonlocal given
        while given < len(tasks) and len(busy) < processes:
            if idle:
                process, connection = idle.pop()
            else:
                with interrupts_deferred():
                    process, connection = _start(function)
                    started.append(process)
            busy[connection] = process, given
            given += 1
            with suppress(OSError):  # it has just died, which receiving will tell
                connection.send(tasks[given - 1])

    try:
        give_tasks()
        while busy:
            ready: list[Any] = wait(list(busy))
            for connection in ready:
                process, index = busy.pop(connection)
                try:
                    outcome = connection.recv()
                except (EOFError, OSError):
                    process.join()
                    outcome = Failure(_of_death(process.exitcode))
                else:
                    idle.append((process, connection))
                give_tasks()
                yield index, outcome
            give_tasks()  # those that came while the results were looked at
    finally:
        for process in started:
            process.terminate()
            process.join()


def _start(function: Callable[[Any], Any]) -> tuple[BaseProcess, Any]:
    context = multiprocessing.get_context("spawn")
    ours, its = context.Pipe()
    process = context.Process(target=_serve, args=(its, function), daemon=True)
    process.start()
    its.close()  # so that the death of either side is seen by the other
    return process, ours


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Ctrl-C, which a terminal sends to all processes, waits until the block ends and never reaches those started in
    it, which would end in a traceback each while they import."""
    came: list[int] = []
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number)) if main else None
    mask = None
    try:
        if hasattr(signal, "pthread_sigmask"):  # not on Windows, whose processes ignore it once they have imported
            resource_tracker.ensure_running()  # starting it with the first process would unblock the signal
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # a child inherits this
        yield
    finally:
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if main:
            signal.signal(signal.SIGINT, before)
    if came:
        signal.raise_signal(signal.SIGINT)


@contextmanager
def pools_spared_of_interrupts() -> Iterator[None]:
    """Within the block, Ctrl-C does not reach the processes that other libraries start; they end with this one's."""
    start = BaseProcess.start

    def start_spared(process: BaseProcess) -> None:
        with interrupts_deferred():
            start(process)

    BaseProcess.start = start_spared  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        BaseProcess.start = start  # type: ignore[method-assign, assignment]


def _serve(connection: Any, function: Callable[[Any], Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the caller, who ends this process
    with suppress(EOFError, OSError):
        while True:
            task = connection.recv()
            connection.send(_outcome(function, task))


def _of_death(code: int | None) -> str:
    if code == -getattr(signal, "SIGKILL", 0):
        return "its process was killed, as a system does when memory runs out; fewer processes at a time need less"
    return f"its process died (exit code {code})"


def _outcome(function: Callable[[Any], Any], task: Any) -> Any:
    """The result; ValueError and OSError speak for themselves, any other exception comes with its type and place."""
    try:
        return function(task)
    except ValueError as error:
        return Failure(str(error))
    except OSError as error:
        return Failure(in_words(error))
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return Failure(f"{type(error).__name__}: {error} ({os.path.basename(place.filename)}, line {place.lineno})")
