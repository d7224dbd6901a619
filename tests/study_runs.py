"""Runs of a study without data: what they do is said by a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from training import _write, label_map

from nnunet_topo.study.settings import Run


def write_test_images(raw: Path) -> None:
    """Three test images of two groups with their labels, in a raw data set like those of ``training.py``."""
    for part in ("imagesTs", "labelsTs"):
        (raw / part).mkdir(parents=True)
    for case in range(3):
        labels = label_map(20 + case)
        image = (labels > 0) + 0.5 * (labels == 2) + np.random.default_rng(case).normal(0, 0.3, labels.shape)
        _write(labels, raw / "labelsTs" / f"t{case}.nii.gz")
        _write(image.astype(np.float32), raw / "imagesTs" / f"t{case}_0000.nii.gz")
    (raw / "manifest.csv").write_text("case,group\nt0,near\nt1,near\nt2,far\n")


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
