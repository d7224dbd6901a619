"""Pictures of the cases of an evaluation, drawn from its summary in several processes."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_topo.files import files_of
from nnunet_topo.nnunet.evaluation.label_maps import Region, read_label_map, require_same_grid
from nnunet_topo.nnunet.reading import read_array, stamp_of
from nnunet_topo.records import recorded
from nnunet_topo.report.case_pictures import case_picture
from nnunet_topo.sources import code_fingerprint

PICTURES = "nnunet_topo_pictures"


@dataclass(frozen=True)
class PictureTask:
    """All that a process needs to draw one case: ``files`` has the picture of each label or region."""

    prediction: Path
    reference: Path
    reader: Any
    ignore_label: int | None
    files: tuple[tuple[Region, Path], ...]
    image: Path | None


def draw_pictures(
    summary: Mapping[str, Any],
    cases: Sequence[str],
    output: Path,
    *,
    reader_writer: Any,
    processes: int,
    images: Path | None = None,
) -> tuple[dict[str, dict[str, Path]], dict[str, str]]:
    """Draw the chosen cases of a summary into ``output/nnunet_topo_pictures``, a PNG for each label or region.

    Labels of which neither mask has anything are left out. Pictures of files that have not changed are kept.

    Args:
        summary: of :func:`nnunet_topo.nnunet.evaluation.folders.evaluate_folder`.
        cases: names of its cases.
        output: folder of the evaluation.
        reader_writer: instance of the reader class of nnU-Net that opens the label maps, and the images.
        processes: cases at the same time; 0: one after another in this process.
        images: folder of images named as nnU-Net does, of which the first channel is shown beneath.

    Returns:
        Pictures by case and label, and why others could not be drawn.
    """
    settings, folder = summary["settings"], output / PICTURES
    known = {case["case"]: case for case in summary["metric_per_case"]}
    tasks = {}
    for name in cases:
        if name in known:
            files = tuple((_region(key), folder / f"{name}__{_in_file_names(key)}.png")
                          for key in settings["labels_or_regions"])
            case = known[name]
            tasks[name] = PictureTask(Path(case["prediction_file"]), Path(case["reference_file"]), reader_writer,
                                      settings["ignore_label"], files, _image_of(name, images))
    done, failed = recorded(draw_case, tasks, {name: _stamp(task) for name, task in tasks.items()}, folder,
                            processes=processes, doing="Drawing",
                            whole=lambda drawn: all(Path(file).is_file() for file in drawn.values()))
    pictures = {name: {key: Path(file) for key, file in done[name].items()} for name in tasks if name in done}
    return pictures, failed


def draw_case(task: PictureTask) -> dict[str, str]:
    """Draw each label or region of one case; returns the file of each that there is something to see of."""
    prediction, reference = (read_label_map(file, task.reader) for file in (task.prediction, task.reference))
    spacing = require_same_grid(prediction, reference)
    valid = None if task.ignore_label is None else ~reference.mask(task.ignore_label)
    image = None if task.image is None else read_array([task.image], task.reader, "image")[0][0]
    drawn = {}
    for region, file in task.files:
        predicted, true = prediction.mask(region), reference.mask(region)
        if valid is not None:
            predicted, true = predicted & valid, true & valid
        if predicted.any() or true.any():
            case_picture(predicted, true, file, spacing=spacing, image=image)
            drawn[str(region)] = str(file)
    return drawn


def _image_of(case: str, folder: Path | None) -> Path | None:
    if folder is None:
        return None
    files = [file for file in files_of(folder, "") if file.name.startswith(f"{case}_0000.")]
    if not files:
        raise ValueError(f"The folder {folder} holds no image {case}_0000, which -images needs for each case.")
    return files[0]


def _region(key: str) -> Region:
    return ast.literal_eval(key)


def _in_file_names(key: str) -> str:
    """A label, or the labels of a region with hyphens."""
    region = _region(key)
    return "-".join(map(str, region)) if isinstance(region, tuple) else str(region)


def _stamp(task: PictureTask) -> list[Any]:
    files = [task.reference, task.prediction, *([task.image] if task.image else [])]
    return [code_fingerprint(__name__), task.ignore_label, [str(region) for region, _ in task.files],
            *stamp_of(files)]
