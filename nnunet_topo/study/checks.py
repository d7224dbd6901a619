"""What must hold before the first training of a study starts."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from nnunet_topo.files import write_json
from nnunet_topo.nnunet.pipeline import with_small_network
from nnunet_topo.nnunet.training.checks import require_path, require_writable
from nnunet_topo.nnunet.training.lookup import (
    checkpoint_bytes,
    dataset_named,
    preprocessed,
    require_fold,
    require_planned,
    require_trainer,
)
from nnunet_topo.nnunet.training.terms import PLANS_KEY, declared_terms, resolve_terms
from nnunet_topo.study.data_checks import require_sound_cases, require_test_images
from nnunet_topo.study.execution import finished, trained
from nnunet_topo.study.groups import require_groups
from nnunet_topo.study.measurement import require_measurable
from nnunet_topo.study.settings import Run, Study, runs_of

_CHECKPOINTS = 2  # of a finished run: the final one and the best


def checked_runs(study: Study, *, write: bool = True) -> list[Run]:
    """All runs of a study, none of which can fail for what is known beforehand; else a ValueError or RuntimeError.

    With ``write`` the output folder has room, and the plans of ``network`` and ``settings`` are there afterwards.
    """
    for variable in ("nnUNet_raw", "nnUNet_preprocessed"):
        require_path(variable)
    runs = runs_of(study, {dataset: dataset_named(dataset) for dataset in study.datasets})
    terms = {trainer: declared_terms(require_trainer(trainer)) for trainer in study.trainers}
    sizes: dict[tuple[str, str], int] = {}
    changed: dict[str, dict[str, Any]] = {}  # the plans of each data set
    for dataset in dict.fromkeys(run.dataset for run in runs):
        for configuration in study.configurations:
            planned = require_planned(dataset, study.plans, configuration)
            _require_no_cascade(planned, configuration)
            changed[dataset] = _with_network(study, changed.get(dataset, planned), configuration)
            if study.settings is not None:
                changed[dataset] = changed[dataset] | {PLANS_KEY: study.settings}
            for declared in terms.values():
                resolve_terms(declared, changed[dataset], configuration)
            sizes[dataset, configuration] = checkpoint_bytes(dataset, changed[dataset], configuration)
        for fold in study.folds:
            require_fold(dataset, fold)
        require_test_images(dataset)
    require_groups(study, list(changed))
    for run in runs:
        if (record := finished(run)) is not None:
            require_measurable(run, record)
    waiting = waiting_runs(runs)
    for dataset in dict.fromkeys(run.dataset for run in waiting):
        require_sound_cases(dataset, changed[dataset], remember=write)
    if write:
        untrained = [run for run in waiting if not trained(run)]
        _make_ready(study, changed, sum(_CHECKPOINTS * sizes[run.dataset, run.configuration] for run in untrained),
                    len(untrained))
    return runs


def _make_ready(study: Study, plans: Mapping[str, Mapping[str, Any]], needed: int, runs: int) -> None:
    require_writable(study.output, elsewhere="choose another output folder for this study")
    free = shutil.disk_usage(study.output).free
    if free < needed:
        raise RuntimeError(f"The disk of {study.output} has {free / 1e6:.0f} MB free, but the checkpoints of the "
                           f"{runs} run(s) to do need about {needed / 1e6:.0f} MB. Make room, or choose an "
                           "output folder on another disk.")
    if (name := study.plans_of_runs) != study.plans:
        for dataset, content in plans.items():
            write_json(preprocessed(dataset) / f"{name}.json", {**content, "plans_name": name})


def _require_no_cascade(plans: Mapping[str, Any], configuration: str) -> None:
    before = plans["configurations"][configuration].get("previous_stage")
    if before is not None:
        raise ValueError(f"Configuration {configuration!r} is the second stage of a cascade, which needs what "
                         f"{before!r} predicts of all training images, and a study trains each configuration by "
                         f"itself. Compare trainers in {before!r} or 3d_fullres.")


def _with_network(study: Study, plans: dict[str, Any], configuration: str) -> dict[str, Any]:
    if study.network is None:
        return plans
    entry = plans["configurations"].get(configuration, {})
    if len(entry.get("patch_size", ())) != len(study.network.patch) or "architecture" not in entry:
        raise ValueError(f"The study's network has patches of {len(study.network.patch)} axes, but configuration "
                         f"{configuration!r} has not, or has no network of its own. Compare such configurations in "
                         "studies of their own.")
    return with_small_network(plans, {configuration: study.network.patch}, batch_size=study.network.batch,
                              features=study.network.features)


def waiting_runs(runs: Sequence[Run]) -> list[Run]:
    """Those that are not finished."""
    return [run for run in runs if finished(run) is None]
