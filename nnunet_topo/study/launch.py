"""Runs in processes of this machine, through submitit; and what such a process does, here as in a job of SLURM."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nnunet_topo.files import write_json
from nnunet_topo.study.execution import execute, failure, finished, locked, progress
from nnunet_topo.study.run_files import FAILED, PROGRESS, read
from nnunet_topo.study.settings import KEPT_BACK, Executor, Run

JOBS = "jobs"
_STOPPED = "stopped.json"
_A_MONTH = 60 * 24 * 30  # in minutes; submitit ends local processes after a time
_SOONER = 70  # seconds that SLURM may tell a job earlier of its time limit than it was asked to, and some of start


class Job:
    """What submitit's process does, and how it goes on when it is stopped from outside to be started again.

    Args:
        seconds: the time limit, if there is one.
        study: a file that the study holds the lock of; the process ends when the study does, however that ends, so
            that none goes on unseen.
    """

    def __init__(self, *, seconds: float | None = None, study: Path | None = None) -> None:
        self.seconds = seconds
        self.study = study
        self.begun = 0.0
        self.process = 0

    def __call__(self, run: Run) -> None:
        # submitit lets SIGTERM pass without effect. Worker processes would inherit that, and nnU-Net's pools, which end
        # theirs by this signal, would wait for them for ever.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self.begun, self.process = time.monotonic(), os.getpid()
        if self.study is not None and os.name == "posix":  # elsewhere there is no such lock
            threading.Thread(target=_end_with, args=(self.study,), daemon=True).start()
        self.work(run)

    def work(self, run: Run) -> None:
        execute(run)

    def checkpoint(self, run: Run) -> Any:
        """Called by submitit shortly before the time limit, or where the job has to make room for another.

        Epochs are kept as they end, so that nothing remains to be saved. RuntimeError where the job before this one was
        stopped at the same point by its time limit: it would be for ever.
        """
        if os.getpid() != self.process:  # a worker that was forked and got the signal, too
            os._exit(0)
        if self.seconds is not None and time.monotonic() - self.begun > self.seconds - KEPT_BACK - _SOONER:
            doing, before = progress(run), read(run.folder / _STOPPED)
            if before is not None and before.get("doing") == doing:
                raise RuntimeError(f"its time limit of {self.seconds / 60:g} minutes ended twice at the same point "
                                   f"({doing}), so that it would never be done; give it a longer time_minutes")
            write_json(run.folder / _STOPPED, {"doing": doing})
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, run)


def run_here(runs: Sequence[Run], executor: Executor, *, poll_seconds: float = 1.0) -> dict[str, str]:
    """Execute runs in processes of this machine, so many at a time; returns why runs failed, by their names.

    A run that fails, or whose process dies, does not keep the others from being done. With GPUs, process ``i`` sees GPU
    ``i`` alone. The processes end when this function is left, or when its process ends in another way.
    """
    import submitit

    waiting, failed = list(runs), dict[str, str]()
    free = list(range(executor.processes))
    busy: dict[int, tuple[Run, Any]] = {}
    folder = Path(runs[0].output) / JOBS
    folder.mkdir(parents=True, exist_ok=True)
    study = folder / f"study_{os.getpid()}.lock"
    with locked(study), tqdm(total=len(runs), desc="Runs", unit="run") as bar:
        try:
            while waiting or busy:
                while waiting and free:
                    place = free.pop(0)
                    run = waiting.pop(0)
                    for name in (PROGRESS, FAILED):
                        with suppress(OSError):
                            (run.folder / name).unlink()
                    local = submitit.LocalExecutor(folder=folder)
                    local.update_parameters(timeout_min=_A_MONTH, **(
                        {"gpus_per_node": 1, "visible_gpus": [place]} if executor.gpus else {}))
                    with interrupts_wait():  # the process and what it starts leave Ctrl-C to this one
                        busy[place] = run, local.submit(Job(study=study), run)
                for place, (run, submitted) in list(busy.items()):
                    if submitted.done():
                        del busy[place]
                        free.append(place)
                        if finished(run) is None:
                            failed[run.name] = why_ended(run, submitted.paths.stderr)
                            bar.write(f"{run.name} failed: {failed[run.name]}")
                        bar.update()
                bar.set_postfix_str("; ".join(f"{run.trainer}, seed {run.seed}: {progress(run)}"
                                              for run, _ in busy.values()))
                if busy:
                    time.sleep(poll_seconds)
        finally:
            _end(submitted for _, submitted in busy.values())
            study.unlink(missing_ok=True)
    return failed


def why_ended(run: Run, log: Path) -> str:
    """Why a run whose process or job has ended has no record, and where its log is."""
    return f"{failure(run) or 'its process died or was cancelled, perhaps because memory ran out'} (log: {log})"


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Ctrl-C within the block counts at its end; processes that are started in it never get to know of it."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(jobs: Iterable[Any], seconds: float = 10.0) -> None:
    """End processes that have not ended, and wait for it, so that no run is locked afterwards."""
    left = list(jobs)
    for submitted in left:
        with suppress(OSError, ValueError):  # submitit's own way is SIGINT, of which they know nothing
            os.kill(int(submitted.job_id), signal.SIGTERM)
    end = time.monotonic() + seconds
    while time.monotonic() < end and not all(submitted.done() for submitted in left):
        time.sleep(0.05)


def _end_with(study: Path) -> None:
    with suppress(OSError), locked(study, create=False):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
