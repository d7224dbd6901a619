"""Several prediction folders side by side: means, differences and whether these are more than chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nnunet_topo.metrics.definitions import definition_of
from nnunet_topo.statistics import PairedTest, holm, mean, paired_test, spread

# What is tested; more metrics would cost power, since the p values are corrected for their number.
TESTED = ("dice", "cl_dice", "skeleton_covered_share", "nsd_", "hausdorff_95_mm", "betti_error_sum",
          "betti_matching_error_sum", "missed_components", "spurious_components")
LEVEL = 0.05

Summary = Mapping[str, Any]


class Cell(NamedTuple):
    """Mean and standard deviation of one folder, and its test against the first (None for the first itself).

    ``verdict`` is "better" or "worse" where the corrected p value is below the level, otherwise empty.
    """

    mean: float
    std: float
    test: PairedTest | None
    corrected: float
    verdict: str


class Comparison(NamedTuple):
    """A row for each metric with a cell for each folder, over the images that all folders have."""

    label: str | None
    images: int
    tests: int
    rows: list[tuple[str, list[Cell]]]


def require_same_connectivity(summaries: Mapping[Any, Summary]) -> None:
    """Raise ValueError where summaries, by their names, were made with different connectivities."""
    known: dict[str, tuple[Any, Any]] = {}
    for name, summary in summaries.items():
        for dimension, pairs in summary.get("settings", {}).get("connectivity", {}).items():
            first, before = known.setdefault(dimension, (name, pairs))
            for what, pair in pairs.items():
                if before.get(what) != pair:
                    raise ValueError(f"{what} of {name} were taken with {pair}, of {first} with {before.get(what)}; "
                                     "numbers of different connectivities are not compared. Evaluate all in the same "
                                     "way.")


def main_metrics(names: Sequence[str]) -> list[str]:
    """Of the metrics of a summary those that are shown first and tested, one tolerance of NSD among them."""
    chosen = []
    for wanted in TESTED:
        found = [name for name in names if name == wanted or (wanted.endswith("_") and name.startswith(wanted))]
        chosen += found[:1]
    return chosen


def value_of(case: Mapping[str, Any], metric: str, label: str | None) -> float:
    """A case's value for a label, or the mean over the labels in which it is a number."""
    if label is not None:
        return float(case["metrics"][label].get(metric, math.nan))
    values = [float(metrics.get(metric, math.nan)) for metrics in case["metrics"].values()]
    numbers = [value for value in values if not math.isnan(value)]
    return sum(numbers) / len(numbers) if numbers else math.nan


def compare(summaries: Mapping[str, Summary], label: str | None = None) -> Comparison:
    """Compare each folder with the first, for one label or the mean over labels; Holm's correction over all tests."""
    by_case = [{case["case"]: case for case in summary["metric_per_case"]} for summary in summaries.values()]
    cases = sorted(set.intersection(*(set(found) for found in by_case)))
    rows: list[tuple[str, list[Cell]]] = []
    for metric in main_metrics(list(next(iter(summaries.values()))["foreground_mean"])):
        values = [[value_of(found[case], metric, label) for case in cases] for found in by_case]
        tests = [None, *(paired_test(values[0], other) for other in values[1:])]
        rows.append((metric, [Cell(mean(numbers), spread(numbers), test, math.nan, "")
                              for numbers, test in zip(values, tests, strict=True)]))
    corrected = iter(holm([cell.test.p for _, cells in rows for cell in cells if cell.test]))
    done = [(metric, [_judged(metric, cell, next(corrected)) if cell.test else cell for cell in cells])
            for metric, cells in rows]
    tests_done = sum(not math.isnan(cell.corrected) for _, cells in done for cell in cells)
    return Comparison(label, len(cases), tests_done, done)


def _judged(metric: str, cell: Cell, corrected: float) -> Cell:
    definition = definition_of(metric)
    if cell.test is None or definition is None or not corrected < LEVEL:
        return cell._replace(corrected=corrected)
    better = (cell.test.difference > 0) == (definition.better == "higher")
    return cell._replace(corrected=corrected, verdict="better" if better else "worse")


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """A name for each folder: the last part of their paths in which all differ, or else the whole paths."""
    parts = [folder.resolve().parts[::-1] for folder in folders]
    for depth in range(min(map(len, parts))):
        names = [part[depth] for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]
