"""Folders of label maps for the tests of nnUNetv2_topo_evaluate, and its calls."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from training import LABELS, label_map

from nnunet_topo.commands.evaluate import main
from nnunet_topo.files import write_json
from nnunet_topo.nnunet.evaluation.folders import evaluate_folder

SPACING = (1.5, 1.0, 0.5)  # of the axes of the arrays


def write(array: np.ndarray, file: Path, spacing=SPACING, origin=None, direction=None) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(tuple(spacing[-array.ndim :])[::-1])
    image.SetOrigin(origin or (0.0,) * array.ndim)
    if direction is not None:
        image.SetDirection(direction)
    SimpleITK.WriteImage(image, str(file), True)


def damaged(labels: np.ndarray, seed: int) -> np.ndarray:
    """The branch is cut ``seed`` times, and one voxel of each label stands alone."""
    prediction = labels.copy()
    for cut in range(seed):
        prediction[:, :, 32 + 3 * cut] = 0
    prediction[0, 0, 0], prediction[19, 39, 0] = 1, 2
    return prediction


def three_cases(folder: Path) -> tuple[Path, Path]:
    """Folders of references, each a bar (label 1) with a branch (label 2), and of their damaged predictions."""
    for seed in range(3):
        labels = label_map(seed)
        write(labels, folder / "true" / f"tiny_{seed}.nii.gz")
        write(damaged(labels, seed), folder / "predicted" / f"tiny_{seed}.nii.gz")
    return folder / "true", folder / "predicted"


def evaluate(folders: tuple[Path, Path], output: Path, **options) -> dict:
    settings = {"labels_or_regions": (1, 2), "file_ending": ".nii.gz", "reader_writer": SimpleITKIO(), "processes": 0}
    return evaluate_folder(references=folders[0], predictions=folders[1], output=output, **(settings | options))


def by_case(summary: dict) -> dict[str, dict]:
    return {case["case"]: case for case in summary["metric_per_case"]}


def dataset_files(folder: Path, kind: str, reader: str = "SimpleITKIO", ending: str = ".nii.gz") -> list[str]:
    write_json(folder / "dataset.json", {"channel_names": {"0": "synthetic"}, "numTraining": 3, "file_ending": ending,
                                         **LABELS[kind]})
    write_json(folder / "plans.json", {"image_reader_writer": reader, "label_manager": "LabelManager"})
    return ["-djfile", str(folder / "dataset.json"), "-pfile", str(folder / "plans.json")]


def command(folders: tuple[Path, Path], *arguments: str) -> int:
    return main([*map(str, folders), "-np", "0", *arguments])
