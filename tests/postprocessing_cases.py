"""Predictions with probabilities for the tests of post-processing: folders as nnU-Net writes them."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
from scipy import ndimage

from nnunet_topo.files import write_json
from nnunet_topo.postprocessing import LabelScheme, Operations, Postprocessing

DATASETS = {
    "one": {"labels": {"background": 0, "vessel": 1}},
    "four": {"labels": {"background": 0, "artery": 1, "vein": 2, "bone": 3, "nerve": 4}},
    "regions": {"labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3},
                "regions_class_order": [1, 2, 3]},
    "ignore": {"labels": {"background": 0, "vessel": 1, "ignore": 2}},
}


def scheme_of(kind: str) -> LabelScheme:
    dataset = DATASETS[kind]
    labels = {name: value for name, value in dataset["labels"].items() if name not in ("background", "ignore")}
    regions = [tuple(value) if isinstance(value, list) else value for value in labels.values()]
    known = {0, *(label for region in regions for label in (region if isinstance(region, tuple) else (region,)))}
    settings = {"labels_or_regions": regions, "known_labels": known, "ignore_label": dataset["labels"].get("ignore"),
                "label_names": {str(region): name for region, name in zip(regions, labels, strict=True)}}
    return LabelScheme.of_dataset(settings, dataset)


def settings_of(kind: str, axes: int, *operations: Operations) -> Postprocessing:
    scheme = scheme_of(kind)
    operations += (operations[-1],) * (len(scheme.names) - len(operations))
    return Postprocessing(axes, scheme.names, scheme.regions, operations)


def random_probabilities(kind: str, shape: tuple[int, ...], seed: int, smooth: float = 1.0) -> np.ndarray:
    """(channels, *shape) float32: softmax of labels, or independent regions that mostly lie in each other."""
    rng = np.random.default_rng(seed)
    scheme = scheme_of(kind)
    logits = ndimage.gaussian_filter(rng.normal(size=(scheme.channel_count, *shape)), (0, *[smooth] * len(shape)))
    logits *= 3 / logits.std()
    if scheme.has_regions:
        logits = np.cumsum(np.abs(logits), 0)[::-1] * 0.7 - 3
        return (1 / (1 + np.exp(-logits))).astype(np.float32)
    logits[0] += 1
    return (np.exp(logits) / np.exp(logits).sum(0)).astype(np.float32)


def labels_of(kind: str, probabilities: np.ndarray) -> np.ndarray:
    """As nnU-Net makes them."""
    scheme = scheme_of(kind)
    if not scheme.has_regions:
        return probabilities.argmax(0).astype(np.uint8)
    labels = np.zeros(probabilities.shape[1:], np.uint8)
    for channel, label in zip(probabilities, scheme.painted, strict=True):
        labels[channel > 0.5] = label
    return labels


def write_case(folder: Path, case: str, probabilities: np.ndarray, labels: np.ndarray, write, spacing) -> None:
    """``CASE.ending`` by ``write(labels, folder, case)``, and ``CASE.npz`` and ``CASE.pkl``."""
    folder.mkdir(parents=True, exist_ok=True)
    write(labels, folder, case)
    if probabilities.ndim == 3:
        probabilities = probabilities[:, None]
    np.savez_compressed(folder / f"{case}.npz", probabilities=probabilities)
    properties = {"spacing": list(spacing), "shape_before_cropping": probabilities.shape[1:],
                  "sitk_stuff": {"origin": np.zeros(3)}}
    (folder / f"{case}.pkl").write_bytes(pickle.dumps(properties))


def model_files(folder: Path, kind: str, reader: str = "SimpleITKIO", ending: str = ".nii.gz") -> list[str]:
    """dataset.json and plans.json, and the flags that name them."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "dataset.json", {"channel_names": {"0": "synthetic"}, "numTraining": 3, "file_ending": ending,
                                         **DATASETS[kind]})
    write_json(folder / "plans.json", {"image_reader_writer": reader, "label_manager": "LabelManager"})
    return ["-djfile", str(folder / "dataset.json"), "-pfile", str(folder / "plans.json")]
