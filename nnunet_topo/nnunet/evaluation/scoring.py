"""Dice and Betti errors of a folder of predicted label maps, read as nnU-Net reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nnunet_topo.files import files_of
from nnunet_topo.homology import betti_numbers
from nnunet_topo.homology.masks import connectivity_in_words
from nnunet_topo.metrics import dice
from nnunet_topo.nnunet.evaluation.label_maps import read_label_map, require_same_grid


def reader_of(model: Path) -> Any:
    """The reader that a trained model's plans name."""
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    return PlansManager(str(model / "plans.json")).image_reader_writer_class()


def score_predictions(
    *, predictions: Path, references: Path, model: Path, labels: Sequence[int] = (1,)
) -> list[dict[str, Any]]:
    """One row for each case and label: Dice, Betti numbers of both masks, and their absolute differences.

    Args:
        predictions: folder of predicted label maps.
        references: folder of true label maps; each must have a prediction of the same name.
        model: the trained model's folder, whose dataset.json and plans.json say how files are read.
        labels: label values to score.

    Raises:
        ValueError: a file that cannot be read or is damaged, or lies on another grid than its partner.
        FileNotFoundError: a reference has no prediction.
    """
    ending = json.loads((model / "dataset.json").read_text())["file_ending"]
    reader = reader_of(model)
    files = files_of(references, ending)
    missing = [file.name for file in files if not (predictions / file.name).exists()]
    if missing:
        raise FileNotFoundError(f"{predictions} lacks predictions of {len(missing)} case(s), e.g. {missing[0]}. "
                                "Predict all cases of the reference folder first.")
    rows = []
    for file in tqdm(files, desc=f"Scoring {predictions.name}"):
        truth, prediction = read_label_map(file, reader), read_label_map(predictions / file.name, reader)
        require_same_grid(prediction, truth)
        for label in labels:
            rows.append({"case": file.name.removesuffix(ending), "label": label}
                        | _scores(prediction.mask(label), truth.mask(label)))
    return rows


def _scores(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> dict[str, Any]:
    predicted, true = betti_numbers(prediction), betti_numbers(reference)
    errors = [abs(p - t) for p, t in zip(predicted, true, strict=True)]
    return {"dice": dice(prediction, reference)} \
        | {f"b{k}": number for k, number in enumerate(predicted)} \
        | {f"b{k}_reference": number for k, number in enumerate(true)} \
        | {f"b{k}_error": error for k, error in enumerate(errors)}


def mean_table(rows_of: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """A Markdown table, a row for each name: mean Dice and mean Betti errors over its cases."""
    dimension = max(sum(name.endswith("_error") for name in row) for rows in rows_of.values() for row in rows)
    columns = ["dice", *(f"b{k}_error" for k in range(dimension))]
    lines = ["| | cases | Dice | " + " | ".join(f"Betti error {k}" for k in range(dimension)) + " |",
             "|---" * (3 + dimension) + "|"]
    for name, rows in rows_of.items():
        means = [float(np.nanmean([row.get(column, np.nan) for row in rows])) for column in columns]
        lines.append(f"| {name} | {len(rows)} | {means[0]:.3f} | " + " | ".join(f"{m:.2f}" for m in means[1:]) + " |")
    return "\n".join(lines) + f"\n\nBetti numbers at connectivity {connectivity_in_words(dimension)}."
