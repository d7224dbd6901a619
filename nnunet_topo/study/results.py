"""The files that a study writes: each image of each run, and the comparison as a page and as plain text."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunet_topo.files import written_at_once
from nnunet_topo.metrics.definitions import FOREGROUND
from nnunet_topo.schema import read_json
from nnunet_topo.study.comparison import Row, Section, compare_section
from nnunet_topo.study.execution import finished
from nnunet_topo.study.groups import UNGROUPED, groups_of
from nnunet_topo.study.page import write_study_page
from nnunet_topo.study.settings import Run, Study

RESULTS, PAGE, TEXT = "results.csv", "report.html", "report.md"
_RUN_COLUMNS = ("dataset", "configuration", "plans", "trainer", "fold", "seed")


def write_results(study: Study, runs: Sequence[Run]) -> list[Path]:
    """Write ``results.csv``, ``report.html`` and ``report.md`` from the runs that are finished; returns their paths."""
    done = {run: record for run in runs if (record := finished(run)) is not None}
    summaries = {run: read_json(run.folder / "evaluation" / "summary_topology.json") for run in done}
    groups = {dataset: groups_of(study, dataset) for dataset in {run.dataset for run in done}}
    _write_rows(study.output / RESULTS, summaries, groups)
    sections = [compare_section(study.baseline, {run: summaries[run] for run in done
                                                 if (run.dataset, run.configuration) == key}, groups[key[0]], done,
                                study.tested)
                for key in dict.fromkeys((run.dataset, run.configuration) for run in done)]  # fmt: skip
    missing = [run.name for run in runs if run not in done]
    write_study_page(study.output / PAGE, study, sections, done=len(done), missing=missing)
    with written_at_once(study.output / TEXT) as temporary:
        temporary.write_text(text_of(sections, len(done), missing), encoding="utf-8")
    return [study.output / name for name in (RESULTS, PAGE, TEXT)]


def text_of(sections: Sequence[Section], done: int, missing: Sequence[str]) -> str:
    """The comparison in Markdown."""
    lines = ["# Study\n", f"{done} of {done + len(missing)} runs are finished."]
    lines += ["\nNot finished, and in no table:\n", *(f"* {name}" for name in missing)] if missing else []
    for section in sections:
        lines += [f"\n## {section.dataset}, {section.configuration}\n",
                  "| trainer | runs | training, s | relative | memory, GB |", "|---|---|---|---|---|"]
        lines += [f"| {cost.trainer} | {cost.runs} | {cost.seconds:.4g} | {cost.relative:.3g} | {cost.memory_gb:.3g} |"
                  for cost in section.costs]
        lines += ["", f"Tests: two-sided sign flips against {section.baseline}, with images as units, each image's "
                  "value being its mean over the seeds (and folds) of both; p by Holm's correction for all "
                  f"{section.tests} tests of this section. ± is the standard deviation of the runs' means. Betti "
                  f"numbers, Betti matching and components: {FOREGROUND}."]
        for group in section.groups:
            lines += [f"\n### {group.name} ({group.images} image(s))\n",
                      "| metric | trainer | mean ± spread (runs) | difference | p | |", "|---|---|---|---|---|---|"]
            lines += [_line(row) for by_trainer in group.rows.values() for row in by_trainer.values()]
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    spread = "" if math.isnan(row.spread) else f" ± {row.spread:.3g}"
    difference, p = (f"{row.test.difference:+.4g}", f"{row.corrected:.3g}") if row.test else ("", "")
    return (f"| {row.metric} | {row.trainer} | {row.mean:.4g}{spread} ({len(row.run_means)}) | {difference} | {p} | "
            f"{row.verdict} |")


def _write_rows(file: Path, summaries: Mapping[Run, Any], groups: Mapping[str, Mapping[str, str]]) -> None:
    metrics = list(dict.fromkeys(name for summary in summaries.values() for name in summary["foreground_mean"]))
    with written_at_once(file) as temporary, temporary.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow([*_RUN_COLUMNS, "group", "case", "label", *metrics])
        for run, summary in sorted(summaries.items(), key=lambda item: item[0].name):
            for case in sorted(summary["metric_per_case"], key=lambda case: case["case"]):
                for label, found in case["metrics"].items():
                    writer.writerow([*(getattr(run, name) for name in _RUN_COLUMNS),
                                     groups[run.dataset].get(case["case"], UNGROUPED), case["case"], label,
                                     *(found.get(metric, math.nan) for metric in metrics)])
