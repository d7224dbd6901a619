"""nnU-Net's steps from raw images to predictions, through its own Python interface, for runs inside one process."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from nnunet_topo.files import write_json
from nnunet_topo.nnunet.prediction import CasePredictor
from nnunet_topo.nnunet.raw_cases import channels_of
from nnunet_topo.nnunet.training.seeds import fix_seed, seed_everything
from nnunet_topo.nnunet_folders import FOLDERS


@contextmanager
def environment(**variables: str | None) -> Iterator[None]:
    """Set environment variables for the length of the block; None takes a variable out."""
    before = {name: os.environ.get(name) for name in variables}

    def apply(values: Mapping[str, str | None]) -> None:
        for name, value in values.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    apply(variables)
    try:
        yield
    finally:
        apply(before)


@contextmanager
def nnunet_folders(root: str | os.PathLike[str]) -> Iterator[Path]:
    """Let nnU-Net's three folders lie below ``root`` for the length of the block."""
    root = Path(root).resolve()
    paths = {name: root / name for name in FOLDERS}
    for path in paths.values():
        path.mkdir(parents=True, exist_ok=True)
    with environment(**{name: str(path) for name, path in paths.items()}):
        yield root


def plan_and_preprocess(
    dataset: str,
    patch_sizes: Mapping[str, Sequence[int]] | None = None,
    *,
    configurations: Sequence[str] = (),
    processes: int = 1,
    **small_plans: Any,
) -> str:
    """Fingerprint, plan and preprocess a raw data set, with ``patch_sizes`` under small plans; returns the plans' name.

    Args:
        dataset: ``DatasetXXX_Name`` in ``nnUNet_raw``.
        patch_sizes: configuration -> patch size, for :func:`write_small_plans`; None keeps nnU-Net's own plans.
        configurations: which to preprocess where ``patch_sizes`` is None.
        processes: worker processes.
        small_plans: further arguments of :func:`write_small_plans`.
    """
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api

    number = int(dataset[len("Dataset") :][:3])
    api.extract_fingerprints([number], num_processes=processes, check_dataset_integrity=True)
    plans = api.plan_experiments([number])
    if patch_sizes is not None:
        folder = Path(os.environ["nnUNet_preprocessed"]) / dataset
        plans = write_small_plans(folder, patch_sizes, source=plans, **small_plans)
    api.preprocess([number], plans, configurations=list(patch_sizes or configurations), num_processes=[processes])
    return plans


def write_small_plans(
    preprocessed: Path,
    patch_sizes: Mapping[str, Sequence[int]],
    *,
    batch_size: int = 2,
    features: Sequence[int] = (8, 16, 32),
    source: str = "nnUNetPlans",
    name: str = "nnUNetTopoSmallPlans",
    settings: Mapping[str, Any] | None = None,
) -> str:
    """Write plans for a small U-Net beside the data set's own, for CPU runs of minutes; returns their name.

    Args:
        preprocessed: the data set's folder in ``nnUNet_preprocessed``.
        patch_sizes: configuration -> patch size in voxels, each axis divisible by 2 as often as it is halved.
        batch_size: samples a batch.
        features: channels of each stage; at least 3 stages.
        source: name of the plans to start from; preprocessed data are shared with them.
        name: name of the new plans.
        settings: the plans' ``"nnunet_topo"`` entry.
    """
    plans = json.loads((preprocessed / f"{source}.json").read_text())
    plans = with_small_network(plans, patch_sizes, batch_size=batch_size, features=features) | {"plans_name": name}
    if settings is not None:
        plans["nnunet_topo"] = dict(settings)
    write_json(preprocessed / f"{name}.json", plans)
    return name


def with_small_network(
    plans: Mapping[str, Any], patch_sizes: Mapping[str, Sequence[int]], *, batch_size: int, features: Sequence[int]
) -> dict[str, Any]:
    """The contents of plans with another patch, batch and U-Net in the configurations of ``patch_sizes``."""
    result = copy.deepcopy(dict(plans))
    for configuration, patch_size in patch_sizes.items():
        entry = result["configurations"][configuration]
        arch = entry["architecture"]["arch_kwargs"]
        stages, dims = len(features), len(patch_size)
        strides = [[1] * dims] + [[2 if size % 2**s == 0 and size // 2**s >= 4 else 1 for size in patch_size]
                                  for s in range(1, stages)]
        arch.update(n_stages=stages, features_per_stage=list(features), strides=strides,
                    kernel_sizes=[[3] * dims] * stages, n_conv_per_stage=[2] * stages,
                    n_conv_per_stage_decoder=[2] * (stages - 1))
        entry.update(patch_size=list(patch_size), batch_size=batch_size)
    return result


def train(
    dataset: str,
    configuration: str,
    trainer: str,
    plans: str,
    *,
    fold: int | str = 0,
    device: str = "cpu",
    epochs: int | None = None,
    iterations: int | None = None,
    validation_iterations: int | None = None,
    continue_training: bool = False,
    validate: bool = False,
    on_epoch: Callable[[int, int], None] | None = None,
    seed: int | None = None,
    save_every: int | None = None,
) -> Path:
    """Train one fold as ``nnUNetv2_train`` does; returns the model's folder (the parent of the fold's).

    Args:
        trainer: class name, found by nnU-Net's own lookup.
        plans: name of the plans.
        epochs, iterations, validation_iterations: instead of nnU-Net's 1000 epochs of 250 and 50 iterations.
        continue_training: as ``--c``.
        validate: also predict and score the fold's validation cases at the end.
        on_epoch: called after each epoch with the number of epochs done and of all.
        seed: see :func:`~nnunet_topo.nnunet.training.seeds.fix_seed`; None leaves the random numbers alone, as nnU-Net
            does.
        save_every: epochs from one checkpoint to continue from to the next, instead of nnU-Net's 50.
    """
    from nnunetv2.run.run_training import get_trainer_from_args, maybe_load_checkpoint

    if seed is not None:
        seed_everything(seed)

    instance = get_trainer_from_args(dataset, configuration, fold, trainer, plans, continue_training,  # type: ignore[arg-type]
                                     torch.device(device))
    for attribute, value in (("num_epochs", epochs), ("num_iterations_per_epoch", iterations),
                             ("num_val_iterations_per_epoch", validation_iterations), ("save_every", save_every)):
        if value is not None:
            setattr(instance, attribute, value)
    if seed is not None:
        fix_seed(instance, seed)
    maybe_load_checkpoint(instance, continue_training, False)
    if on_epoch is not None:
        _call_after_each_epoch(instance, on_epoch)
    instance.run_training()
    if validate:
        instance.perform_actual_validation()
    return Path(instance.output_folder_base)


def predict(
    model: Path,
    images: Path,
    output: Path,
    *,
    folds: Sequence[int | str] = (0,),
    device: str = "cpu",
    mirroring: bool = True,
    checkpoint: str = "checkpoint_final.pth",
    probabilities: bool = False,
) -> Path:
    """Predict every case of a folder with a trained model, as ``nnUNetv2_predict`` does, without worker processes.

    With ``probabilities``, as with ``--save_probabilities``, each case also gets a ``.npz`` with them (classes, *S).
    """
    predictor = CasePredictor(model, folds=folds, device=device, mirroring=mirroring, checkpoint=checkpoint)
    output.mkdir(parents=True, exist_ok=True)
    for channels in channels_of(images, predictor.ending).values():
        predictor.predict([channels[number] for number in sorted(channels)], output, probabilities=probabilities)
    return output


def _call_after_each_epoch(instance: Any, on_epoch: Callable[[int, int], None]) -> None:
    ends = instance.on_epoch_end

    def on_epoch_end() -> None:
        ends()
        on_epoch(instance.current_epoch, instance.num_epochs)

    instance.on_epoch_end = on_epoch_end
