"""The report of evaluations: one HTML file with everything in it, which opens from the disk and asks no network."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from nnunet_topo import __version__
from nnunet_topo.files import written_at_once
from nnunet_topo.metrics.definitions import INTRODUCTION, definitions_at, title_of
from nnunet_topo.report.comparison import (
    LEVEL,
    Summary,
    compare,
    main_metrics,
    require_same_connectivity,
    value_of,
)
from nnunet_topo.report.formatting import COLOURS, attribute, formatted, page_environment, part_of_page
from nnunet_topo.report.strip_plot import strip_plot

Pictures = Mapping[str, Mapping[str, Mapping[str, Path]]]


def write_evaluation_page(
    path: str | os.PathLike[str],
    summaries: Mapping[str, Summary],
    pictures: Pictures | None = None,
    pictures_failed: Mapping[str, str] | None = None,
) -> None:
    """Write the report of one or several prediction folders, evaluated with the same settings.

    Args:
        path: of the HTML file, which appears only when it is complete.
        summaries: name of a folder -> content of its ``summary_topology.json``; others are compared with the first.
        pictures: name of the folder -> case -> label -> PNG, which is put into the page.
        pictures_failed: what could not be drawn -> why.

    Raises:
        ValueError: no summary, or summaries of different labels or settings.
        OSError: a picture or the page cannot be read or written.
    """
    _require_same_settings(summaries)
    content = _content(summaries, pictures or {}, pictures_failed or {})
    with written_at_once(path) as temporary:
        page_environment().get_template("report.html").stream(content).dump(str(temporary), encoding="utf-8")


def _require_same_settings(summaries: Mapping[str, Summary]) -> None:
    if not summaries:
        raise ValueError("There is nothing to report: give at least one evaluated folder.")
    first = next(iter(summaries.values()))
    for name, summary in summaries.items():
        for key in ("labels_or_regions", "ignore_label", "tolerances_mm"):
            if summary["settings"][key] != first["settings"][key]:
                raise ValueError(f"{name} was evaluated with {key} {summary['settings'][key]}, the first folder with "
                                 f"{first['settings'][key]}; evaluate all in the same way to compare them.")


    require_same_connectivity(summaries)


def _content(summaries: Mapping[str, Summary], pictures: Pictures, failed: Mapping[str, str]) -> dict[str, Any]:
    """All that the template shows."""
    first_name, first = next(iter(summaries.items()))
    settings = first["settings"]
    labels = {key: _label(key, settings["label_names"]) for key in settings["labels_or_regions"]}
    metrics = list(first["foreground_mean"])
    main = main_metrics(metrics)
    order = dict.fromkeys(case["case"] for summary in summaries.values() for case in summary["metric_per_case"])
    anchors = {case: f"case-{number}" for number, case in enumerate(order, start=1)}
    rows = _rows(summaries)
    drawn = sum(any(case in found for found in pictures.values()) for case in order)
    comparisons = [compare(summaries, label) for label in (None, *(labels if len(labels) > 1 else ()))] \
        if len(summaries) > 1 else []
    return {
        "title": first_name, "version": settings.get("version", __version__), "number_of_cases": len(order),
        "labels": labels, "metrics": metrics, "main": main, "anchors": anchors, "rows": rows,
        "reference_folder": Path(first["metric_per_case"][0]["reference_file"]).parent,
        "folders": [_folder(name, summary) for name, summary in summaries.items()],
        "notes": list(dict.fromkeys(note for summary in summaries.values() for note in summary.get("notes", ()))),
        "unit_spacing": all(size == 1 for case in first["metric_per_case"] for size in case["spacing"]),
        "tiles": [{"title": title_of(name), "metric": name, "value": first["foreground_mean"][name],
                   "hint": "one mask is empty somewhere" if math.isinf(first["foreground_mean"][name])
                   else f"{attribute(name, 'better')} is better"} for name in main],
        "comparisons": [{**comparison._asdict(), "label_name": labels.get(comparison.label or "", "")}
                        for comparison in comparisons],
        "columns": {1: min(len(labels), 2), 2: 2, 4: 2}.get(len(summaries), 3),
        "level": LEVEL, "colours": COLOURS, "plots": _plots(summaries, labels, main, anchors),
        "order": settings["order_of_cases"],
        "cases": _cases(list(order), rows, labels, pictures), "pictures_failed": dict(failed),
        "picture_note": _picture_note(drawn, len(order), settings), "introduction": INTRODUCTION,
        "connectivity": settings["connectivity"],
        "definitions": definitions_at(settings.get("connected_across_corners", "foreground")),
        "css": part_of_page("report.css"),
        "js": part_of_page("report.js"),
    }


def _picture_note(drawn: int, cases: int, settings: Mapping[str, Any]) -> str:
    if not drawn:
        return "No picture was drawn."
    note = "" if drawn == cases else f"Of {drawn} of the {cases} cases, the worst ones (--pictures)."
    if settings.get("connected_across_corners") == "background":  # centrelines are of that foreground in any case
        note += " In the pictures the foreground is 8-connected in 2D and 26-connected in 3D all the same."
    return note.strip()


def _label(key: str, names: Mapping[str, str]) -> str:
    return f"{names[key]} ({key.strip('(),')})" if key in names else key


def _folder(name: str, summary: Summary) -> dict[str, Any]:
    parts = {key: summary[key] for key in ("failed", "mean", "std", "count", "foreground_mean")}
    return parts | {"name": name, "missing": summary["missing_predictions"], "cases": len(summary["metric_per_case"])}


def _rows(summaries: Mapping[str, Summary]) -> list[dict[str, Any]]:
    """A row for each case, label and folder."""
    return [
        {"name": case["case"], "folder": folder, "key": key, "errors": case["topology_errors"],
         "values": {name: values.get(name, math.nan) for name in summary["foreground_mean"]}}
        for folder, summary in summaries.items() for case in summary["metric_per_case"]
        for key, values in case["metrics"].items()
    ]


def _cases(
    order: Sequence[str], rows: Sequence[Mapping[str, Any]], labels: Mapping[str, str], pictures: Pictures
) -> list[dict[str, Any]]:
    by_case: dict[str, list[Mapping[str, Any]]] = {case: [] for case in order}
    for row in rows:
        by_case[row["name"]].append(row)
    several = len(pictures) > 1
    result = []
    for case in order:
        shown = [
            {"caption": " – ".join([labels[key]] + [folder] * several), "file": found[case][key],
             "alt": f"Topological errors of {labels[key]} in {case}, {folder}", "size": _size(found[case][key])}
            for key in labels for folder, found in pictures.items() if key in found.get(case, {})
        ]
        ordered = sorted(by_case[case], key=lambda row: list(labels).index(row["key"]))
        result.append({"name": case, "errors": by_case[case][0]["errors"], "rows": ordered, "pictures": shown})
    return result


def _size(picture: Path) -> tuple[int, int]:
    """Known in advance, so that links lead to the right place before all pictures are decoded."""
    with Image.open(picture) as opened:
        return opened.size


def _plots(
    summaries: Mapping[str, Summary], labels: Mapping[str, str], metrics: Sequence[str], anchors: Mapping[str, str]
) -> list[dict[str, Any]]:
    """A drawing for each metric with a row for each label and folder."""
    plots = []
    for metric in metrics:
        series = []
        for key, label in labels.items():
            for number, (folder, summary) in enumerate(summaries.items()):
                values = {case["case"]: value_of(case, metric, key) for case in summary["metric_per_case"]}
                points = [(value, anchors[case], f"{case}: {formatted(value, metric)}")
                          for case, value in values.items()]
                name = folder if len(labels) == 1 else "" if number else label
                series.append((name, COLOURS[number % len(COLOURS)], points))
        drawing = strip_plot(series, share=attribute(metric, "unit") == "1")
        if drawing is not None:
            plots.append({"metric": metric, "drawing": drawing})
    return plots
