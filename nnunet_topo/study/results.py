"""What a study found: each image of each run, a table for each test group, and paired tests against the baseline."""

from __future__ import annotations

import csv
import json
import math
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nnunet_topo.files import written_at_once
from nnunet_topo.metrics.definitions import definition_of
from nnunet_topo.report.comparison import LEVEL, main_metrics, value_of
from nnunet_topo.report.paired_tests import PairedTest, holm, paired_test
from nnunet_topo.study.execution import finished
from nnunet_topo.study.settings import Run, Study

RESULTS, REPORT = "results.csv", "report.md"
_RUN_COLUMNS = ("dataset", "configuration", "plans", "trainer", "fold", "seed")


class Row(NamedTuple):
    """One trainer and metric in one test group: over seeds (and folds), and against the baseline."""

    trainer: str
    metric: str
    mean: float
    spread: float
    runs: int
    test: PairedTest | None
    corrected: float


Values = Mapping[str, Mapping[Run, Mapping[str, float]]]  # metric -> run -> image -> value


def write_results(study: Study, runs: Sequence[Run]) -> list[Path]:
    """Write ``results.csv`` and ``report.md`` from the runs that are finished; returns their paths."""
    done = {run: record for run in runs if (record := finished(run)) is not None}
    summaries = {run: json.loads((run.folder / "evaluation" / "summary_topology.json").read_text()) for run in done}
    groups = {dataset: groups_of(dataset) for dataset in {run.dataset for run in done}}
    _write_rows(study.output / RESULTS, summaries, groups)
    sections = [_section(study, {run: summaries[run] for run in done if (run.dataset, run.configuration) == key},
                         groups[key[0]], done) for key in dict.fromkeys((run.dataset, run.configuration)
                                                                        for run in done)]
    missing = [run.name for run in runs if run not in done]
    head = ["# Study\n", f"{len(done)} of {len(runs)} runs are finished."]
    head += ["\nNot finished, and in no table:\n", *(f"* {name}" for name in missing)] if missing else []
    with written_at_once(study.output / REPORT) as temporary:
        temporary.write_text("\n".join([*head, *sections]) + "\n", encoding="utf-8")
    return [study.output / RESULTS, study.output / REPORT]


def groups_of(dataset: str) -> dict[str, str]:
    """The group of each test image, from ``manifest.csv`` in the raw data set (columns case and group), if any."""
    file = Path(os.environ["nnUNet_raw"]) / dataset / "manifest.csv"
    if not file.is_file():
        return {}
    with file.open(newline="") as opened:
        reader = csv.DictReader(opened)
        if not {"case", "group"} <= set(reader.fieldnames or ()):
            raise ValueError(f"{file} must have the columns case and group, which say to which group of test images "
                             "each belongs.")
        return {row["case"]: row["group"] for row in reader}


def compare_runs(values: Values, baseline: str) -> list[Row]:
    """Rows of one test group, the p values not yet corrected for their number.

    The mean is over images and then runs; the spread is the standard deviation of the runs' means, over seeds and
    folds. A test pairs images, each with its mean over the seeds and folds that both trainers have finished.
    """
    rows = []
    for metric, by_run in values.items():
        trainers = dict.fromkeys(run.trainer for run in by_run)
        replicates = {trainer: {(run.fold, run.seed): images for run, images in by_run.items()
                                if run.trainer == trainer} for trainer in trainers}
        for trainer in sorted(trainers, key=lambda name: name != baseline):
            means = [_mean(list(images.values())) for images in replicates[trainer].values()]
            test = None
            if trainer != baseline and baseline in replicates:
                both = sorted(replicates[trainer].keys() & replicates[baseline].keys(), key=str)
                if both:
                    first, second = (_per_image([replicates[name][key] for key in both])
                                     for name in (baseline, trainer))
                    images = sorted(first.keys() & second.keys())
                    test = paired_test([first[image] for image in images], [second[image] for image in images])
            rows.append(Row(trainer, metric, _mean(means), _spread(means), len(means), test, math.nan))
    return rows


def _section(
    study: Study, summaries: Mapping[Run, Any], groups: Mapping[str, str], records: Mapping[Run, Any]
) -> str:  # fmt: skip
    first = next(iter(summaries))
    metrics = main_metrics(list(next(iter(summaries.values()))["foreground_mean"]))
    values: dict[str, dict[str, dict[Run, dict[str, float]]]] = defaultdict(lambda: defaultdict(dict))
    for run, summary in summaries.items():
        for case in summary["metric_per_case"]:
            group = groups.get(case["case"], "test")
            for metric in metrics:
                values[group][metric].setdefault(run, {})[case["case"]] = value_of(case, metric, None)
    tables = {group: compare_runs(by_metric, study.baseline) for group, by_metric in sorted(values.items())}
    tests = [row.test.p for rows in tables.values() for row in rows if row.test]
    corrected = iter(holm(tests))
    lines = [f"\n## {first.dataset}, {first.configuration}\n", *_costs(summaries, records), "",
             f"Tests: two-sided sign flips against {study.baseline}, with images as units, each image's value being "
             f"its mean over the seeds (and folds) of both; p by Holm's correction for all {len(tests)} tests of this "
             "section. Test groups are never pooled. ± is the standard deviation of the runs' means."]
    head = ["| metric | trainer | mean ± spread (runs) | difference | p | |", "|---|---|---|---|---|---|"]
    for group, rows in tables.items():
        images = len({image for by_run in values[group].values() for found in by_run.values() for image in found})
        lines += [f"\n### {group} ({images} image(s))\n", *head]
        lines += [_line(row._replace(corrected=next(corrected)) if row.test else row) for row in rows]
    return "\n".join(lines)


def _line(row: Row) -> str:
    spread = "" if math.isnan(row.spread) else f" ± {row.spread:.3g}"
    difference = p = verdict = ""
    if row.test:
        difference, p = f"{row.test.difference:+.4g}", f"{row.corrected:.3g}"
        definition = definition_of(row.metric)
        if row.corrected < LEVEL and definition is not None:
            verdict = "better" if (row.test.difference > 0) == (definition.better == "higher") else "worse"
    return (f"| {row.metric} | {row.trainer} | {row.mean:.4g}{spread} ({row.runs}) | {difference} | {p} | {verdict} |")


def _costs(summaries: Mapping[Run, Any], records: Mapping[Run, Any]) -> list[str]:
    lines = ["| trainer | runs | training, s | memory, GB |", "|---|---|---|---|"]
    for trainer in dict.fromkeys(run.trainer for run in summaries):
        own = [records[run] for run in summaries if run.trainer == trainer]
        seconds, memory = (_mean([record[key] for record in own]) for key in ("training_seconds", "memory_gb"))
        lines.append(f"| {trainer} | {len(own)} | {seconds:.4g} | {memory:.3g} |")
    return lines


def _write_rows(file: Path, summaries: Mapping[Run, Any], groups: Mapping[str, Mapping[str, str]]) -> None:
    metrics = list(dict.fromkeys(name for summary in summaries.values() for name in summary["foreground_mean"]))
    with written_at_once(file) as temporary, temporary.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow([*_RUN_COLUMNS, "group", "case", "label", *metrics])
        for run, summary in sorted(summaries.items(), key=lambda item: item[0].name):
            for case in sorted(summary["metric_per_case"], key=lambda case: case["case"]):
                for label, found in case["metrics"].items():
                    writer.writerow([*(getattr(run, name) for name in _RUN_COLUMNS),
                                     groups[run.dataset].get(case["case"], "test"), case["case"], label,
                                     *(found.get(metric, math.nan) for metric in metrics)])


def _per_image(replicates: Sequence[Mapping[str, float]]) -> dict[str, float]:
    images = set.intersection(*(set(found) for found in replicates))
    return {image: _mean([found[image] for found in replicates]) for image in images}


def _mean(values: Sequence[float]) -> float:
    numbers = [value for value in values if not math.isnan(value)]
    return float(np.mean(numbers)) if numbers else math.nan


def _spread(values: Sequence[float]) -> float:
    numbers = np.array([value for value in values if not math.isnan(value)])
    return float(numbers.std(ddof=1)) if len(numbers) > 1 and np.isfinite(numbers).all() else math.nan
