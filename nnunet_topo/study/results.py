"""The files that a study writes: each image of each run, and the comparison as a page and as plain text."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunet_topo.files import written_at_once
from nnunet_topo.metrics.definitions import FOREGROUND
from nnunet_topo.study.comparison import PROCESSED, RAW, Row, Section, compare_section
from nnunet_topo.study.execution import finished
from nnunet_topo.study.groups import UNGROUPED, groups_of
from nnunet_topo.study.measurement import summaries_of
from nnunet_topo.study.page import write_study_page
from nnunet_topo.study.run_files import POSTPROCESSED, PREDICTIONS
from nnunet_topo.study.settings import Run, Study

RESULTS, PAGE, TEXT = "results.csv", "report.html", "report.md"
_RUN_COLUMNS = ("dataset", "configuration", "plans", "trainer", "fold", "seed")
_KINDS = {RAW: PREDICTIONS, PROCESSED: POSTPROCESSED}


def write_results(study: Study, runs: Sequence[Run]) -> list[Path]:
    """Write ``results.csv``, ``report.html`` and ``report.md`` from the runs that are finished; returns their paths."""
    done = {run: record for run in runs if (record := finished(run)) is not None}
    processes = study.executor.processes if study.executor.kind == "local" else 1
    measured = {run: summaries_of(run, record, processes=processes) for run, record in done.items()}
    summaries = {kind: {run: of_run[label_maps] for run, of_run in measured.items() if label_maps in of_run}
                 for kind, label_maps in _KINDS.items()}
    groups = {dataset: groups_of(study, dataset) for dataset in {run.dataset for run in done}}
    _write_rows(study.output / RESULTS, summaries, groups)
    sections = [compare_section(study.baseline, _of_section(summaries[RAW], key), groups[key[0]], done, study.tested,
                                post_processed=_of_section(summaries[PROCESSED], key))
                for key in dict.fromkeys((run.dataset, run.configuration) for run in done)]
    missing = [run.name for run in runs if run not in done]
    raw_alone = {run.name: str(record["postprocessing"]["failed"]) for run, record in done.items()
                 if run.postprocessing is not None and "failed" in record["postprocessing"]}
    write_study_page(study.output / PAGE, study, sections, done=len(done), missing=missing, raw_alone=raw_alone)
    with written_at_once(study.output / TEXT) as temporary:
        temporary.write_text(text_of(sections, len(done), missing, raw_alone), encoding="utf-8")
    return [study.output / name for name in (RESULTS, PAGE, TEXT)]


def _of_section(summaries: Mapping[Run, Any], key: tuple[str, str]) -> dict[Run, Any]:
    """Those of one data set and configuration."""
    return {run: summary for run, summary in summaries.items() if (run.dataset, run.configuration) == key}


def text_of(
    sections: Sequence[Section], done: int, missing: Sequence[str], raw_alone: Mapping[str, str]
) -> str:  # fmt: skip
    """The comparison in Markdown."""
    lines = ["# Study\n", f"{done} of {done + len(missing)} runs are finished."]
    lines += ["\nNot finished, and in no table:\n", *(f"* {name}" for name in missing)] if missing else []
    lines += ["\nNot post-processed, and in raw rows alone:\n",
              *(f"* {name}: {why}" for name, why in raw_alone.items())] if raw_alone else []
    for section in sections:
        lines += [f"\n## {section.dataset}, {section.configuration}\n",
                  "| trainer | runs | training, s | relative | memory, GB | post-processing, s |",
                  "|---|---|---|---|---|---|"]
        lines += [f"| {cost.trainer} | {cost.runs} | {cost.seconds:.4g} | {cost.relative:.3g} | {cost.memory_gb:.3g} | "
                  f"{'' if math.isnan(cost.postprocessing_seconds) else f'{cost.postprocessing_seconds:.4g}'} |"
                  for cost in section.costs]
        lines += ["", f"Tests: two-sided sign flips against {section.baseline}, raw against raw and post-processed "
                  "against post-processed, with images as units, each image's value being its mean over the seeds (and "
                  f"folds) of both; p by Holm's correction for all {section.tests} tests of this section. ± is the "
                  "standard deviation of the runs' means. Post-processing was chosen for each run on the validation "
                  f"images of its own fold. Betti numbers, Betti matching and components: {FOREGROUND}."]
        for group in section.groups:
            lines += [f"\n### {group.name} ({group.images} image(s))\n",
                      "| metric | label maps | trainer | mean ± spread (runs) | difference | p | |",
                      "|---|---|---|---|---|---|---|"]
            lines += [_line(kind, row) for metric in group.rows for kind, rows in group.kinds.items()
                      for row in rows.get(metric, {}).values()]
    return "\n".join(lines) + "\n"


def _line(kind: str, row: Row) -> str:
    spread = "" if math.isnan(row.spread) else f" ± {row.spread:.3g}"
    difference, p = (f"{row.test.difference:+.4g}", f"{row.corrected:.3g}") if row.test else ("", "")
    return (f"| {row.metric} | {kind} | {row.trainer} | {row.mean:.4g}{spread} ({len(row.run_means)}) | {difference} | "
            f"{p} | {row.verdict} |")


def _write_rows(
    file: Path, summaries: Mapping[str, Mapping[Run, Any]], groups: Mapping[str, Mapping[str, str]]
) -> None:  # fmt: skip
    metrics = list(dict.fromkeys(name for of_kind in summaries.values() for summary in of_kind.values()
                                 for name in summary["foreground_mean"]))
    with written_at_once(file) as temporary, temporary.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow([*_RUN_COLUMNS, "label_maps", "group", "case", "label", *metrics])
        for run, kind in sorted(((run, kind) for kind, of_kind in summaries.items() for run in of_kind),
                                key=lambda item: (item[0].name, item[1] != RAW)):  # fmt: skip
            for case in sorted(summaries[kind][run]["metric_per_case"], key=lambda case: case["case"]):
                for label, found in case["metrics"].items():
                    writer.writerow([*(getattr(run, name) for name in _RUN_COLUMNS), kind,
                                     groups[run.dataset].get(case["case"], UNGROUPED), case["case"], label,
                                     *(found.get(metric, math.nan) for metric in metrics)])
