"""``nnUNetv2_topo_study``: the same trainings for several losses and seeds, compared with care."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_topo.commands.guard import guarded

if TYPE_CHECKING:
    from nnunet_topo.study.settings import Run, Study


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, run what is not finished, write the results; 0, or 1 where anything failed, with the reason."""
    options = _parser().parse_args(arguments)
    return guarded(lambda: _study(options), stopped="The same command goes on: finished runs are kept, others continue "
                   "from their last checkpoint. Jobs that SLURM has already stay in its queue.")


def _study(options: argparse.Namespace) -> int:
    from nnunet_topo.study.checks import checked_runs
    from nnunet_topo.study.study_file import read_study

    study = read_study(options.study)
    runs = checked_runs(study, write=not options.print_only)
    if options.only is not None:
        return _one(options.only, runs)
    return _all(options, study, runs)


def _all(options: argparse.Namespace, study: Study, runs: Sequence[Run]) -> int:
    from nnunet_topo.study.checks import waiting_runs
    from nnunet_topo.study.launch import run_here
    from nnunet_topo.study.results import write_results
    from nnunet_topo.study.slurm import submit_to_slurm

    waiting = waiting_runs(runs)
    if options.print_only:
        for run in waiting:
            print(shlex.join(["nnUNetv2_topo_study", str(Path(options.study).resolve()), "--only", run.name]))
        return 0
    print(f"{len(runs)} run(s), of which {len(runs) - len(waiting)} are finished.")
    failed: dict[str, str] = {}
    jobs: dict[str, str] = {}
    if study.executor.kind == "slurm" and waiting:
        jobs, again = submit_to_slurm(waiting, study.executor, study.output)
        for name, why in again.items():
            print(f"{name} had ended: {why}. It is submitted again, as job {jobs[name]}.")
    elif waiting:
        failed = run_here(waiting, study.executor)
    if len(waiting_runs(runs)) < len(runs):
        for file in write_results(study, runs):
            print(f"Written: {file}")
    if jobs:
        print(f"{len(jobs)} run(s) are jobs of SLURM: {', '.join(jobs.values())}. The same command writes the results "
              "of those that have finished, and submits again those that have failed or were cancelled.")
    if failed:
        print(f"Error: {len(failed)} run(s) failed; the others are kept, and the same command tries these again:",
              file=sys.stderr)
        for name, why in failed.items():
            print(f"  {name}: {why}", file=sys.stderr)
    return int(bool(failed))


def _one(name: str, runs: Sequence[Run]) -> int:
    from nnunet_topo.study.execution import execute

    chosen = [run for run in runs if run.name == name]
    if not chosen:
        raise ValueError(f"The study has no run {name!r}; --print_only names those that are not finished.")
    execute(chosen[0])
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nnUNetv2_topo_study",
        description="Trains each trainer of a study file with each seed, predicts and evaluates the test images, and "
        "compares the trainers with the first of them, each group of test images by itself. The same command goes on "
        "where it was stopped: finished runs are not repeated. Everything is checked before the first training.")
    parser.add_argument("study", metavar="STUDY.yaml", help="study file")
    parser.add_argument("--print_only", "--print-only", action="store_true",
                        help="[OPTIONAL] print a command for each run that is not finished, and start nothing")
    parser.add_argument("--only", metavar="RUN", help="[OPTIONAL] execute this one run, in this process")
    return parser


if __name__ == "__main__":
    sys.exit(main())
