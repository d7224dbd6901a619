"""The tables of a study: images are the units, seeds are averaged, test groups stay apart."""

from __future__ import annotations

import math

import pytest

from nnunet_topo.report.paired_tests import paired_test
from nnunet_topo.study.results import compare_runs
from nnunet_topo.study.settings import Run


def run(trainer: str, seed: int) -> Run:
    return Run("out", "Dataset001_A", "2d", trainer, "plans", 0, seed, None, None, None, 5, "cpu", True)


def test_images_are_the_units_of_a_test_and_seeds_are_averaged():
    base = {seed: {f"i{k}": k + seed for k in range(6)} for seed in (0, 1)}
    gains = [1.0, 2.0, 1.5, 0.5, 3.0, -0.25]
    values = {"dice": {run("A", seed): images for seed, images in base.items()}
              | {run("B", seed): {f"i{k}": k + seed + gains[k] * (1 + seed) for k in range(6)} for seed in (0, 1)}}
    first, second = compare_runs(values, "A")
    assert (first.trainer, first.mean, first.runs, first.test) == ("A", 3.0, 2, None)
    assert first.spread == pytest.approx(math.sqrt(0.5))  # of the runs' means 2.5 and 3.5
    expected = paired_test([k + 0.5 for k in range(6)], [k + 0.5 + 1.5 * gains[k] for k in range(6)])
    assert second.test == pytest.approx(expected) and second.test.images == 6
    assert second.test.p == 4 / 64  # of all flips of six signs, the observed, that of the one loss alone, and reverses


def test_a_test_uses_only_the_seeds_that_both_trainers_have():
    values = {"dice": {run("A", 0): {"x": 1.0, "y": 2.0}, run("A", 1): {"x": 100.0, "y": 100.0},
                       run("B", 0): {"x": 2.0, "y": 4.0}}}
    _, row = compare_runs(values, "A")
    assert row.test.difference == 1.5 and row.runs == 1 and math.isnan(row.spread)
    rows = compare_runs({"dice": {run("A", 1): {"x": 1.0}, run("B", 0): {"x": 2.0}}}, "A")
    assert [row.test for row in rows] == [None, None]


def test_without_the_baseline_there_are_means_and_no_tests():
    (row,) = compare_runs({"dice": {run("B", 0): {"x": 2.0, "y": math.nan}}}, "A")
    assert row.mean == 2.0 and row.test is None
