"""What post-processing needs to know of a data set, from a trained model's dataset.json and plans.json."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_topo.nnunet.evaluation.folders import dataset_settings
from nnunet_topo.postprocessing.labels import LabelScheme
from nnunet_topo.schema import read_json


@dataclass(frozen=True)
class Dataset:
    """Labels or regions, and how label maps are read and written."""

    scheme: LabelScheme
    file_ending: str
    reader_writer: Any


def dataset_of(dataset_file: str | os.PathLike[str], plans_file: str | os.PathLike[str]) -> Dataset:
    """Read both files; ValueError in a sentence where they are missing or nnU-Net cannot use them."""
    contents = []
    for file, flag in ((Path(dataset_file), "-djfile"), (Path(plans_file), "-pfile")):
        if not file.is_file():
            raise ValueError(f"{file} does not exist. Name that of the trained model by {flag}.")
        contents.append(read_json(file))
    dataset, plans = contents
    try:
        settings = dataset_settings(plans, dataset)
    except Exception as error:  # nnU-Net checks by assertions and by what happens to fail
        raise ValueError(f"nnU-Net cannot use {dataset_file} with {plans_file} ({type(error).__name__}: {error}). Pass "
                         "the dataset.json and plans.json of one trained model's folder.") from error
    return Dataset(LabelScheme.of_dataset(settings, dataset), settings["file_ending"], settings["reader_writer"])
