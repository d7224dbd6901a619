"""Means, spread, files and a printed table of an evaluation."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_topo.files import written_at_once
from nnunet_topo.homology.masks import Connectivity, connectivity_in_words
from nnunet_topo.statistics import count, mean, spread

SUMMARIES = ("summary_topology.json", "summary_topology.csv")
WORST_FIRST = "sum of the Betti matching errors of all dimensions and labels, then mean Dice"
_COLUMNS = 4  # of the printed table, beyond which only the mean over labels is shown


def summarise(cases: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The content of ``summary_topology.json``, in the shape of nnU-Net's ``summary.json``, worst cases first.

    ``mean`` and ``std`` (n - 1 in the denominator) of each label go over the cases in which the metric is a number;
    ``count`` says how many these are. Infinite values are kept, so that one makes the mean infinite. As in nnU-Net,
    ``foreground_mean`` is the plain mean over labels other than 0, not a number as soon as one of them is not.

    Where cases of one slice, which are 2D, stand among volumes, their areas in mm2 do not count in means of volumes in
    mm3, nor have they cavities; ``notes`` says so, and what else there is to say of several cases.
    """
    keys = list(settings["labels_or_regions"])
    volumes_first = sorted(cases, key=lambda case: -len(case["spacing"]))  # so that all metrics stand in their order
    metrics = list(dict.fromkeys(name for case in volumes_first for values in case["metrics"].values()
                                 for name in values))
    axes = len(volumes_first[0]["spacing"])

    def over_cases(function: Callable[[Sequence[float]], float]) -> dict[str, dict[str, float]]:
        return {key: {name: function([case["metrics"][key].get(name, math.nan) for case in cases
                                               if len(case["spacing"]) == axes or not name.endswith("_mm3")])
                      for name in metrics} for key in keys}

    means = over_cases(mean)
    foreground = [key for key in keys if key != "0"]
    dimensions = sorted({len(case["spacing"]) for case in cases})
    side = settings.get("connected_across_corners", "foreground")
    return {
        "foreground_mean": {name: float(np.mean([means[key][name] for key in foreground])) if foreground else math.nan
                            for name in metrics},
        "mean": means,
        "std": over_cases(spread),
        "count": over_cases(count),
        "settings": {**settings, "connectivity": {f"{axes}D": _connectivity(axes, side) for axes in dimensions},
                     "order_of_cases": WORST_FIRST},
        "notes": _notes(cases, axes),
        "metric_per_case": sorted(({**case, "topology_errors": topology_errors(case)} for case in cases), key=_badness),
    }


def _connectivity(axes: int, side: Connectivity) -> dict[str, str]:
    pair = connectivity_in_words(axes, side)
    return {"Betti numbers, components": pair,
            "Betti matching": pair + (", published form" if side == "background" else "")}


def _notes(cases: Sequence[Mapping[str, Any]], axes: int) -> list[str]:
    notes = [note for case in cases for note in case.get("notes", ())]
    sentences = [f"{note} ({notes.count(note)} of {len(cases)} cases)" for note in dict.fromkeys(notes)]
    flat = sum(len(case["spacing"]) < axes for case in cases)
    if flat:
        sentences.append(f"{flat} of {len(cases)} cases are one slice and are measured in 2D, so that their areas "
                         "are in no mean of volumes, and they have no cavities.")
    return sentences


def topology_errors(case: Mapping[str, Any]) -> int:
    """Sum of the Betti matching errors of all dimensions and labels of a case."""
    return sum(values["betti_matching_error_sum"] for values in case["metrics"].values())


def write_summary(summary: Mapping[str, Any], folder: Path) -> None:
    """Write ``summary_topology.json`` and ``.csv`` (a row for each case and label), both or none.

    As in nnU-Net's ``summary.json``, what is not a number or infinite is written as NaN and Infinity, which Python
    reads but strict JSON does not have; in the CSV as NaN and Inf.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = summary["settings"]["label_names"]
    metrics = list(summary["foreground_mean"])
    with (
        written_at_once(folder / SUMMARIES[0]) as json_file,
        written_at_once(folder / SUMMARIES[1]) as csv_file,
    ):
        json_file.write_text(json.dumps(summary, indent=4) + "\n", encoding="utf-8")
        with csv_file.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["case", "label", "name", *metrics])
            for case in summary["metric_per_case"]:
                for key, values in case["metrics"].items():
                    row = [_csv(values.get(metric, math.nan)) for metric in metrics]
                    writer.writerow([case["case"], key, names.get(key, ""), *row])


def table(summary: Mapping[str, Any], worst: int = 5) -> str:
    """Mean ± standard deviation of each metric and label, the worst cases, and how to read them, as text."""
    cases, settings = summary["metric_per_case"], summary["settings"]
    keys = settings["labels_or_regions"]
    shown = keys if len(keys) <= _COLUMNS else []
    heads = [f"{key} {settings['label_names'].get(key, '')}".strip() for key in shown]
    rows = [[f"mean ± std of {len(cases)} case(s)", *heads, *(["foreground mean"] if len(keys) > 1 else [])]]
    for metric, foreground in summary["foreground_mean"].items():
        numbers = [[summary[part][key][metric] for part in ("mean", "std", "count")] for key in shown]
        cells = [_cell(average, deviation, cases_with, len(cases)) for average, deviation, cases_with in numbers]
        rows.append([metric, *cells, *([f"{foreground:.4g}"] if len(keys) > 1 else [])])
    lines = _aligned(rows)
    notes = [note for sign, note in (
        ("(", "(n): only n cases have a value; the others are left out of the mean."),
        ("inf", "inf: in at least one case only one of the masks is empty, so that no distance can be given."),
    ) if any(sign in cell for row in rows[1:] for cell in row)]
    absent = [key for key in keys if not summary["count"][key]["dice"]]
    if absent:
        notes.append(f"Empty in all files: {', '.join(absent)}.")
    lines += [""] * bool(notes) + notes
    lines += ["" if shown else f"\nThe means of {len(keys)} labels stand in summary_topology.json.",
              f"Worst cases, by the {WORST_FIRST}:"]
    lines += _aligned([["case", "errors", "Dice"], *([case["case"], str(case["topology_errors"]),
                                                      f"{_mean_dice(case):.4g}"] for case in cases[:worst])])
    lines += ["", *(f"Connectivity in {dimension} of {what}: {pair}." for dimension, pairs
                    in settings["connectivity"].items() for what, pair in pairs.items())]
    if all(size == 1 for case in cases for size in case["spacing"]):
        lines.append("All spacings are 1: where the files hold none (PNG, BMP, TIFF), mm are in fact pixels.")
    lines += [*[""] * bool(summary["notes"]), *summary["notes"]]
    return "\n".join(lines)


def _badness(case: Mapping[str, Any]) -> tuple[int, float, str]:
    mean_dice = _mean_dice(case)
    return -case["topology_errors"], math.inf if math.isnan(mean_dice) else mean_dice, case["case"]


def _mean_dice(case: Mapping[str, Any]) -> float:
    return mean([values.get("dice", math.nan) for values in case["metrics"].values()])


def _csv(value: float) -> str:
    return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Inf" if math.isinf(value) else repr(value)


def _cell(mean: float, std: float, count: int, cases: int) -> str:
    spread = "" if math.isnan(std) else f" ± {std:.3g}"
    return f"{mean:.4g}{spread}" + (f" ({count})" if count < cases else "")


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in
                                                  zip(row[1:], widths[1:], strict=True))]).rstrip() for row in rows]
