"""What a study found: costs, a table for each group of test images, and paired tests against the baseline."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from nnunet_topo.metrics.definitions import definition_of
from nnunet_topo.report.comparison import LEVEL, main_metrics, require_same_connectivity, value_of
from nnunet_topo.statistics import PairedTest, holm, mean, paired_test, spread
from nnunet_topo.study.groups import UNGROUPED
from nnunet_topo.study.settings import Run

RAW, PROCESSED = "raw", "post-processed"  # label maps


class Row(NamedTuple):
    """One trainer and metric in one group of test images: over seeds (and folds), and against the baseline.

    Attributes:
        run_means: mean over images of each run, by (fold, seed).
        mean, spread: mean and standard deviation of ``run_means``; the latter is not a number for a single run.
        test: against the baseline; None for the baseline itself, where they share no fold and seed, and for metrics
            that are not tested.
        corrected: the test's p value after Holm's correction.
        verdict: "better" or "worse" where this is below the level, else empty.
        differences: image -> this trainer's value minus the baseline's, each a mean over the shared folds and seeds.
    """

    trainer: str
    metric: str
    run_means: Mapping[tuple[int | str, int], float]
    mean: float
    spread: float
    test: PairedTest | None = None
    corrected: float = math.nan
    verdict: str = ""
    differences: Mapping[str, float] = {}


Rows = Mapping[str, Mapping[str, Row]]  # metric -> trainer -> row


class Group(NamedTuple):
    """One group of test images: rows of predictions as they are, and of those of runs that are post-processed too."""

    name: str
    images: int
    rows: Rows
    post_processed: Rows = {}

    @property
    def kinds(self) -> dict[str, Rows]:
        """The rows by what they are of."""
        return {RAW: self.rows} | ({PROCESSED: self.post_processed} if self.post_processed else {})


class Cost(NamedTuple):
    """Of one trainer: mean over its runs, and the training time as a multiple of the baseline's.

    ``postprocessing_seconds`` are those of choice, with the prediction of the validation images, and application; not a
    number without any.
    """

    trainer: str
    runs: int
    seconds: float
    relative: float
    memory_gb: float
    postprocessing_seconds: float = math.nan


class Section(NamedTuple):
    """All of one data set and configuration; ``tests`` is the number for which p values are corrected."""

    dataset: str
    configuration: str
    baseline: str
    costs: list[Cost]
    groups: list[Group]
    tests: int


Values = Mapping[str, Mapping[Run, Mapping[str, float]]]  # metric -> run -> image -> value


def compare_section(
    baseline: str, summaries: Mapping[Run, Any], groups: Mapping[str, str], records: Mapping[Run, Mapping[str, Any]],
    tested: Sequence[str] | None = None, *, post_processed: Mapping[Run, Any] | None = None,
) -> Section:  # fmt: skip
    """Compare the runs of one data set and configuration: raw with raw, and post-processed with post-processed.

    Args:
        baseline: the trainer that the others are compared with.
        summaries: run -> content of its ``summary_topology.json``.
        groups: case -> group of test images.
        records: run -> its record, with ``training_seconds`` and ``memory_gb``.
        tested: the metrics that are tested, and shown beside the main ones; None tests the main ones.
        post_processed: as ``summaries``, of the same runs' post-processed label maps, so far as there are any.
    """
    every = {RAW: summaries, PROCESSED: post_processed or {}}
    require_same_connectivity({f"{run.name} ({kind})": summary for kind, of_kind in every.items()
                               for run, summary in of_kind.items()})
    first = next(iter(summaries))
    metrics = list(dict.fromkeys([*main_metrics(list(summaries[first]["foreground_mean"])), *(tested or ())]))
    values = {kind: _grouped(of_kind, groups, metrics) for kind, of_kind in every.items()}
    judged, tests = _corrected({(group, kind): compare_runs(by_metric, baseline, tested) for kind in every
                                for group, by_metric in values[kind].items()})
    found = [Group(group, len({image for by_run in by_metric.values() for images in by_run.values()
                               for image in images}), judged[group, RAW], judged.get((group, PROCESSED), {}))
             for group, by_metric in sorted(values[RAW].items())]
    return Section(first.dataset, first.configuration, baseline, _costs(summaries, records, baseline), found, tests)


def _grouped(summaries: Mapping[Run, Any], groups: Mapping[str, str], metrics: Sequence[str]) -> dict[str, Values]:
    """Each group's values."""
    values: dict[str, dict[str, dict[Run, dict[str, float]]]] = defaultdict(lambda: defaultdict(dict))
    for run, summary in summaries.items():
        for case in summary["metric_per_case"]:
            group = groups.get(case["case"], UNGROUPED)
            for metric in metrics:
                values[group][metric].setdefault(run, {})[case["case"]] = value_of(case, metric, None)
    return dict(values)


def compare_runs(values: Values, baseline: str, tested: Sequence[str] | None = None) -> dict[str, dict[str, Row]]:
    """Rows of one group of test images, metric -> trainer -> row, the baseline first; p values not yet corrected.

    A test pairs images, each with its mean over the seeds and folds that both trainers have finished. Metrics that are
    not ``tested`` have differences alone.
    """
    rows: dict[str, dict[str, Row]] = {}
    for metric, by_run in values.items():
        replicates = {trainer: {(run.fold, run.seed): images for run, images in by_run.items()
                                if run.trainer == trainer} for trainer in dict.fromkeys(run.trainer for run in by_run)}
        for trainer in sorted(replicates, key=lambda name: name != baseline):
            means = {key: mean(list(images.values())) for key, images in replicates[trainer].items()}
            row = Row(trainer, metric, means, mean(list(means.values())), spread(list(means.values())))
            both = sorted(replicates[trainer].keys() & replicates.get(baseline, {}).keys(), key=str)
            if trainer != baseline and both:
                first, second = (_per_image([replicates[name][key] for key in both]) for name in (baseline, trainer))
                images = sorted(first.keys() & second.keys())
                row = row._replace(differences={image: second[image] - first[image] for image in images})
                if tested is None or metric in tested:
                    row = row._replace(test=paired_test([first[image] for image in images],
                                                        [second[image] for image in images]))
            rows.setdefault(metric, {})[trainer] = row
    return rows


def _corrected(compared: Mapping[Any, Rows]) -> tuple[dict[Any, Rows], int]:
    """The same rows with corrected p values and verdicts, and the number of tests."""
    keys = [(place, metric, trainer) for place, rows in compared.items() for metric, by_trainer in rows.items()
            for trainer, row in by_trainer.items() if row.test]
    tests = [compared[place][metric][trainer].test for place, metric, trainer in keys]
    corrected = dict(zip(keys, holm([test.p for test in tests if test]), strict=True))
    judged: dict[Any, Rows] = {place: {
        metric: {trainer: _judged(row, corrected[place, metric, trainer]) if row.test else row
                 for trainer, row in by_trainer.items()} for metric, by_trainer in rows.items()}
        for place, rows in compared.items()}  # fmt: skip
    return judged, sum(not math.isnan(p) for p in corrected.values())


def _judged(row: Row, corrected: float) -> Row:
    definition = definition_of(row.metric)
    if row.test is None or definition is None or not corrected < LEVEL:
        return row._replace(corrected=corrected)
    better = (row.test.difference > 0) == (definition.better == "higher")
    return row._replace(corrected=corrected, verdict="better" if better else "worse")


def _costs(
    summaries: Mapping[Run, Any], records: Mapping[Run, Mapping[str, Any]], baseline: str
) -> list[Cost]:  # fmt: skip
    costs = []
    for trainer in sorted(dict.fromkeys(run.trainer for run in summaries), key=lambda name: name != baseline):
        own = [records[run] for run in summaries if run.trainer == trainer]
        seconds, memory = (mean([record[key] for record in own]) for key in ("training_seconds", "memory_gb"))
        processing = mean([record["postprocessing"]["seconds"] for record in own if "postprocessing" in record])
        costs.append(Cost(trainer, len(own), seconds, math.nan, memory, processing))
    base = next((cost.seconds for cost in costs if cost.trainer == baseline), math.nan)
    return [cost._replace(relative=cost.seconds / base) for cost in costs]


def _per_image(replicates: Sequence[Mapping[str, float]]) -> dict[str, float]:
    images = set.intersection(*(set(found) for found in replicates))
    return {image: mean([found[image] for found in replicates]) for image in images}

