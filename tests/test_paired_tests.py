"""Paired tests against enumeration by hand, Holm's correction against its definition, comparisons of folders."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import false_discovery_control, ttest_rel

from nnunet_topo.nnunet.evaluation.summary import summarise
from nnunet_topo.report.comparison import compare, distinct_names, main_metrics
from nnunet_topo.statistics.paired_tests import holm, paired_test


def by_enumeration(differences: np.ndarray) -> float:
    means = [abs(np.dot(signs, differences)) for signs in itertools.product((-1, 1), repeat=len(differences))]
    return float(np.mean([mean >= abs(differences.sum()) - 1e-9 for mean in means]))


@pytest.mark.parametrize("images", [1, 2, 5, 10])
def test_few_images_are_tested_by_all_ways_to_flip(images):
    rng = np.random.default_rng(images)
    one, two = rng.integers(0, 6, (2, images)).astype(float)  # with ties and equal pairs
    result = paired_test(one, two)
    assert result.p == pytest.approx(by_enumeration(two - one)) and result.exact
    assert result.difference == pytest.approx(np.mean(two - one)) and result.images == images


def test_ten_images_that_all_improve_have_the_smallest_possible_p():
    assert paired_test(np.zeros(10), np.arange(1.0, 11)).p == pytest.approx(2 / 2**10)


def test_many_images_are_sampled_reproducibly_and_near_the_t_test():
    rng = np.random.default_rng(0)
    one = rng.normal(size=60)
    two = one + rng.normal(0.25, 1, 60)
    result = paired_test(one, two)
    assert not result.exact and result == paired_test(one, two)
    assert result.p == pytest.approx(ttest_rel(one, two).pvalue, abs=0.01)
    assert paired_test(np.zeros(60), np.ones(60)).p > 0  # never 0: the observed signs count too


def test_same_values_give_p_of_one():
    assert paired_test([1.0, 2, 3], [1.0, 2, 3]).p == 1


def test_pairs_without_a_value_are_left_out_and_infinite_ones_forbid_the_test():
    left_out = paired_test([1, math.nan, 3, 4], [2, 2, math.nan, 9])
    assert left_out.images == 2 and left_out.difference == 3
    infinite = paired_test([1.0, math.inf, 3], [2.0, 5, 5])
    assert infinite.infinite == 1 and math.isnan(infinite.p) and math.isnan(infinite.difference)
    assert math.isnan(paired_test([math.nan], [1.0]).p) and math.isnan(paired_test([], []).p)
    with pytest.raises(ValueError, match="not 1 and 2"):
        paired_test([1.0], [1.0, 2.0])


def test_holm_multiplies_by_what_is_left_and_never_falls():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0] and holm([]) == []
    corrected = holm([0.02, math.nan, 0.01])
    assert corrected[0] == pytest.approx(0.02) and math.isnan(corrected[1]) and corrected[2] == pytest.approx(0.02)
    p_values = np.random.default_rng(0).random(20) ** 3
    assert (np.array(holm(p_values)) >= false_discovery_control(p_values) - 1e-12).all()


def summary_of(values: dict[str, tuple[float, float]]) -> dict:
    """Of cases with a Dice for each of two labels, and as many Betti errors as tenths are missing."""
    cases = [{"case": name, "spacing": [1.0, 1.0], "reference_file": "r", "prediction_file": "p",
              "metrics": {key: {"dice": dice, "betti_error_sum": round(10 * (1 - dice)),
                                "betti_matching_error_sum": 0} for key, dice in zip("12", pair, strict=True)}}
             for name, pair in values.items()]
    return summarise(cases, {"labels_or_regions": ["1", "2"], "label_names": {}})


def test_folders_are_compared_on_the_images_that_all_have_with_one_value_for_each():
    first = summary_of({f"c{k}": (0.5, 0.5 + 0.01 * k) for k in range(12)})
    second = summary_of({f"c{k}": (0.9, 0.6 + 0.01 * k) for k in range(2, 14)})
    overall, of_label = compare({"a": first, "b": second}), compare({"a": first, "b": second}, "1")
    assert overall.images == of_label.images == 10 and overall.tests == 3
    rows = dict(overall.rows)
    reference, other = rows["dice"]
    assert reference.test is None and other.test.difference == pytest.approx(0.25)
    assert other.test.p == pytest.approx(2 / 1024) and other.corrected == pytest.approx(3 * 2 / 1024)
    assert other.verdict == "better" and rows["betti_error_sum"][1].verdict == "better"
    assert rows["betti_matching_error_sum"][1].verdict == "" and rows["betti_matching_error_sum"][1].corrected == 1
    assert dict(of_label.rows)["dice"][1].mean == pytest.approx(0.9)
    turned = dict(compare({"b": second, "a": first}).rows)
    assert turned["dice"][1].verdict == turned["betti_error_sum"][1].verdict == "worse"


def test_one_tolerance_of_nsd_is_among_the_tested_metrics():
    assert main_metrics(["dice", "nsd_0.5mm", "nsd_2mm", "iou"]) == ["dice", "nsd_0.5mm"]


def test_folders_are_named_by_the_last_part_in_which_all_differ():
    assert distinct_names([Path("/a/x"), Path("/a/y")]) == ["x", "y"]
    assert distinct_names([Path("/r/one/fold_0/validation"), Path("/r/two/fold_0/validation")]) == ["one", "two"]
    assert distinct_names([Path("/r/one")]) == ["one"]
    assert distinct_names([Path("/r/one"), Path("/r/one")]) == ["/r/one", "/r/one"]
