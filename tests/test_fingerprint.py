"""Measuring the training labels, and remembering it."""

from __future__ import annotations

import json

import numpy as np

from nnunet_topo.fingerprint import Case, measure_labels

LABELS = {"a": np.array([[[0, 1, 1], [2, 2, 0]], [[1, 1, 1], [0, 0, 0]]]), "b": np.array([[[0, 0, 7]]])}


def voxels(mask: np.ndarray) -> int:
    return int(mask.sum())


def cases(reads: list[str], stamp: int = 0) -> list[Case]:
    def reader(name):
        return lambda: reads.append(name) or LABELS[name]

    return [Case(name, [stamp], reader(name)) for name in LABELS]


def test_measures_classes_and_unions_of_classes(tmp_path):
    found = measure_labels(cases([]), [1, 2, (1, 2)], {"voxels": voxels}, cache=tmp_path / "cache.json")
    assert found.values["voxels"] == {"a": {"1": 5, "2": 2, "1, 2": 7}, "b": {"1": 0, "2": 0, "1, 2": 0}}
    assert found.largest("voxels") == (7, "a", "1, 2")
    assert found.labels == {"a": [0, 1, 2], "b": [0, 7]}
    assert found.foreign_labels([0, 1, 2]) == {"b": [7]}


def test_per_slice_takes_the_largest_slice(tmp_path):
    found = measure_labels(cases([]), [1], {"voxels": voxels}, cache=tmp_path / "cache.json", per_slice=True)
    assert found.values["voxels"]["a"] == {"1": 3}


def test_reads_a_case_again_only_if_it_changed_or_something_new_is_asked(tmp_path):
    cache, reads = tmp_path / "cache.json", []
    first = measure_labels(cases(reads), [1], {"voxels": voxels}, cache=cache)
    assert measure_labels(cases(reads), [1], {"voxels": voxels}, cache=cache) == first
    assert sorted(reads) == ["a", "b"]
    measure_labels(cases(reads), [1, 2], {"voxels": voxels}, cache=cache)
    assert len(reads) == 4
    measure_labels(cases(reads, stamp=1), [1, 2], {"voxels": voxels}, cache=cache)
    assert len(reads) == 6
    assert set(json.loads(cache.read_text())["cases"]) == {"a", "b"}


def test_a_cache_that_cannot_be_written_is_said_and_does_not_stop(tmp_path):
    (tmp_path / "file").write_text("")
    said: list[str] = []
    found = measure_labels(cases([]), [1], {"voxels": voxels}, cache=tmp_path / "file" / "cache.json", say=said.append)
    assert found.values["voxels"]["a"]["1"] == 5
    assert len(said) == 1 and "could not be kept" in said[0]
