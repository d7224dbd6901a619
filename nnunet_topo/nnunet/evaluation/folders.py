"""Topology metrics of a folder of predicted label maps against their references, case by case."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunetv2.configuration import default_num_processes
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_topo import __version__
from nnunet_topo.files import files_of
from nnunet_topo.homology.masks import Connectivity, check_connectivity
from nnunet_topo.nnunet.evaluation.case import CaseTask, evaluate_case
from nnunet_topo.nnunet.evaluation.label_maps import Region
from nnunet_topo.nnunet.evaluation.summary import summarise, write_summary
from nnunet_topo.nnunet.reading import stamp_of
from nnunet_topo.records import recorded
from nnunet_topo.sources import code_fingerprint

__all__ = ["RECORDS", "CaseTask", "dataset_settings", "default_num_processes", "evaluate_case", "evaluate_folder",
           "metrics_code", "paired_files"]
RECORDS = "nnunet_topo_evaluation"


def evaluate_folder(
    *,
    predictions: str | os.PathLike[str],
    references: str | os.PathLike[str],
    output: str | os.PathLike[str],
    labels_or_regions: Sequence[Region],
    file_ending: str,
    reader_writer: Any,
    ignore_label: int | None = None,
    known_labels: Collection[int] | None = None,
    label_names: Mapping[str, str] | None = None,
    processes: int,
    chill: bool = False,
    only: Collection[str] | None = None,
    tolerances_mm: Sequence[float] = (1, 2),
    connectivity: Connectivity = "foreground",
) -> dict[str, Any]:
    """Evaluate each case, write ``summary_topology.json`` and ``.csv`` into ``output`` and return the former's content.

    Files are paired by name as nnU-Net does. A finished case is kept in ``output/nnunet_topo_evaluation`` and is not
    computed again while both files, all settings and the code of the metrics stay the same. A case that fails
    (unreadable or damaged, another grid, unknown labels, a crash) stands in the summary's ``"failed"`` with the reason
    and counts in no mean.

    Args:
        predictions: folder of predicted label maps; may hold other files too.
        references: folder of true label maps.
        output: folder of the results; made where needed.
        labels_or_regions: labels, or tuples of labels whose union is one mask.
        file_ending: of the label maps, with its dot.
        reader_writer: instance of one of nnU-Net's reader classes.
        ignore_label: voxels of this label in the reference are not evaluated.
        known_labels: labels that may occur, besides the ignore label in references; None allows all.
        label_names: names of labels or regions by ``str`` of them, for the summary.
        processes: cases evaluated at the same time, each in a process; 0: one after another in this process.
        chill: evaluate the predictions that exist where some are missing.
        only: names of the files to evaluate, as if the folders held no others; None: all.
        tolerances_mm: of the normalised surface Dice.
        connectivity: of Betti numbers, Betti matching and components, see :func:`.all_metrics`.

    Raises:
        ValueError: for folders that do not exist, hold no label map, or hold files that have no partner; settings that
            contradict each other.
        RuntimeError: where no case at all could be evaluated; nothing but finished cases is written then.
        OSError: where the output cannot be written.
    """
    regions = _checked_regions(labels_or_regions, ignore_label, known_labels)
    check_connectivity(connectivity)
    predictions, references = Path(predictions), Path(references)
    names, missing = paired_files(predictions, references, file_ending, chill=chill, only=only)
    settings: dict[str, Any] = {
        "metrics_code": metrics_code(),
        "labels_or_regions": [str(region) for region in regions],
        "ignore_label": ignore_label,
        "known_labels": None if known_labels is None else sorted(map(int, known_labels)),
        "tolerances_mm": [float(tolerance) for tolerance in tolerances_mm],
        "connected_across_corners": connectivity,
        "reader": type(reader_writer).__name__,
    }
    known = None if known_labels is None else frozenset(map(int, known_labels))
    tasks = {name.removesuffix(file_ending): CaseTask(predictions / name, references / name, reader_writer, regions,
                                                      ignore_label, known, tuple(tolerances_mm), connectivity)
             for name in names}
    stamps = {case: {**settings, "files": stamp_of([task.reference, task.prediction])} for case, task in tasks.items()}
    records, failed = recorded(evaluate_case, tasks, stamps, Path(output) / RECORDS, processes=processes,
                               doing="Evaluating")
    if not records:
        raise RuntimeError(f"None of the {len(tasks)} case(s) could be evaluated:\n" + "\n".join(
            f"{case}: {reason}" for case, reason in failed.items()))
    cases = [{"case": case, "reference_file": str(tasks[case].reference),
              "prediction_file": str(tasks[case].prediction), **records[case]} for case in tasks if case in records]
    settings |= {"version": __version__, "file_ending": file_ending}
    settings["label_names"] = dict(label_names or {})
    summary = summarise(cases, settings) | {"failed": failed, "missing_predictions": missing}
    write_summary(summary, Path(output))
    return summary


def metrics_code() -> str:
    """What stands in a summary's settings for the code that measured it; numbers of other code are not comparable."""
    return code_fingerprint(CaseTask.__module__)


def dataset_settings(plans: dict[str, Any], dataset: Mapping[str, Any]) -> dict[str, Any]:
    """What :func:`evaluate_folder` is told of a data set, from the contents of plans.json and dataset.json."""
    manager = PlansManager(plans)
    labels = manager.get_label_manager(dataset)
    regions = labels.foreground_regions if labels.has_regions else labels.foreground_labels
    names = {str(tuple(label) if isinstance(label, (list, tuple)) else label): name
             for name, label in dataset["labels"].items()}
    return {"labels_or_regions": regions, "ignore_label": labels.ignore_label, "known_labels": labels.all_labels,
            "file_ending": dataset["file_ending"], "reader_writer": manager.image_reader_writer_class(),
            "label_names": {str(region): names[str(region)] for region in regions if str(region) in names}}


def paired_files(
    predictions: Path, references: Path, ending: str, *, chill: bool = False, only: Collection[str] | None = None
) -> tuple[list[str], list[str]]:
    """The names that occur in both folders, and those without a prediction, which only ``chill`` allows."""
    given, expected = ({file.name for file in files_of(folder, ending) if only is None or file.name in only}
                       for folder in (predictions, references))
    for folder, files in ((references, expected), (predictions, given)):
        if not files:
            raise ValueError(f"The folder {folder} holds no file that ends in {ending}.")
    unknown, missing = sorted(given - expected), sorted(expected - given)
    if unknown:
        raise ValueError(f"{len(unknown)} of {len(given)} prediction(s) have no reference in {references}: "
                         f"{_listed(unknown)}. Add their references, or move these predictions away.")
    if missing and not chill:
        raise ValueError(f"{len(missing)} of {len(expected)} reference(s) have no prediction in {predictions}: "
                         f"{_listed(missing)}. Predict them, or pass --chill (chill=True) to leave them out.")
    return sorted(given), missing


def _checked_regions(
    labels_or_regions: Sequence[Region], ignore_label: int | None, known_labels: Collection[int] | None
) -> tuple[Region, ...]:
    regions = [tuple(map(int, region)) if isinstance(region, (tuple, list)) else int(region)
               for region in labels_or_regions]
    if not regions or () in regions:
        raise ValueError("There is nothing to evaluate: name at least one label, and no region without labels.")
    members = {label for region in regions for label in (region if isinstance(region, tuple) else (region,))}
    if ignore_label in members:
        raise ValueError(f"Label {ignore_label} is the ignore label and cannot be evaluated too; leave it out.")
    unknown = members - set(members if known_labels is None else known_labels)
    if unknown:
        raise ValueError(f"The label(s) {_listed(sorted(map(str, unknown)))} to evaluate are not in dataset.json.")
    return tuple(dict.fromkeys(regions))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
