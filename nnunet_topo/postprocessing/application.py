"""Post-processing of a folder of predicted label maps, case by case, resumed where it was stopped."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from nnunet_topo import __version__
from nnunet_topo.disk import writing
from nnunet_topo.files import files_of, require_written, unfinished_folder, write_json
from nnunet_topo.nnunet.evaluation.label_maps import LabelMap, read_label_map, require_known_labels
from nnunet_topo.nnunet.reading import stamp_of
from nnunet_topo.postprocessing.label_maps import postprocess_labels
from nnunet_topo.postprocessing.labels import LabelScheme
from nnunet_topo.postprocessing.probabilities import read_probabilities, require_channels
from nnunet_topo.postprocessing.settings import UNITS, Postprocessing, write_postprocessing
from nnunet_topo.processes import Failure, outcomes

RECORDS = "nnunet_topo_postprocessing"
SETTINGS = "postprocessing.json"


@dataclass(frozen=True)
class ApplyTask:
    """All that a process needs to post-process one case."""

    case: str
    label_map: Path
    probabilities: Path
    output: Path
    reader: Any
    scheme: LabelScheme
    settings: Postprocessing
    stamp: Mapping[str, Any]

    @property
    def record(self) -> Path:
        return self.output / RECORDS / f"{self.case}.json"

    @property
    def result(self) -> Path:
        return self.output / self.label_map.name


def apply_postprocessing(
    input_folder: str | os.PathLike[str],
    output_folder: str | os.PathLike[str],
    settings: Postprocessing,
    *,
    scheme: LabelScheme,
    file_ending: str,
    reader_writer: Any,
    processes: int,
) -> dict[str, Any]:
    """Post-process every label map of a folder and write the results under the same names into another.

    Headers are kept. Probabilities are read, from ``CASE.npz`` beside the label map, only where the settings look at
    them. What is written are the label maps, ``postprocessing.json`` with the settings, and a record of each case in
    ``nnunet_topo_postprocessing``, by which a case is not worked on again while its files and the settings stay the
    same. A case that fails is not written.

    Args:
        input_folder: predicted label maps.
        output_folder: another folder; made where needed.
        settings: for the labels of ``scheme``.
        scheme: labels or regions of the data set.
        file_ending: of the label maps, with its dot.
        reader_writer: instance of one of nnU-Net's reader classes.
        processes: cases worked on at the same time, each in a process; 0: one after another in this process.

    Returns:
        ``"cases"``: for each case that is there now, how many voxels each label or region lost and gained;
        ``"failed"``: the reasons of the others.

    Raises:
        ValueError: before anything is written, for folders, settings, or files of probabilities that cannot be used.
    """
    source, output = Path(input_folder), Path(output_folder)
    files = _checked_files(source, output, settings, scheme, file_ending)
    content = settings.content()
    content.pop("chosen", None)  # changes nothing
    tasks = []
    for file in files:
        case = file.name.removesuffix(file_ending)
        probabilities = file.with_name(f"{case}.npz")
        stamp = {"version": __version__, "settings": content, "reader": type(reader_writer).__name__,
                 "files": stamp_of([file, *([probabilities] if settings.needs_probabilities else [])])}
        tasks.append(ApplyTask(case, file, probabilities, output, reader_writer, scheme, settings, stamp))
    foreign = [task.result.name for task in tasks if task.result.exists() and not task.record.exists()]
    if foreign:
        raise ValueError(f"{output} holds label maps that this command did not write, e.g. {foreign[0]}. Choose "
                         "another output folder, or move them away.")
    for folder in (output, output / RECORDS):
        if folder.is_dir():
            with unfinished_folder(folder):  # removes what a process that was killed had not finished
                pass
    cases, failed = {}, {}
    for task in tasks:
        record = _known_record(task)
        if record is not None:
            cases[task.case] = record
    todo = [task for task in tasks if task.case not in cases]
    with tqdm(total=len(tasks), initial=len(cases), desc="Post-processing", unit="case") as bar:
        for index, outcome in outcomes(_apply, todo, processes):
            if isinstance(outcome, Failure):
                failed[todo[index].case] = outcome.reason
            else:
                cases[todo[index].case] = outcome
            bar.update()
    if cases:
        write_postprocessing(output / SETTINGS, settings)
    else:
        for folder in (output / RECORDS, output):
            with suppress(OSError):  # it is not there, or not empty
                folder.rmdir()
    return {"cases": dict(sorted(cases.items())), "failed": dict(sorted(failed.items()))}


def _checked_files(
    source: Path, output: Path, settings: Postprocessing, scheme: LabelScheme, ending: str
) -> list[Path]:
    """The label maps of a folder, after all checks that need not read them."""
    settings.require_labels(scheme, "The settings file")
    files = files_of(source, ending)
    if not files:
        raise ValueError(f"The folder {source} holds no file that ends in {ending}.")
    if output.resolve() == source.resolve():
        raise ValueError(f"Input and output are the same folder, {source}. The predictions would be overwritten; "
                         "choose another output folder.")
    if output.exists() and not output.is_dir():
        raise ValueError(f"The output {output} is a file; name a folder.")
    if settings.needs_probabilities:
        probabilities = [file.with_name(file.name.removesuffix(ending) + ".npz") for file in files]
        missing = [file.name for file in probabilities if not file.is_file()]
        if missing:
            raise ValueError(
                f"{len(missing)} of {len(files)} case(s) in {source} have no probabilities, e.g. {missing[0]}, but "
                "these settings look at them (gaps or peaks). Predict with --save_probabilities (validate with --npz, "
                "ensemble with --save_npz), or use settings without gaps and peaks.")
        for file in probabilities:
            require_channels(file, scheme.channel_count)
    return files


def _apply(task: ApplyTask) -> dict[str, Any]:
    """Read, post-process and write one case; the counts of voxels that changed."""
    label_map = read_label_map(task.label_map, task.reader)
    labels = postprocessed(label_map, task.probabilities, task.scheme, task.settings)
    changed = label_map.labels != labels
    masks = [[task.scheme.mask(values[changed], index) for values in (label_map.labels, labels)]
             for index in range(len(task.scheme.names))]
    counts = {name: {"lost": int(np.count_nonzero(before & ~after)), "gained": int(np.count_nonzero(after & ~before))}
              for name, (before, after) in zip(task.scheme.names, masks, strict=True)}
    # Writers put further files beside some formats. They are all written into a folder of their own, then moved, the
    # label map last; before it moves, no older one is there, so that record and label map always belong together.
    task.record.parent.mkdir(parents=True, exist_ok=True)
    with unfinished_folder(task.output) as folder:
        written = folder / task.label_map.name
        with redirect_stdout(io.StringIO()):  # readers print
            array, properties = task.reader.read_seg(str(task.label_map))
            with writing(task.result):
                task.reader.write_seg(labels.reshape(array.shape[1:]), str(written), properties)
                require_written(written, task.result)
        task.result.unlink(missing_ok=True)
        write_json(task.record, {"stamp": task.stamp, "voxels": counts})
        for file in sorted(folder.iterdir(), key=lambda file: file == written):
            os.replace(file, task.output / file.name)
    return counts


def postprocessed(
    label_map: LabelMap, probabilities: Path, scheme: LabelScheme, settings: Postprocessing
) -> Any:
    """The labels of a case after post-processing; reads its probabilities where the settings need them."""
    if label_map.labels.ndim != settings.axes:
        raise ValueError(f"{label_map.file} has {label_map.labels.ndim} axes, but the settings are for "
                         f"{settings.axes}, with sizes in {UNITS[settings.axes]}.")
    ignored = set() if scheme.ignore_label is None else {scheme.ignore_label}
    require_known_labels(label_map, scheme.known | ignored)
    case = None
    if settings.needs_probabilities:
        wanted = [index for index, chosen in enumerate(settings.operations) if chosen.needs_probabilities]
        case = read_probabilities(probabilities, label_map.file, label_map.labels, scheme, wanted, label_map.spacing)
    return postprocess_labels(label_map.labels, label_map.spacing, scheme, settings.operations, case)


def _known_record(task: ApplyTask) -> dict[str, Any] | None:
    """The counts of a case that is there already, from the same files with the same settings."""
    try:
        content = json.loads(task.record.read_text())
        same = content["stamp"] == json.loads(json.dumps(task.stamp)) and task.result.is_file()
        return content["voxels"] if same else None
    except (OSError, ValueError, TypeError, KeyError):
        return None
