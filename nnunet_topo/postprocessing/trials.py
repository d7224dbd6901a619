"""Scores of settings on labelled cases, a case at a time in each process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from nnunet_topo.nnunet.evaluation.label_maps import LabelMap, read_label_map, require_known_labels, require_same_grid
from nnunet_topo.postprocessing.candidates import RegionCase, Scores
from nnunet_topo.postprocessing.components import Mask, components
from nnunet_topo.postprocessing.label_maps import postprocess_labels
from nnunet_topo.postprocessing.labels import LabelScheme
from nnunet_topo.postprocessing.probabilities import CaseProbabilities, read_probabilities
from nnunet_topo.postprocessing.search import TAUS
from nnunet_topo.postprocessing.settings import Operations
from nnunet_topo.processes import Failure, outcomes


@dataclass(frozen=True)
class LabelledCase:
    """The files of a case; without a prediction only the reference's pieces are counted."""

    name: str
    prediction: Path | None
    reference: Path
    reader: Any
    scheme: LabelScheme
    probabilities: bool


@dataclass(frozen=True)
class _Task:
    case: LabelledCase
    metric: str
    candidates: tuple[tuple[Operations, ...], ...]  # of each label or region; nothing to try: pieces are counted
    together: tuple[Operations, ...] | None = None  # all labels at once, as they are applied


def npz_of(file: Path, case: str) -> Path:
    """Where nnU-Net writes the probabilities of a predicted label map."""
    return file.with_name(f"{case}.npz")


class Trials:
    """Scores of settings on all cases, each process opening one case at a time; what was scored once is kept."""

    def __init__(self, cases: Sequence[LabelledCase], metric: str, processes: int) -> None:
        self.cases, self.metric = cases, metric
        self.known: dict[int, dict[Operations, list[Scores]]] = {}
        self.tasks: list[_Task] = []
        self.running = None
        self.processes = processes
        self.bar = tqdm(desc="Searching", unit="case")

    def close(self) -> None:
        if self.running is not None:
            self.running.close()
        self.bar.close()

    def trial(self, index: int, candidates: Sequence[Operations]) -> dict[Operations, list[Scores]]:
        """All scores of a label so far, after those of the candidates are added."""
        table = self.known.setdefault(index, {})
        new = tuple(operations for operations in dict.fromkeys([Operations(), *candidates]) if operations not in table)
        if new:
            regions = [() if other != index else new for other in range(len(self.cases[0].scheme.names))]
            for image in self._results([_Task(case, self.metric, tuple(regions)) for case in self.cases]):
                for operations, scores in zip(new, image[index], strict=True):
                    table.setdefault(operations, []).append(scores)
        return table

    def try_out(self, candidates: Sequence[tuple[Operations, ...]]) -> list[Any]:
        return self._results([_Task(case, "betti_error", tuple(candidates)) for case in self.cases])

    def together(self, operations: tuple[Operations, ...]) -> list[list[Scores]]:
        """For each case the scores of each label when all are post-processed together."""
        return self._results([_Task(case, self.metric, (), operations) for case in self.cases])

    def pieces(self, others: Sequence[LabelledCase]) -> list[int]:
        """The largest number of pieces of each label in any reference, also in those without a prediction."""
        counts = self._results([_Task(case, self.metric, ()) for case in [*self.cases, *others]])
        return [max(count[index] for count in counts) for index in range(len(self.cases[0].scheme.names))]

    def _results(self, tasks: Sequence[_Task]) -> list[Any]:
        """The results of further tasks, in their order; the processes stay for the next ones."""
        start = len(self.tasks)
        self.tasks += tasks
        self.bar.total = len(self.tasks)
        if self.running is None:
            self.running = outcomes(_work, self.tasks, self.processes)  # type: ignore[assignment]
        results: dict[int, Any] = {}
        while len(results) < len(tasks):
            index, outcome = next(self.running)  # type: ignore[call-overload]
            case = self.tasks[index].case
            if isinstance(outcome, Failure):
                raise ValueError(f"{case.name}: {outcome.reason}")
            results[index] = outcome
            self.bar.update()
        return [results[start + place] for place in range(len(tasks))]


def _work(task: _Task) -> Any:
    """Scores of each label's candidates, or of all labels together, or the reference's number of pieces."""
    case, scheme = task.case, task.case.scheme
    reference = _read(case.reference, case.reader, scheme, ignored=True)
    if task.together is None and not any(task.candidates):
        return [components(scheme.mask(reference.labels, index))[1] for index in range(len(scheme.names))]
    assert case.prediction is not None
    prediction = _read(case.prediction, case.reader, scheme, ignored=False)
    spacing = require_same_grid(prediction, reference)
    labels = prediction.labels
    probabilities = None
    chosen = task.together or [operations for region in task.candidates for operations in region]
    if case.probabilities and any(operations.needs_probabilities for operations in chosen):
        file = npz_of(case.prediction, case.name)
        probabilities = read_probabilities(file, case.prediction, labels, scheme, range(len(scheme.names)), spacing)
    ignore = None if scheme.ignore_label is None else reference.mask(scheme.ignore_label)
    if task.together is not None:
        processed = postprocess_labels(labels, spacing, scheme, task.together, probabilities)
        return [_scores_of(scheme.mask(labels, index), scheme.mask(processed, index),
                           scheme.mask(reference.labels, index), spacing, ignore, task.metric)
                for index in range(len(scheme.names))]
    return [_region(index, labels, reference.labels, spacing, scheme, probabilities, ignore, candidates, task.metric)
            for index, candidates in enumerate(task.candidates)]


def _region(
    index: int, labels: Any, reference: Any, spacing: Sequence[float], scheme: LabelScheme,
    probabilities: CaseProbabilities | None, ignore: Mask | None, candidates: Sequence[Operations], metric: str,
) -> list[Scores]:
    if not candidates:
        return []
    allowed = scheme.free(labels, index)
    if probabilities is not None:
        allowed |= probabilities.likelier(index, labels)
    region = RegionCase(scheme.mask(labels, index), scheme.mask(reference, index), spacing, allowed=allowed,
                        ignore=ignore, lowest_tau=min(TAUS),
                        probabilities=None if probabilities is None else probabilities.of(index))
    return region.all_scores(candidates, metric)


def _scores_of(
    raw: Mask, mask: Mask, reference: Mask, spacing: Sequence[float], ignore: Mask | None, metric: str
) -> Scores:
    scores = RegionCase(mask, reference, spacing, ignore=ignore).scores(Operations(), metric)
    return scores._replace(changed=int(np.count_nonzero(mask ^ raw)) / max(int(np.count_nonzero(raw)), 1))


def _read(file: Path, reader: Any, scheme: LabelScheme, *, ignored: bool) -> LabelMap:
    label_map = read_label_map(file, reader)
    ignore = set() if scheme.ignore_label is None or not ignored else {scheme.ignore_label}
    require_known_labels(label_map, scheme.known | ignore)
    return label_map
