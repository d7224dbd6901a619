"""Runs of a study without data: what they do is said by a test."""

from __future__ import annotations

from pathlib import Path

from nnunet_topo.study.settings import Run


def runs_in(folder: Path, trainers: str = "ab") -> list[Run]:
    return [Run(str(folder), "Dataset001_None", "2d", trainer, "plans", 0, 0, 3, 1, 1, 5, "cpu", False)
            for trainer in trainers]


def is_locked(run: Run) -> bool:
    """Whether another process holds the run's lock."""
    import fcntl

    with (run.folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
