"""The report of a study: one HTML file with everything in it, which opens from the disk and asks no network."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from nnunet_topo import __version__
from nnunet_topo.files import written_at_once
from nnunet_topo.metrics.definitions import DEFINITIONS, INTRODUCTION, definition_of, title_of
from nnunet_topo.report.comparison import LEVEL
from nnunet_topo.report.formatting import COLOURS, attribute, formatted, page_environment, part_of_page
from nnunet_topo.report.scatter_plot import scatter_plot
from nnunet_topo.report.strip_plot import strip_plot
from nnunet_topo.statistics import mean
from nnunet_topo.study.comparison import Cost, Row, Rows, Section
from nnunet_topo.study.settings import Study

_OVERLAP = "dice"
_TOPOLOGY = ("betti_matching_error_sum", "betti_error_sum")
_PREFIX = "nnUNetTrainer"


def write_study_page(
    path: str | os.PathLike[str], study: Study, sections: Sequence[Section], *, done: int, missing: Sequence[str],
    raw_alone: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """Write the report of a study.

    Args:
        path: of the HTML file, which appears only when it is complete.
        study: what was asked for.
        sections: what was found, one for each data set and configuration.
        done: number of finished runs.
        missing: names of the others, which are in no number.
        raw_alone: names of finished runs that could not be post-processed, with the reasons.
    """
    colours = {trainer: COLOURS[place % len(COLOURS)] for place, trainer in enumerate(study.trainers)}
    metrics = list(dict.fromkeys(metric for section in sections for group in section.groups for metric in group.rows))
    content = {
        "version": __version__, "study": study, "done": done, "missing": missing,
        "raw_alone": raw_alone or {}, "level": LEVEL, "colours": colours,
        "names": {trainer: short_name(trainer) for trainer in study.trainers}, "introduction": INTRODUCTION,
        "definitions": [row for row in DEFINITIONS if any(definition_of(metric) is row for metric in metrics)],
        "sections": [_section(section, colours) for section in sections], "css": part_of_page("report.css"),
    }  # fmt: skip
    with written_at_once(path) as temporary:
        page_environment().get_template("study.html").stream(content).dump(str(temporary), encoding="utf-8")


def short_name(trainer: str) -> str:
    """What tells a trainer from others in a drawing: the name without nnU-Net's part, which is kept where it is all."""
    return trainer.removeprefix(_PREFIX) or trainer


def _section(section: Section, colours: dict[str, str]) -> dict[str, Any]:
    return {**section._asdict(), "groups": [
        {**group._asdict(), "kinds": group.kinds, "drawings": {
            kind: {"differences": _differences(rows, section.baseline, colours),
                   "against_overlap": _against_overlap(rows, colours), "gains": _gains(rows, section, colours)}
            for kind, rows in group.kinds.items()}}
        for group in section.groups]}  # fmt: skip


def _differences(of_kind: Rows, baseline: str, colours: dict[str, str]) -> list[dict[str, Any]]:
    """A drawing for each metric: a dot for each image, a row for each trainer but the baseline."""
    drawings = []
    for metric, rows in of_kind.items():
        series = [(short_name(trainer), colours[trainer],
                   [(value, "", f"{image}: {formatted(value, metric, mean=True)}")
                    for image, value in row.differences.items() if abs(value) != float("inf")])
                  for trainer, row in rows.items() if trainer != baseline]  # fmt: skip
        drawing = strip_plot(series, share=False)
        if drawing is not None:
            drawings.append({"metric": metric, "drawing": drawing})
    return drawings


def _against_overlap(rows: Rows, colours: dict[str, str]) -> list[dict[str, Any]]:
    """Topological errors against Dice: a dot for each run."""
    drawings = []
    for metric in _TOPOLOGY:
        if metric not in rows or _OVERLAP not in rows:
            continue
        series = [(trainer, colours[trainer], _of_runs(rows[_OVERLAP][trainer], row))
                  for trainer, row in rows[metric].items()]
        drawing = scatter_plot(series)
        if drawing is not None:
            drawings.append({"metric": metric, "title": title_of(metric), "drawing": drawing})
    return drawings


def _of_runs(overlap: Row, topology: Row) -> list[tuple[float, float, str]]:
    return [(overlap.run_means[key], value, f"{topology.trainer}, fold {key[0]}, seed {key[1]}: Dice "
             f"{formatted(overlap.run_means[key], _OVERLAP)}, {formatted(value, topology.metric, mean=True)}")
            for key, value in topology.run_means.items() if key in overlap.run_means]  # fmt: skip


def _gains(rows: Rows, section: Section, colours: dict[str, str]) -> list[dict[str, Any]]:
    """By how much topological errors fall against what the training costs, a dot for each trainer."""
    costs: dict[str, Cost] = {cost.trainer: cost for cost in section.costs}
    drawings = []
    for metric in _TOPOLOGY:
        points = []
        for trainer, row in rows.get(metric, {}).items():
            gain = 0.0 if trainer == section.baseline else -mean(list(row.differences.values()))
            text = (f"{trainer}: {formatted(gain, metric, mean=True)} fewer, {costs[trainer].relative:.2f} times the "
                    "training time")
            points.append((trainer, colours[trainer], [(costs[trainer].relative, gain, text)]))
        drawing = scatter_plot(points)
        if drawing is not None and attribute(metric, "better") == "lower":
            drawings.append({"metric": metric, "title": title_of(metric), "drawing": drawing})
    return drawings
