"""What must hold before the first training of a study starts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from nnunet_topo.nnunet.checks import require_path, require_writable
from nnunet_topo.nnunet.lookup import (
    checkpoint_bytes,
    dataset_named,
    require_fold,
    require_planned,
    require_trainer,
)
from nnunet_topo.study.execution import finished
from nnunet_topo.study.settings import Run, Study, runs_of

_CHECKPOINTS = 2  # of a finished run: the final one and the best


def checked_runs(study: Study) -> list[Run]:
    """All runs of a study, none of which can fail for what is known beforehand; else a ValueError or RuntimeError."""
    for variable in ("nnUNet_raw", "nnUNet_preprocessed"):
        require_path(variable)
    runs = runs_of(study, {dataset: dataset_named(dataset) for dataset in study.datasets})
    for trainer in study.trainers:
        require_trainer(trainer)
    sizes: dict[tuple[str, str], int] = {}
    for dataset in dict.fromkeys(run.dataset for run in runs):
        require_test_images(dataset)
        for configuration in study.configurations:
            plans = require_planned(dataset, study.plans, configuration)
            sizes[dataset, configuration] = checkpoint_bytes(dataset, plans, configuration)
        for fold in study.folds:
            require_fold(dataset, fold)
    require_writable(study.output)
    waiting = [run for run in runs if finished(run) is None]
    needed = sum(_CHECKPOINTS * sizes[run.dataset, run.configuration] for run in waiting)
    free = shutil.disk_usage(study.output).free
    if free < needed:
        raise RuntimeError(f"The disk of {study.output} has {free / 1e6:.0f} MB free, but the checkpoints of the "
                           f"{len(waiting)} run(s) to do need about {needed / 1e6:.0f} MB. Make room, or choose an "
                           "output folder on another disk.")
    return runs


def require_test_images(dataset: str) -> None:
    """The data set has test images, and a label map for each."""
    raw = Path(os.environ["nnUNet_raw"]) / dataset
    for name in ("imagesTs", "labelsTs"):
        if not (raw / name).is_dir() or not any((raw / name).iterdir()):
            raise ValueError(f"{dataset} has no {name}, so its runs could not be compared. Put test images into "
                             f"{raw / 'imagesTs'} and their labels into {raw / 'labelsTs'}.")


def waiting_runs(runs: Sequence[Run]) -> list[Run]:
    """Those without a record."""
    return [run for run in runs if finished(run) is None]
