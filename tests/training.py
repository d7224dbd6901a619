"""A tiny data set, planned by nnU-Net, and its variants: three classes, regions, an ignore label."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK
import torch
from nnunetv2.experiment_planning import verify_dataset_integrity
from nnunetv2.experiment_planning.dataset_fingerprint import fingerprint_extractor
from nnunetv2.preprocessing.preprocessors import default_preprocessor

from nnunet_topo.files import write_json
from nnunet_topo.nnunet.pipeline import plan_and_preprocess, train, write_small_plans

PLANS = "nnUNetTopoSmallPlans"
TRAINERS = Path(__file__).resolve().parents[1] / "trainers"

LABELS = {
    "classes": {"labels": {"background": 0, "trunk": 1, "branch": 2}},
    "regions": {"labels": {"background": 0, "tree": [1, 2], "branch": [2]}, "regions_class_order": [1, 2]},
    "ignore": {"labels": {"background": 0, "tree": 1, "ignore": 2}},
    "regions_ignore": {"labels": {"background": 0, "tree": [1, 2], "branch": [2], "ignore": 3},
                       "regions_class_order": [1, 2]},
}
NUMBERS = {kind: f"Dataset{701 + i}_Tiny_{kind}" for i, kind in enumerate(LABELS)}
PATCHES = {"2d": (32, 32), "3d_fullres": (16, 32, 32)}


def label_map(seed: int, *, ignore: bool = False) -> np.ndarray:
    """(20, 40, 40): a bar (label 1) with a side branch (label 2), and a block of label 3 where ``ignore``."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((20, 40, 40), np.uint8)
    y, x = rng.integers(10, 26, 2)
    labels[2:18, y : y + 5, x : x + 5] = 1
    labels[8:12, y + 1 : y + 4, x + 5 :] = 2
    if ignore:
        labels[:, :6, :] = 3
    return labels


def make_raw(kind: str) -> Path:
    """Six training cases and a test case of anisotropic spacing in ``nnUNet_raw``."""
    folder = Path(os.environ["nnUNet_raw"]) / NUMBERS[kind]
    for name in ("imagesTr", "labelsTr", "imagesTs"):
        (folder / name).mkdir(parents=True)
    for seed in range(7):
        labels = label_map(seed, ignore=kind == "regions_ignore")
        noise = np.random.default_rng(seed + 100).normal(0, 0.3, labels.shape)
        image = ((labels > 0) & (labels < 3)) + 0.5 * (labels == 2) + noise
        if seed < 6:
            _write(labels, folder / "labelsTr" / f"tiny_{seed}.nii.gz")
        _write(image.astype(np.float32), folder / ("imagesTr" if seed < 6 else "imagesTs") / f"tiny_{seed}_0000.nii.gz")
    write_json(folder / "dataset.json", {"channel_names": {"0": "synthetic"}, "numTraining": 6,
                                         "file_ending": ".nii.gz", **LABELS[kind]})
    return folder


def short(
    dataset: str, configuration: str, trainer: str = "nnUNetTrainerClDice", plans: str = PLANS, **arguments
) -> Path:
    """A training of an epoch of two batches."""
    arguments = {"epochs": 1, "iterations": 2, "validation_iterations": 1} | arguments
    return train(dataset, configuration, trainer, plans, **arguments)


def checkpoint_of(model: Path, name: str = "checkpoint_final.pth") -> dict:
    return torch.load(model / "fold_0" / name, weights_only=False)


def log_of(model: Path) -> str:
    return "\n".join(path.read_text() for path in sorted((model / "fold_0").glob("training_log_*.txt")))


@contextmanager
def threads_for_processes() -> Iterator[None]:
    """Let threads check, plan and preprocess, since nnU-Net's processes import for longer than they work."""
    pools = SimpleNamespace(get_context=lambda method: SimpleNamespace(Pool=ThreadPool))
    with pytest.MonkeyPatch.context() as patch:
        for module in (verify_dataset_integrity, fingerprint_extractor, default_preprocessor):
            patch.setattr(module, "multiprocessing", pools)
        yield


def prepare(kind: str, planned: dict[str, Path]) -> str:
    """Make, plan and preprocess one variant; only the first is planned by nnU-Net, the others reuse its plans."""
    make_raw(kind)
    dataset = NUMBERS[kind]
    if not planned:
        with threads_for_processes():
            plan_and_preprocess(dataset, PATCHES)
    else:
        source = next(iter(planned.values()))
        _preprocess_with_plans_of(source, kind)
    planned[kind] = Path(os.environ["nnUNet_preprocessed"]) / dataset
    return dataset


def _preprocess_with_plans_of(source: Path, kind: str) -> None:
    """What nnUNetv2_preprocess does, in this process: its worker pools cost more than the work."""
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    raw, target = Path(os.environ["nnUNet_raw"]) / NUMBERS[kind], source.parent / NUMBERS[kind]
    target.mkdir()
    shutil.copy(source / "dataset_fingerprint.json", target)
    shutil.copy(raw / "dataset.json", target)
    shutil.copytree(raw / "labelsTr", target / "gt_segmentations")
    plans = json.loads((source / "nnUNetPlans.json").read_text()) | {"dataset_name": NUMBERS[kind]}
    write_json(target / "nnUNetPlans.json", plans)
    write_small_plans(target, PATCHES)
    manager = PlansManager(str(target / "nnUNetTopoSmallPlans.json"))
    dataset_json = json.loads((raw / "dataset.json").read_text())
    for name in PATCHES:
        configuration = manager.get_configuration(name)
        folder = target / configuration.data_identifier
        folder.mkdir()
        for label in sorted((raw / "labelsTr").iterdir()):
            case = label.name.removesuffix(".nii.gz")
            default_preprocessor.DefaultPreprocessor(verbose=False).run_case_save(
                str(folder / case), [str(raw / "imagesTr" / f"{case}_0000.nii.gz")], str(label), manager,
                configuration, dataset_json)


def _write(array: np.ndarray, path: Path) -> None:
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing((1.0, 1.0, 1.5))
    SimpleITK.WriteImage(image, str(path))
