"""Measure every class of every training label map once, and remember the results in a file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nnunet_topo.files import write_json

Region = int | tuple[int, ...]
Measure = Callable[[np.ndarray], int]
MapMeasure = Callable[[np.ndarray], dict[str, list[int]]]


@dataclass(frozen=True)
class Case:
    """A label map that is read only when it must be measured.

    Attributes:
        name: the case's identifier.
        stamp: something JSON can hold that changes when the label map does, e.g. its file's size and time.
        read: returns the label map (*S) of integers, 2D or 3D.
    """

    name: str
    stamp: list[int]
    read: Callable[[], np.ndarray]


@dataclass(frozen=True)
class LabelFingerprint:
    """Measurements of a data set's labels.

    Attributes:
        labels: per case, the sorted label values that occur.
        values: per measure, per case, per class or region (as text), the measured number.
        of_maps: per measure of whole label maps, per case, what it gave.
    """

    labels: dict[str, list[int]]
    values: dict[str, dict[str, dict[str, int]]]
    of_maps: dict[str, dict[str, dict[str, list[int]]]] = field(default_factory=dict)

    def largest(self, measure: str) -> tuple[int, str, str]:
        """The largest value of a measure, with its case and class."""
        return max((value, case, region) for case, regions in self.values[measure].items()
                   for region, value in regions.items())

    def foreign_labels(self, allowed: Iterable[int]) -> dict[str, list[int]]:
        """The cases that hold label values other than those allowed, with these values."""
        allowed = set(allowed)
        foreign = {case: [label for label in labels if label not in allowed] for case, labels in self.labels.items()}
        return {case: labels for case, labels in foreign.items() if labels}


def measure_labels(
    cases: Sequence[Case],
    regions: Sequence[Region],
    measures: Mapping[str, Measure],
    *,
    cache: Path,
    per_slice: bool = False,
    threads: int = 1,
    say: Callable[[str], None] = print,
    of_maps: Mapping[str, MapMeasure] | None = None,
) -> LabelFingerprint:
    """Measure the mask of each region in each case; results are kept in the file ``cache`` and used again.

    Args:
        cases: label maps.
        regions: label values, or tuples of them whose union is one mask.
        measures: named functions of a bool mask; for a region that is absent from a case, 0 is taken.
        cache: JSON file; cases whose stamp is unchanged are not read again.
        per_slice: measure the slices of the first axis on their own and keep the largest value (2D networks).
        threads: how many cases are measured at the same time.
        say: gets a sentence where the cache cannot be written.
        of_maps: named functions of a whole label map, whose results JSON can hold.
    """
    known, of_maps = _read_cache(cache, per_slice), of_maps or {}
    todo = [case for case in cases if not _is_known(known.get(case.name), case, regions, measures, of_maps)]

    def measured(case: Case) -> dict:
        labels = case.read()
        return {"stamp": case.stamp, "of_maps": {name: measure(labels) for name, measure in of_maps.items()},
                } | _measure(labels, regions, measures, per_slice)

    if todo:
        with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
            results = tqdm(pool.map(measured, todo), total=len(todo), desc="Topology of the training labels")
            known |= {case.name: result for case, result in zip(todo, results, strict=True)}
        try:
            write_json(cache, {"per_slice": per_slice, "cases": known})
        except OSError as error:
            say(f"The topology of the training labels could not be kept in {cache} ({error.strerror}); "
                "it is measured again at the next start.")
    return LabelFingerprint(
        labels={case.name: known[case.name]["labels"] for case in cases},
        values={name: {case.name: {_key(region): known[case.name]["values"][name][_key(region)] for region in regions}
                       for case in cases} for name in measures},
        of_maps={name: {case.name: known[case.name]["of_maps"][name] for case in cases} for name in of_maps},
    )


def _measure(labels: np.ndarray, regions: Sequence[Region], measures: Mapping[str, Measure], per_slice: bool) -> dict:
    present = [int(label) for label in np.unique(labels)]
    slices = list(labels) if per_slice and labels.ndim == 3 else [labels]
    values: dict[str, dict[str, int]] = {name: {} for name in measures}
    for region in regions:
        members = list(region) if isinstance(region, tuple) else [region]
        here = [mask for mask in (np.isin(part, members) for part in slices) if mask.any()]
        for name, measure in measures.items():
            values[name][_key(region)] = max((int(measure(mask)) for mask in here), default=0)
    return {"labels": present, "values": values}


def _is_known(
    record: dict | None, case: Case, regions: Sequence[Region], measures: Mapping[str, Measure],
    of_maps: Mapping[str, MapMeasure],
) -> bool:
    return (record is not None and record["stamp"] == case.stamp
            and all(_key(region) in record["values"].get(name, {}) for name in measures for region in regions)
            and all(name in record.get("of_maps", {}) for name in of_maps))


def _read_cache(cache: Path, per_slice: bool) -> dict[str, dict]:
    if not os.path.isfile(cache):
        return {}
    content = json.loads(cache.read_text())
    return content["cases"] if content.get("per_slice") == per_slice else {}


def _key(region: Region) -> str:
    return ", ".join(map(str, region)) if isinstance(region, tuple) else str(region)
