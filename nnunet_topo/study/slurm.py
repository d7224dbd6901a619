"""Runs as jobs of a SLURM cluster, through submitit. Needs squeue, and no accounting."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from nnunet_topo.files import write_json
from nnunet_topo.schema import Name, read_json
from nnunet_topo.study.launch import JOBS, Job, interrupts_wait, why_ended
from nnunet_topo.study.settings import KEPT_BACK, Executor, Run

_SUBMITTED = "submitted.json"
_NO_END = 1_000_000  # how often submitit queues a job again; a job that gets no further says so itself


class Submission(NamedTuple):
    """By runs' names: the jobs of all that are not finished, and why those that were submitted again had ended."""

    jobs: dict[str, str]
    again: dict[str, str]


def submit_to_slurm(runs: Sequence[Run], executor: Executor, output: Path) -> Submission:
    """Submit a job for each run that has none in SLURM's queue, and do not wait for them.

    ``jobs/submitted.json`` remembers them. Each epoch is kept, whatever the study's ``save_every``. A job is told
    before its time limit ends; it is then queued again, under its number, and goes on.
    """
    missing = [command for command in ("sbatch", "squeue", "srun") if shutil.which(command) is None]
    if missing:
        raise RuntimeError(f"There is no {', '.join(missing)} here, so no job can be given to SLURM. Type the command "
                           "on a computer of the cluster, or take executor: {kind: local}.")
    folder = output / JOBS
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / _SUBMITTED
    known: dict[str, str] = read_json(file, values=Name) if file.is_file() else {}
    queue = _queue() if known else set()
    jobs = {run.name: known[run.name] for run in runs if known.get(run.name) in queue}
    slurm, again = slurm_executor(executor, folder), dict[str, str]()
    job = Job(seconds=60.0 * (executor.time_minutes or 0))
    for run in runs:
        if run.name in jobs:
            continue
        if run.name in known:
            again[run.name] = why_ended(run, folder / f"{known[run.name]}_0_log.err")
        with interrupts_wait():  # a job that is submitted is remembered
            jobs[run.name] = _number(slurm, job, replace(run, save_every=1))
            write_json(file, jobs)
    return Submission(jobs, again)


def slurm_executor(executor: Executor, folder: Path) -> Any:
    """submitit's executor with the resources of a study file."""
    import submitit

    slurm = submitit.SlurmExecutor(folder=folder, max_num_timeout=_NO_END)
    wanted = {"job_name": "nnunet_topo", "time": executor.time_minutes, "partition": executor.partition,
              "mem": None if executor.memory_gb is None else f"{executor.memory_gb}GB",
              "cpus_per_task": executor.cpus, "gpus_per_node": executor.gpus or None, "nodes": 1, "ntasks_per_node": 1,
              "signal_delay_s": KEPT_BACK, "additional_parameters": {"requeue": True}}
    if executor.account is not None:
        wanted["account"] = executor.account
    slurm.update_parameters(**{name: value for name, value in wanted.items() if value is not None})
    return slurm


def _number(slurm: Any, job: Job, run: Run) -> str:
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    try:
        return slurm.submit(job, run).job_id
    except (FailedJobError, FailedSubmissionError) as error:
        raise RuntimeError(f"SLURM does not take a job ({' '.join(str(error).split())}). Look at the study's executor; "
                           "jobs that were submitted before stay.") from error


def _queue() -> set[str]:
    """The numbers of all jobs of this user that have not ended, by one call."""
    command = ["squeue", "--noheader", "--format=%i", f"--user={os.getuid()}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError("SLURM's squeue does not answer, so it is not known which jobs have ended. Try again "
                           "later.") from error
    if done.returncode != 0:
        raise RuntimeError(f"SLURM's squeue fails ({' '.join(done.stderr.split())}), so it is not known which jobs "
                           "have ended. Try again later.")
    return set(done.stdout.split())
