"""The pictures and the page of ``nnUNetv2_topo_find_postprocessing --report``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from nnunet_topo.files import unfinished_folder
from nnunet_topo.nnunet.evaluation.label_maps import read_label_map, require_same_grid
from nnunet_topo.postprocessing import LabelScheme, Postprocessing
from nnunet_topo.postprocessing.application import postprocessed
from nnunet_topo.postprocessing.trials import npz_of
from nnunet_topo.processes import Failure, outcomes
from nnunet_topo.report import postprocessing_figure
from nnunet_topo.report.postprocessing_page import write_postprocessing_page


@dataclass(frozen=True)
class _Task:
    """All that a process needs to draw some labels or regions, by their places, of one case."""

    case: str
    prediction: Path
    reference: Path
    reader: Any
    scheme: LabelScheme
    settings: Postprocessing
    places: tuple[int, ...]
    folder: Path


def write_report(
    path: Path, settings: Postprocessing, predictions: Sequence[Path], references: Path, *, scheme: LabelScheme,
    file_ending: str, reader_writer: Any, processes: int, pictures: int,
) -> dict[str, str]:
    """Draw the worst images of each label or region, as many as ``pictures``, and write the page.

    Returns why others could not be drawn.
    """
    assert settings.chosen is not None
    worst: dict[str, list[str]] = {}
    for name in scheme.names:
        images = settings.chosen["regions"][name]["images"]
        changing = [case for case in images if images[case]["post_processed"] != images[case]["predicted"]]
        worst[name] = sorted(changing, key=lambda case, images=images: -images[case]["predicted"]["error"])[:pictures]  # type: ignore[misc]
    with unfinished_folder(path.parent) as folder:
        tasks = []
        for case in sorted(set().union(*worst.values())):
            places = tuple(place for place, name in enumerate(scheme.names) if case in worst[name])
            file = next(found for parent in predictions if (found := parent / f"{case}{file_ending}").is_file())
            tasks.append(_Task(case, file, references / file.name, reader_writer, scheme, settings, places, folder))
        failed = {}
        for index, outcome in tqdm(outcomes(_draw, tasks, processes), total=len(tasks), desc="Drawing", unit="case"):
            if isinstance(outcome, Failure):
                failed[tasks[index].case] = outcome.reason
        drawn = {name: {case: _picture(folder, case, place) for case in worst[name] if case not in failed}
                 for place, name in enumerate(scheme.names)}
        words = {name: operations.in_words(settings.axes)
                 for name, operations in zip(scheme.names, settings.operations, strict=True)}
        write_postprocessing_page(path, settings.chosen, words, drawn, failed)
    return failed


def _picture(folder: Path, case: str, place: int) -> Path:
    return folder / f"{case}_{place}.png"


def _draw(task: _Task) -> None:
    reference, prediction = (read_label_map(file, task.reader) for file in (task.reference, task.prediction))
    spacing = require_same_grid(reference, prediction)
    labels = postprocessed(prediction, npz_of(task.prediction, task.case), task.scheme, task.settings)
    valid = np.True_ if task.scheme.ignore_label is None else ~reference.mask(task.scheme.ignore_label)
    for place in task.places:
        before, after, true = (task.scheme.mask(values, place) & valid
                               for values in (prediction.labels, labels, reference.labels))
        postprocessing_figure(before, after, true, _picture(task.folder, task.case, place), spacing=spacing)
