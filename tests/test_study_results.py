"""The tables of a study: images are the units, seeds are averaged, test groups stay apart."""

from __future__ import annotations

import math

import pytest

from nnunet_topo.statistics import holm
from nnunet_topo.statistics.paired_tests import paired_test
from nnunet_topo.study.comparison import compare_runs, compare_section
from nnunet_topo.study.results import text_of
from nnunet_topo.study.settings import Run


def run(trainer: str, seed: int) -> Run:
    return Run("out", "Dataset001_A", "2d", trainer, "plans", 0, seed, None, None, None, 5, "cpu", True)


def test_images_are_the_units_of_a_test_and_seeds_are_averaged():
    base = {seed: {f"i{k}": k + seed for k in range(6)} for seed in (0, 1)}
    gains = [1.0, 2.0, 1.5, 0.5, 3.0, -0.25]
    values = {"dice": {run("A", seed): images for seed, images in base.items()}
              | {run("B", seed): {f"i{k}": k + seed + gains[k] * (1 + seed) for k in range(6)} for seed in (0, 1)}}
    first, second = compare_runs(values, "A")["dice"].values()
    assert (first.trainer, first.mean, len(first.run_means), first.test) == ("A", 3.0, 2, None)
    assert first.spread == pytest.approx(math.sqrt(0.5))  # of the runs' means 2.5 and 3.5
    expected = paired_test([k + 0.5 for k in range(6)], [k + 0.5 + 1.5 * gains[k] for k in range(6)])
    assert second.test == pytest.approx(expected) and second.test.images == 6
    assert second.test.p == 4 / 64  # of all flips of six signs, the observed, that of the one loss alone, and reverses


def test_a_test_uses_only_the_seeds_that_both_trainers_have():
    values = {"dice": {run("A", 0): {"x": 1.0, "y": 2.0}, run("A", 1): {"x": 100.0, "y": 100.0},
                       run("B", 0): {"x": 2.0, "y": 4.0}}}
    _, row = compare_runs(values, "A")["dice"].values()
    assert row.differences == {"x": 1.0, "y": 2.0}
    assert row.test.difference == 1.5 and len(row.run_means) == 1 and math.isnan(row.spread)
    rows = compare_runs({"dice": {run("A", 1): {"x": 1.0}, run("B", 0): {"x": 2.0}}}, "A")
    assert [row.test for row in rows["dice"].values()] == [None, None]


def test_without_the_baseline_there_are_means_and_no_tests():
    (row,) = compare_runs({"dice": {run("B", 0): {"x": 2.0, "y": math.nan}}}, "A")["dice"].values()
    assert row.mean == 2.0 and row.test is None


def summary(shift: float) -> dict:
    """Six images; the first three are of group near."""
    cases = [{"case": f"i{k}", "metrics": {"1": {"dice": 0.8 + shift / 100, "betti_error_sum": 10.0 - k - shift}}}
             for k in range(6)]
    return {"foreground_mean": {"dice": 0.0, "betti_error_sum": 0.0}, "metric_per_case": cases}


GROUPS = {f"i{k}": "near" if k < 3 else "far" for k in range(6)}


def test_groups_stay_apart_and_p_values_are_corrected_for_all_tests_of_a_section():
    summaries = {run("A", 0): summary(0), run("B", 0): summary(1), run("C", 0): summary(-2)}
    records = {key: {"training_seconds": 100.0 * (1 + place), "memory_gb": 2.0} for place, key in enumerate(summaries)}
    section = compare_section("A", summaries, GROUPS, records)
    assert [(cost.trainer, cost.relative) for cost in section.costs] == [("A", 1.0), ("B", 2.0), ("C", 3.0)]
    assert [(group.name, group.images) for group in section.groups] == [("far", 3), ("near", 3)]
    assert section.tests == 8  # two groups, two metrics, two trainers
    far, near = (group.rows["betti_error_sum"] for group in section.groups)
    assert (far["A"].mean, near["A"].mean, near["B"].mean, near["C"].mean) == (6.0, 9.0, 8.0, 11.0)
    assert near["B"].test.p == 2 / 8 and near["B"].corrected == 1.0 and near["B"].verdict == ""


def test_only_the_metrics_that_the_study_names_are_tested_and_count_for_the_correction():
    summaries = {run("A", 0): summary(0), run("B", 0): summary(1)}
    records = {key: {"training_seconds": 1.0, "memory_gb": 2.0} for key in summaries}
    section = compare_section("A", summaries, GROUPS, records, ["betti_error_sum"])
    rows = section.groups[0].rows
    assert section.tests == 2 and rows["dice"]["B"].test is None and rows["betti_error_sum"]["B"].test is not None
    assert rows["dice"]["B"].differences == pytest.approx({"i3": 0.01, "i4": 0.01, "i5": 0.01})


def test_raw_is_tested_against_raw_and_post_processed_against_post_processed():
    summaries = {run(trainer, seed): summary(shift + seed) for trainer, shift in (("A", 0), ("B", 1), ("C", -2))
                 for seed in (0, 1)}
    # a broom that takes six errors from A and one from B, all of seed 0 and none of C; seed 1 could not be swept
    swept = {run("A", 0): summary(6), run("B", 0): summary(1 + 1)}
    records = {key: {"training_seconds": 1.0, "memory_gb": 2.0} for key in summaries}
    records[run("A", 0)]["postprocessing"] = {"seconds": 30.0}
    section = compare_section("A", summaries, GROUPS, records, post_processed=swept)
    _, near = section.groups
    assert list(near.kinds) == ["raw", "post-processed"]
    before, after = (rows["betti_error_sum"] for rows in near.kinds.values())
    assert before["A"].mean == (9.0 + 8.0) / 2 and before["B"].test.difference == -1.0
    assert (after["A"].mean, after["B"].mean, list(after)) == (9.0 - 6, 9.0 - 2, ["A", "B"])
    assert after["B"].test.difference == 4.0  # not -2, which it is below the raw baseline
    assert after["B"].differences == {"i0": 4.0, "i1": 4.0, "i2": 4.0}
    # two groups and two metrics, with two trainers against the baseline raw and one post-processed
    assert section.tests == 2 * 2 * (2 + 1)
    every = [row for group in section.groups for rows in group.kinds.values() for by_trainer in rows.values()
             for row in by_trainer.values() if row.test]
    assert len(every) == 12
    assert [row.corrected for row in every] == pytest.approx(holm([row.test.p for row in every]))
    assert [cost.postprocessing_seconds for cost in section.costs] == pytest.approx([30.0, math.nan, math.nan],
                                                                                    nan_ok=True)
    lines = text_of([section], 6, [], {"run of B, seed 1": "No label"}).splitlines()
    assert "| betti_error_sum | post-processed | B | 7 (1) | +4 | 1 |  |" in lines
    assert "| betti_error_sum | raw | A | 8.5 ± 0.707 (2) |  |  |  |" in lines
    assert "* run of B, seed 1: No label" in lines


def test_a_verdict_knows_which_direction_is_better():
    names = [f"i{k}" for k in range(12)]
    values = {seed: {name: float(k) for k, name in enumerate(names)} for seed in range(3)}

    def of(shift: float) -> dict:
        return {"foreground_mean": {"betti_error_sum": 0.0}, "metric_per_case": [
            {"case": name, "metrics": {"1": {"betti_error_sum": values[0][name] + shift}}} for name in names]}

    summaries = {run("A", 0): of(0), run("B", 0): of(-1), run("C", 0): of(1)}
    records = {key: {"training_seconds": 1.0, "memory_gb": 1.0} for key in summaries}
    (group,) = compare_section("A", summaries, {}, records).groups
    assert group.name == "test"
    assert [row.verdict for row in group.rows["betti_error_sum"].values()] == ["", "better", "worse"]
