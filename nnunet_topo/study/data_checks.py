"""Whether a study's images and label maps are what its runs need, looked at before the first training."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nnunet_topo.files import files_of, write_json
from nnunet_topo.nnunet.evaluation.folders import dataset_settings
from nnunet_topo.nnunet.raw_cases import RawCase, channels_of, processes_for, require_sound
from nnunet_topo.nnunet.training.lookup import preprocessed
from nnunet_topo.processes import Failure, outcomes
from nnunet_topo.schema import read_json

CHECKED = "nnunet_topo_checked_files.json"  # in the preprocessed data set: the files that were found to be sound
_SHOWN = 10  # cases at most in an error


def require_test_images(dataset: str) -> None:
    """The planned data set has test images, and a label map for each."""
    raw, content = _raw(dataset), _dataset_json(dataset)
    ending = content["file_ending"]
    for name in ("imagesTs", "labelsTs"):
        if not (raw / name).is_dir() or not files_of(raw / name, ""):
            raise ValueError(f"{dataset} has no {name}, so its runs could not be compared. Put test images into "
                             f"{raw / 'imagesTs'} and their labels into {raw / 'labelsTs'}.")
    images = channels_of(raw / "imagesTs", ending)
    labels = {file.name.removesuffix(ending) for file in files_of(raw / "labelsTs", ending)}
    if images.keys() != labels or not images:
        alone = sorted(images.keys() ^ labels)
        what = f"{len(alone)} case(s) alone, such as {alone[0]}" if alone else f"no {ending} files"
        raise ValueError(f"{raw / 'imagesTs'} and {raw / 'labelsTs'} have {what}, so the runs could not be evaluated. "
                         f"Each test image CASE_0000{ending} needs its label map CASE{ending}.")


def require_sound_cases(dataset: str, plans: Mapping[str, Any], *, remember: bool = True) -> None:
    """All images and label maps of the raw data set, test and training, can be read and used; else a ValueError.

    Files are read once: those that were sound are not read again while size and time stay the same, if ``remember``
    lets this be written into the preprocessed data set.
    """
    cases = _cases(dataset, plans)
    memory = preprocessed(dataset) / CHECKED
    stamps = {str(case.label): _stamp(case) for case in cases}
    known = _known(memory)
    todo = [case for case in cases if known.get(str(case.label)) != stamps[str(case.label)]]
    if not todo:
        return
    faults: list[str] = []
    processes = processes_for(file for case in todo for file in case.files())
    with tqdm(total=len(todo), desc=f"Checking images and labels of {dataset}", unit="case", leave=False) as bar:
        for index, outcome in outcomes(require_sound, todo, processes):
            if isinstance(outcome, Failure):
                faults.append(outcome.reason)
            else:
                known[str(todo[index].label)] = stamps[str(todo[index].label)]
            bar.update()
    if remember:
        with suppress(OSError):  # they are only read again
            write_json(memory, {label: stamp for label, stamp in known.items() if label in stamps})
    if faults:
        shown = sorted(faults)[:_SHOWN] + ([f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else [])
        raise ValueError(f"{len(faults)} of {len(cases)} case(s) of {dataset} cannot be used; correct them, preprocess "
                         "again where they are training cases, and start the study again:\n  " + "\n  ".join(shown))


def _cases(dataset: str, plans: Mapping[str, Any]) -> list[RawCase]:
    """The test cases, and those training cases that are still there."""
    raw, content = _raw(dataset), _dataset_json(dataset)
    settings = dataset_settings(dict(plans), content)
    labels = (*settings["known_labels"], settings["ignore_label"])
    known = frozenset(int(label) for label in labels if label is not None)
    pairs: list[tuple[Sequence[Path], Path]] = []
    for case in content.get("dataset", {}).values():  # nnU-Net's other way to name training cases
        named = [raw / os.path.expandvars(file) for file in (*case["images"], case["label"])]
        pairs.append((named[:-1], named[-1]))
    for part in ("Ts",) if "dataset" in content else ("Ts", "Tr"):
        images = channels_of(raw / f"images{part}", content["file_ending"])
        pairs += [([files[number] for number in sorted(files)],
                   raw / f"labels{part}" / f"{case}{content['file_ending']}") for case, files in images.items()]
    channels = len(content.get("channel_names", content.get("modality", [])))
    return [RawCase(tuple(images), label, settings["reader_writer"], channels, known) for images, label in pairs
            if all(file.is_file() for file in (*images, label))]


def _stamp(case: RawCase) -> list[Any]:
    """What decides the outcome: files with size and time, the reader, channels and labels."""
    files = [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in case.files()]
    return [type(case.reader).__name__, case.channels, sorted(case.known_labels), files]


def _known(memory: Path) -> dict[str, Any]:
    try:
        content = json.loads(memory.read_text())
    except (OSError, ValueError):  # there is none, or it is damaged
        return {}
    return content if isinstance(content, dict) else {}


def _raw(dataset: str) -> Path:
    return Path(os.environ["nnUNet_raw"]) / dataset


def _dataset_json(dataset: str) -> dict[str, Any]:
    return read_json(preprocessed(dataset) / "dataset.json")
