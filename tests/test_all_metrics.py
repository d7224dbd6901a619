"""All metrics at once: each equals its own function, whatever lies around the masks; clDice, IoU and volume as well."""

import inspect
import math

import numpy as np
import pytest
from hypothesis import given, settings
from topology import seeds, shapes

from nnunet_topo.homology import betti_numbers
from nnunet_topo.metrics import (
    all_metrics,
    betti_error,
    betti_matching_error,
    cl_dice,
    cl_dice_parts,
    component_errors,
    dice,
    iou,
    skeleton_coverage,
    surface_distances,
    volume_difference_mm3,
)
from nnunet_topo.skeletons import thin
from nnunet_topo.synthetic import vessel_tree


def case(seed, shape, density=0.4):
    rng = np.random.default_rng(seed)
    return rng.random(shape) < density, rng.random(shape) < density, tuple(rng.uniform(0.3, 3, len(shape)))


def one_by_one(prediction, reference, spacing):
    surfaces = surface_distances(prediction, reference, spacing)
    length, share = skeleton_coverage(prediction, reference, spacing)
    matching = betti_matching_error(prediction, reference)
    betti = betti_error(prediction, reference)
    return {
        "dice": dice(prediction, reference),
        "iou": iou(prediction, reference),
        "volume_difference_mm3": volume_difference_mm3(prediction, reference, spacing),
        "nsd_0.5mm": surfaces.normalised_surface_dice(0.5),
        "hausdorff_mm": surfaces.hausdorff_mm(),
        "hausdorff_95_mm": surfaces.hausdorff_mm(95),
        "average_symmetric_surface_distance_mm": surfaces.average_symmetric_mm(),
        "skeleton_length_mm": length,
        "skeleton_covered_share": share,
        "betti_error_sum": sum(betti),
        "betti_matching_error_sum": sum(matching),
        **cl_dice_parts(prediction, reference)._asdict(),
        **component_errors(prediction, reference, spacing)._asdict(),
        **{f"betti_{k}_error": error for k, error in enumerate(betti)},
        **{f"betti_matching_error_{k}": error for k, error in enumerate(matching)},
    }


def assert_all_equal(results, expected):
    renamed = {"precision": "cl_dice_precision", "sensitivity": "cl_dice_sensitivity"}
    for name, value in expected.items():
        assert results[renamed.get(name, name)] == pytest.approx(value, nan_ok=True), name


@settings(deadline=None, max_examples=60)
@given(seeds, shapes)
def test_each_metric_is_that_of_its_own_function(seed, shape):
    prediction, reference, spacing = case(seed, shape)
    assert_all_equal(all_metrics(prediction, reference, spacing, (0.5,)), one_by_one(prediction, reference, spacing))


@settings(deadline=None, max_examples=40)
@given(seeds, shapes)
def test_background_around_the_masks_is_cut_away_without_changing_a_metric(seed, shape):
    prediction, reference, spacing = case(seed, shape)
    rng = np.random.default_rng(seed)
    margins = rng.integers(0, 5, (len(shape), 2))
    prediction, reference = np.pad(prediction, margins), np.pad(reference, margins)
    assert_all_equal(all_metrics(prediction, reference, spacing, (0.5,)), one_by_one(prediction, reference, spacing))


@pytest.mark.parametrize("shape", [(48, 64), (40, 32, 36)])
def test_metrics_of_vessels(shape):
    reference = vessel_tree(shape, seed=3).label > 0
    prediction = np.roll(reference, 1, 0)
    spacing = (0.8, 0.6, 0.7)[: len(shape)]
    results = all_metrics(prediction, reference, spacing, (0.5,))
    assert_all_equal(results, one_by_one(prediction, reference, spacing))
    perfect = all_metrics(reference, reference, spacing)
    ones = {"dice", "iou", "nsd_1mm", "nsd_2mm", "cl_dice", "cl_dice_precision", "cl_dice_sensitivity"}
    assert all(perfect[name] == 1 for name in ones | {"skeleton_covered_share"})
    zeros = [name for name in perfect if "error" in name or "missed" in name or "spurious" in name]
    zeros += ["volume_difference_mm3", "hausdorff_mm", "hausdorff_95_mm", "average_symmetric_surface_distance_mm"]
    assert all(perfect[name] == 0 for name in zeros)
    assert (perfect["betti_0"], perfect["betti_1"]) == (perfect["betti_0_reference"], perfect["betti_1_reference"])
    assert (perfect["betti_0"], perfect["betti_1"]) == (1, 1)


@pytest.mark.parametrize("shape", [(5, 6), (4, 5, 6)])
def test_values_of_empty_masks_are_those_of_the_table(shape):
    empty, full = np.zeros(shape, bool), np.zeros(shape, bool)
    full[(*[1] * (len(shape) - 1), slice(1, 5))] = True
    spacing = (0.5,) * len(shape)
    nothing = {name for name, value in all_metrics(empty, empty, spacing).items() if math.isnan(value)}
    undefined = {"dice", "iou", "nsd_1mm", "nsd_2mm", "hausdorff_mm", "hausdorff_95_mm", "cl_dice",
                 "cl_dice_precision", "cl_dice_sensitivity", "skeleton_covered_share",
                 "average_symmetric_surface_distance_mm"}
    assert nothing == undefined
    assert all(value == 0 for name, value in all_metrics(empty, empty, spacing).items() if name not in undefined)
    for prediction, reference, missing, share, other in (
        (empty, full, "missed", "cl_dice_sensitivity", "cl_dice_precision"),
        (full, empty, "spurious", "cl_dice_precision", "cl_dice_sensitivity"),
    ):
        results = all_metrics(prediction, reference, spacing)
        assert results["dice"] == results["iou"] == results["nsd_1mm"] == results["cl_dice"] == results[share] == 0
        assert math.isnan(results[other])
        assert results["hausdorff_mm"] == results["hausdorff_95_mm"] == math.inf
        assert results["average_symmetric_surface_distance_mm"] == math.inf
        volume = full.sum() * 0.5 ** len(shape)
        assert results[f"{missing}_components"] == 1 and results[f"{missing}_volume_mm3"] == volume
        assert results["volume_difference_mm3"] == (volume if missing == "spurious" else -volume)
        assert results["betti_0_error"] == results["betti_matching_error_0"] == 1
        assert (results["skeleton_length_mm"] > 0) == (missing == "missed")
        assert math.isnan(results["skeleton_covered_share"]) == (missing == "spurious")


def test_every_metric_is_in_the_table_of_the_docstring():
    table = inspect.getdoc(all_metrics)
    mask = np.ones((2, 2, 2), bool)
    for name in all_metrics(mask, mask, (1, 1, 1)):
        general = name.replace("_1", "_0", 1).replace("_2", "_0", 1) if "betti" in name else name
        known = name in table or general in table or (name == "betti_matching_error_sum" and "..._sum" in table)
        assert known, name


@settings(deadline=None, max_examples=30)
@given(seeds, shapes)
def test_ignored_voxels_are_background_in_both_masks(seed, shape):
    prediction, reference, spacing = case(seed, shape)
    ignore = np.random.default_rng(seed + 1).random(shape) < 0.3
    before = prediction.copy(), reference.copy()
    expected = all_metrics(prediction & ~ignore, reference & ~ignore, spacing)
    assert all_metrics(prediction, reference, spacing, ignore=ignore) == pytest.approx(expected, nan_ok=True)
    assert np.array_equal(prediction, before[0]) and np.array_equal(reference, before[1])


def test_an_entry_is_named_by_its_tolerance():
    mask = np.ones((3, 3), bool)
    names = [name for name in all_metrics(mask, mask, (1, 1), tolerances_mm=(0.25, 3)) if name.startswith("nsd")]
    assert names == ["nsd_0.25mm", "nsd_3mm"]


def test_values_are_plain_numbers_that_json_can_hold():
    prediction, reference, spacing = case(0, (6, 6, 6))
    assert all(type(value) in (int, float) for value in all_metrics(prediction, reference, np.array(spacing)).values())


@settings(deadline=None, max_examples=40)
@given(seeds, shapes)
def test_cl_dice_is_the_harmonic_mean_of_the_shares_of_skeleton_voxels(seed, shape):
    prediction, reference, _ = case(seed, shape, 0.7)
    result = cl_dice_parts(prediction, reference)
    inside = [float(mask[thin(other)].mean()) for other, mask in ((prediction, reference), (reference, prediction))
              if other.any()]
    if len(inside) == 2:
        assert result[1:] == pytest.approx(tuple(inside))
        assert result.cl_dice * sum(inside) == pytest.approx(2 * inside[0] * inside[1])


def test_cl_dice_of_a_line_that_is_half_predicted():
    line, half = np.zeros((3, 10), bool), np.zeros((3, 10), bool)
    line[1], half[1, :5] = True, True
    assert cl_dice_parts(half, line) == pytest.approx((2 / 3, 1.0, 0.5))
    assert cl_dice_parts(line, half) == pytest.approx((2 / 3, 0.5, 1.0))
    assert cl_dice_parts(~line, line) == (0, 0, 0)
    assert cl_dice(half, line) == pytest.approx(2 / 3) and cl_dice(~line, line) == 0


def test_iou_and_volume_difference_of_two_offset_boxes():
    one, two = np.zeros((4, 4, 4), bool), np.zeros((4, 4, 4), bool)
    one[:2, :2, :3], two[1:3, :2, :2] = True, True
    assert iou(one, two) == pytest.approx(4 / 16)
    assert volume_difference_mm3(one, two, (0.5, 1.0, 3.0)) == pytest.approx(4 * 1.5)
    assert volume_difference_mm3(two, one, (0.5, 1.0, 3.0)) == pytest.approx(-4 * 1.5)
    assert volume_difference_mm3(one[0], two[0], (0.5, 2.0)) == 6.0  # an area


def test_bad_masks_and_ignored_voxels_are_refused():
    mask = np.ones((3, 3), bool)
    with pytest.raises(ValueError, match="boolean numpy array, not ndarray uint8"):
        all_metrics(mask, mask.astype(np.uint8), (1, 1))
    with pytest.raises(ValueError, match="same shape"):
        all_metrics(mask, mask[:2], (1, 1))
    with pytest.raises(ValueError, match="two or three axes"):
        all_metrics(mask[0], mask[0], (1,))
    with pytest.raises(ValueError, match="ignore must be a boolean numpy array"):
        all_metrics(mask, mask, (1, 1), ignore=mask[:2])
    with pytest.raises(ValueError, match="tolerance must be"):
        all_metrics(mask, mask, (1, 1), tolerances_mm=(-1,))


def test_the_other_connectivity_gives_the_published_counts_and_is_checked():
    rng = np.random.default_rng(0)
    prediction, reference = rng.random((2, 12, 13)) < 0.5
    found = all_metrics(prediction, reference, (1, 1), connectivity="background")
    matching = betti_matching_error(prediction, reference, "background", published=True)
    assert [found["betti_matching_error_0"], found["betti_matching_error_1"]] == list(matching)
    assert found["betti_0"] == betti_numbers(prediction, "background")[0] != betti_numbers(prediction)[0]
    alone = component_errors(prediction, reference, (1, 1), "background")
    assert found["missed_components"] == alone.missed_components != component_errors(
        prediction, reference, (1, 1)).missed_components
    with pytest.raises(ValueError, match="must be \"foreground\" or \"background\", not 'both'"):
        all_metrics(prediction, reference, (1, 1), connectivity="both")
