"""What nnU-Net has: trainers by their names, planned data sets, folds, and what a network takes on the disk."""

from __future__ import annotations

import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any

from nnunet_topo.schema import read_json


def preprocessed(dataset: str) -> Path:
    return Path(os.environ["nnUNet_preprocessed"]) / dataset


def dataset_named(name_or_number: str | int) -> str:
    """``Dataset501_Name`` of a data set that is in ``nnUNet_raw``, by its name or its number."""
    raw = Path(os.environ["nnUNet_raw"])
    text = str(name_or_number)
    start = f"Dataset{int(text):03d}_" if text.isdecimal() else None
    there = [folder.name for folder in raw.iterdir() if folder.is_dir()] if raw.is_dir() else []
    found = [name for name in there if (name == text if start is None else name.startswith(start))]
    if len(found) != 1:
        raise ValueError(f"nnUNet_raw ({raw}) has {len(found) or 'no'} data set(s) {text!r}; give the number or the "
                         "whole name (DatasetXXX_Name) of one that is there.")
    return found[0]


def require_trainer(name: str) -> type:
    """The class of a trainer that nnU-Net's own lookup finds."""
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return recursive_find_trainer_class_by_name(name)
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ValueError(f"nnU-Net finds no trainer {name!r}: {error} Check the name; nnUNetv2_topo_doctor lists this "
                         "package's trainers.") from error


def require_planned(dataset: str, plans: str, configuration: str) -> dict[str, Any]:
    """The plans of a data set that has been preprocessed for a configuration."""
    folder = preprocessed(dataset)
    file = folder / f"{plans}.json"
    fix = f"Run nnUNetv2_plan_and_preprocess -d {int(dataset[7:10])} -c {configuration} first."
    if not file.is_file():
        raise ValueError(f"{dataset} has no plans {plans!r} ({file} does not exist). {fix}")
    content = read_json(file)
    if not isinstance(content.get("configurations"), dict):
        raise ValueError(f"{file} names no configurations, so it is not a plans file of nnU-Net. {fix}")
    if configuration not in content["configurations"]:
        raise ValueError(f"The plans {plans!r} of {dataset} have no configuration {configuration!r}; they have "
                         f"{', '.join(content['configurations'])}.")
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    data = folder / PlansManager(content).get_configuration(configuration).data_identifier
    if not data.is_dir():
        raise ValueError(f"{dataset} is not preprocessed for {configuration} ({data} does not exist). {fix}")
    return content


def require_fold(dataset: str, fold: int | str) -> None:
    """The fold is "all", one of ``splits_final.json``, or one of the five that nnU-Net makes where there is none."""
    file = preprocessed(dataset) / "splits_final.json"
    published = Path(os.environ["nnUNet_raw"]) / dataset / "splits_final.json"
    if published.is_file() and not file.is_file():
        raise ValueError(f"{published} holds the splits of {dataset}, but nnU-Net looks for them in {file.parent} and "
                         "would make others. Copy the file there.")
    try:
        folds = len(json.loads(file.read_text())) if file.is_file() else 5
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} is damaged or holds no list of splits ({error}).") from error
    if fold != "all" and not (isinstance(fold, int) and 0 <= fold < folds):
        raise ValueError(f"{dataset} has no fold {fold!r}; it has 0 to {folds - 1}, and 'all'.")


def validation_cases(dataset: str, fold: int | str) -> list[str]:
    """The cases that a fold which has been trained leaves out of its training; none of fold "all"."""
    if fold == "all":
        return []
    return sorted(json.loads((preprocessed(dataset) / "splits_final.json").read_text())[int(fold)]["val"])


def checkpoint_bytes(dataset: str, plans: dict[str, Any], configuration: str) -> int:
    """What one checkpoint takes on the disk: weights and momentum in float32."""
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    manager = PlansManager(plans)
    settings = manager.get_configuration(configuration)
    content = read_json(preprocessed(dataset) / "dataset.json")
    network = get_network_from_plans(
        settings.network_arch_class_name, settings.network_arch_init_kwargs,
        settings.network_arch_init_kwargs_req_import, determine_num_input_channels(manager, settings, content),
        manager.get_label_manager(content).num_segmentation_heads)
    return 2 * 4 * sum(parameter.numel() for parameter in network.parameters())
