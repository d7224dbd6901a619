"""Runs handed to submitit: processes of this machine, or jobs of a SLURM cluster."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nnunet_topo.files import write_json
from nnunet_topo.study.execution import FAILED, PROGRESS, execute, failure, finished, progress
from nnunet_topo.study.settings import Executor, Run

JOBS = "jobs"
_SUBMITTED = "submitted.json"
_A_MONTH = 60 * 24 * 30  # in minutes; submitit ends local processes after a time
_NOT_ENDED = ("PENDING", "RUNNING", "REQUEUED", "SUSPENDED", "CONFIGURING", "COMPLETING", "UNKNOWN")


def job(run: Run) -> None:
    """What submitit's process does.

    submitit lets SIGTERM pass without effect. Worker processes would inherit that, and nnU-Net's pools, which end
    theirs by this signal, would wait for them for ever.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    execute(run)


def run_here(runs: Sequence[Run], executor: Executor, *, poll_seconds: float = 1.0) -> dict[str, str]:
    """Execute runs in processes of this machine, so many at a time; returns why runs failed, by their names.

    A run that fails, or whose process dies, does not keep the others from being done. With GPUs, process ``i`` sees GPU
    ``i`` alone. The processes end when this function is left.
    """
    import submitit

    waiting, failed = list(runs), dict[str, str]()
    free = list(range(executor.processes))
    busy: dict[int, tuple[Run, Any]] = {}
    try:
        with tqdm(total=len(runs), desc="Runs", unit="run") as bar:
            while waiting or busy:
                while waiting and free:
                    place = free.pop(0)
                    run = waiting.pop(0)
                    with suppress(OSError):
                        (run.folder / PROGRESS).unlink()
                    with suppress(OSError):
                        (run.folder / FAILED).unlink()
                    local = submitit.LocalExecutor(folder=Path(run.output) / JOBS)
                    local.update_parameters(timeout_min=_A_MONTH, **(
                        {"gpus_per_node": 1, "visible_gpus": [place]} if executor.gpus else {}))
                    busy[place] = run, local.submit(job, run)
                for place, (run, submitted) in list(busy.items()):
                    if submitted.done():
                        del busy[place]
                        free.append(place)
                        if finished(run) is None:
                            failed[run.name] = _reason(run, submitted)
                            bar.write(f"{run.name} failed: {failed[run.name]}")
                        bar.update()
                bar.set_postfix_str("; ".join(f"{run.trainer}, seed {run.seed}: {progress(run)}"
                                              for run, _ in busy.values()))
                if busy:
                    time.sleep(poll_seconds)
    finally:
        for _, submitted in busy.values():
            with suppress(Exception):
                submitted.cancel(check=False)
    return failed


def _reason(run: Run, submitted: Any) -> str:
    """Why a run has no record, and where its log is."""
    return f"{failure(run) or 'its process died, perhaps for want of memory'} (log: {submitted.paths.stderr})"


def submit_to_slurm(runs: Sequence[Run], executor: Executor, output: Path) -> dict[str, str]:
    """Submit a job for each run that has none under way; returns the names of all runs under way with their jobs.

    The jobs are SLURM's from then on: this function does not wait for them. ``jobs/submitted.json`` remembers them. A
    job that ran into its time limit is submitted again like one that failed, and goes on from its last checkpoint.
    """
    import submitit

    folder = output / JOBS
    folder.mkdir(parents=True, exist_ok=True)
    known: dict[str, str] = json.loads((folder / _SUBMITTED).read_text()) if (folder / _SUBMITTED).is_file() else {}
    under_way = {name: number for name, number in known.items()
                 if submitit.SlurmJob(folder=folder, job_id=number).state.upper() in _NOT_ENDED}
    slurm = slurm_executor(executor, folder)
    for run in runs:
        if run.name not in under_way:
            under_way[run.name] = slurm.submit(job, run).job_id
            write_json(folder / _SUBMITTED, under_way)
    return under_way


def slurm_executor(executor: Executor, folder: Path) -> Any:
    """submitit's executor with the resources of a study file."""
    import submitit

    slurm = submitit.SlurmExecutor(folder=folder)
    wanted = {"job_name": "nnunet_topo", "time": executor.time_minutes, "partition": executor.partition,
              "mem": None if executor.memory_gb is None else f"{executor.memory_gb}GB",
              "cpus_per_task": executor.cpus, "gpus_per_node": executor.gpus or None, "nodes": 1, "ntasks_per_node": 1}
    if executor.account is not None:
        wanted["account"] = executor.account
    slurm.update_parameters(**{name: value for name, value in wanted.items() if value is not None})
    return slurm
