"""One case of an evaluation: both files read, checked and measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_topo.homology.masks import Connectivity
from nnunet_topo.metrics.collection import all_metrics
from nnunet_topo.nnunet.evaluation.label_maps import Region, read_label_map, require_known_labels, require_same_grid


@dataclass(frozen=True)
class CaseTask:
    """All that a process needs to evaluate one case."""

    prediction: Path
    reference: Path
    reader: Any
    regions: tuple[Region, ...]
    ignore_label: int | None
    known_labels: frozenset[int] | None
    tolerances_mm: tuple[float, ...]
    connectivity: Connectivity = "foreground"


def evaluate_case(task: CaseTask) -> dict[str, Any]:
    """Read both files, check them, and compute all metrics of each label or region.

    Returns ``spacing`` of the axes that are left where a file is one slice, ``metrics``, and where there are any
    ``notes``, sentences on what a reader of the numbers should know.
    """
    prediction, reference = (read_label_map(file, task.reader) for file in (task.prediction, task.reference))
    spacing = require_same_grid(prediction, reference)
    if task.known_labels is not None:
        ignored = set() if task.ignore_label is None else {task.ignore_label}
        require_known_labels(reference, task.known_labels | ignored)
        require_known_labels(prediction, task.known_labels)
    ignore = None if task.ignore_label is None else reference.mask(task.ignore_label)
    metrics = {str(region): all_metrics(prediction.mask(region), reference.mask(region), spacing,
                                        tolerances_mm=task.tolerances_mm, ignore=ignore,
                                        connectivity=task.connectivity) for region in task.regions}
    record: dict[str, Any] = {"spacing": list(spacing), "metrics": metrics}
    unknown = [label_map.grid.spacing is None for label_map in (reference, prediction)]
    if unknown in ([True, False], [False, True]):
        without, other = ("reference", "prediction") if unknown[0] else ("prediction", "reference")
        record["notes"] = [f"The {without} has no spacing file; the spacing is that of the {other}."]
    return record
