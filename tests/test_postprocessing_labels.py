"""Post-processing of label maps with several labels, regions and an ignore label."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from postprocessing_cases import DATASETS, labels_of, random_probabilities, scheme_of
from scipy import ndimage
from topology import seeds

from nnunet_topo.homology import betti_numbers
from nnunet_topo.postprocessing import (
    LabelScheme,
    Operations,
    close_gaps,
    drop_specks,
    fill_holes,
    keep_pieces,
    postprocess_labels,
)
from nnunet_topo.postprocessing.probabilities import CaseProbabilities

EVERYTHING = Operations(gaps_tau=0.2, specks_smaller_than=6, specks_peak_below=0.6, holes_smaller_than=6)


def case_of(kind: str, probabilities: np.ndarray, labels: np.ndarray) -> CaseProbabilities:
    scheme = scheme_of(kind)
    channels = {index: probabilities[channel].astype(np.float16) for index, channel in enumerate(scheme.channels)}
    own = None
    if not scheme.has_regions:
        own = np.take_along_axis(probabilities, labels[None].astype(int), 0)[0].astype(np.float16)
    return CaseProbabilities(scheme, channels, own)


def processed(kind: str, labels: np.ndarray, *operations: Operations, probabilities=None) -> np.ndarray:
    scheme = scheme_of(kind)
    operations += (operations[-1],) * (len(scheme.names) - len(operations))
    case = None if probabilities is None else case_of(kind, probabilities, labels)
    return postprocess_labels(labels, (1.0,) * labels.ndim, scheme, operations, case)


@pytest.mark.parametrize("shape", [(40, 36), (12, 14, 16)], ids=["2d", "3d"])
@pytest.mark.parametrize("kind", ["one", "four", "regions"])
def test_neutral_settings_change_nothing(kind, shape):
    for seed in range(3):
        probabilities = random_probabilities(kind, shape, seed)
        labels = labels_of(kind, probabilities)
        before = labels.copy()
        result = processed(kind, labels, Operations(), probabilities=probabilities)
        assert np.array_equal(result, before) and np.array_equal(labels, before)
        assert result.dtype == labels.dtype and not np.shares_memory(result, labels)


@pytest.mark.parametrize("order", ["gaps_first", "specks_first"])
@pytest.mark.parametrize("shape", [(40, 36), (12, 14, 16)], ids=["2d", "3d"])
def test_a_label_gains_from_the_background_only_and_loses_to_it(shape, order):
    """nnU-Net's own labels are the likeliest ones, so no label can gain from another."""
    operations = Operations(**{**EVERYTHING.__dict__, "order": order})
    for seed in range(4):
        probabilities = random_probabilities("four", shape, seed)
        labels = labels_of("four", probabilities)
        result = processed("four", labels, operations, probabilities=probabilities)
        changed = result != labels
        assert changed.any()
        background_then = (labels == 0) | (result == 0)
        freed = changed & ~background_then  # dropped by one label, then filled by another one around it
        for voxel in np.argwhere(freed):
            without = labels[tuple(voxel)]
            dropped = processed("four", labels, *[operations if index + 1 == without else Operations()
                                                  for index in range(4)], probabilities=probabilities)
            assert dropped[tuple(voxel)] == 0


def claimed(scheme: LabelScheme, labels: np.ndarray, operations: Operations, probabilities: np.ndarray) -> np.ndarray:
    """Where one operation may change any label's mask, by scipy."""
    everywhere = np.ones((3,) * labels.ndim)
    result = np.zeros(labels.shape, bool)
    for index, region in enumerate(scheme.regions):
        mask = np.isin(labels, region)
        pieces, count = ndimage.label(mask, everywhere)
        sizes = np.bincount(pieces.ravel(), minlength=count + 1)
        result |= mask & (sizes < operations.specks_smaller_than)[pieces]
        if operations.pieces is not None and count > operations.pieces:
            result |= mask & (sizes <= np.sort(sizes[1:])[-operations.pieces])[pieces]
        outside, _ = ndimage.label(np.pad(~mask, 1, constant_values=True))
        holes = np.where(outside == outside.flat[0], 0, outside)[(slice(1, -1),) * labels.ndim]
        result |= (holes > 0) & (np.bincount(holes.ravel()) < operations.holes_smaller_than)[holes]
        if operations.gaps_tau < 0.5:
            likely = probabilities[scheme.channels[index]].astype(np.float16) > operations.gaps_tau
            wide, _ = ndimage.label(mask | likely, everywhere)
            result |= ~mask & (wide > 0) & np.isin(wide, wide[mask])
    return result & (labels != (-1 if scheme.ignore_label is None else scheme.ignore_label))


@pytest.mark.parametrize("operations", [
    Operations(specks_smaller_than=12), Operations(holes_smaller_than=12), Operations(gaps_tau=0.3),
    Operations(pieces=2)], ids=["specks", "holes", "gaps", "pieces"])  # fmt: skip
@settings(max_examples=12, deadline=None)
@given(st.sampled_from(["four", "regions", "ignore"]), st.sampled_from([(30, 28), (9, 11, 10)]), seeds)
def test_voxels_that_no_operation_claims_keep_their_label(operations, kind, shape, seed):
    scheme, probabilities = scheme_of(kind), random_probabilities(kind, shape, seed, smooth=0.7)
    labels = labels_of(kind, probabilities)
    case = case_of(kind, probabilities, labels)
    if scheme.ignore_label is not None:
        labels[np.random.default_rng(seed).random(shape) < 0.02] = scheme.ignore_label
    result = postprocess_labels(labels, (1.0,) * labels.ndim, scheme, [operations] * len(scheme.names), case)
    assert not ((result != labels) & ~claimed(scheme, labels, operations, probabilities)).any()
    assert set(np.unique(result)) <= scheme.known | {scheme.ignore_label}


def test_of_two_labels_that_bridge_the_same_voxel_the_likelier_has_it():
    """A horizontal bar of label 1 and a vertical one of label 2 with the same gap in the middle."""
    for first, second, winner in ((0.3, 0.2, 1), (0.2, 0.3, 2)):
        probabilities = np.zeros((5, 11, 11), np.float32)
        probabilities[0] = 1
        probabilities[:, 5, :] = np.array([0.1, 0.9, 0, 0, 0])[:, None]
        probabilities[:, :, 5] = np.array([0.1, 0, 0.9, 0, 0])[:, None]
        probabilities[:, 4:7, 4:7] = np.array([1, 0, 0, 0, 0])[:, None, None]
        probabilities[:, 5, 4:7] = probabilities[:, 4:7, 5] = np.array([0.5, first, second, 0, 0])[:, None]
        labels = labels_of("four", probabilities)
        result = processed("four", labels, Operations(gaps_tau=0.1), probabilities=probabilities)
        assert labels[5, 5] == 0 and result[5, 5] == winner
        assert betti_numbers(result == winner) == (1, 0)


def test_a_speck_inside_another_label_is_filled_by_it_once_it_is_dropped_and_not_before():
    labels = np.full((9, 9), 1, np.uint8)
    labels[4, 4] = 2
    fills = Operations(holes_smaller_than=3)
    assert np.array_equal(processed("four", labels, fills), labels)  # the hole belongs to label 2
    result = processed("four", labels, fills, Operations(specks_smaller_than=3))
    assert (result == 1).all()


def test_a_hole_that_holds_another_label_stays():
    labels = np.zeros((9, 9), np.uint8)
    labels[1:8, 1:8] = 1
    labels[3:6, 3:6] = 0
    labels[4, 4] = 2
    assert np.array_equal(processed("four", labels, Operations(holes_smaller_than=50), Operations()), labels)


def test_regions_are_repainted_in_nnunets_order():
    labels = np.zeros((12, 20), np.uint8)
    labels[1:9, 1:15] = 1  # whole
    labels[2:6, 2:6] = 2  # core in it
    labels[3:5, 3:5] = 3  # enhancing in that
    labels[2, 12] = 2  # a speck of core
    labels[7, 3] = 0  # a hole of whole
    labels[10:, 18:] = 3  # a speck of whole that is core and enhancing too
    result = processed("regions", labels, Operations(specks_smaller_than=8, holes_smaller_than=8),
                       Operations(specks_smaller_than=5), Operations())
    expected = labels.copy()
    expected[2, 12], expected[7, 3], expected[10:, 18:] = 1, 1, 0
    assert np.array_equal(result, expected)


def test_a_region_gains_within_the_region_around_it_and_a_bridge_of_core_is_whole_too():
    probabilities = np.zeros((3, 7, 20), np.float32)
    probabilities[0, 2:5, :] = 0.9
    probabilities[1, 3, :] = 0.9
    probabilities[1, 3, 9:11] = 0.3  # a gap of core inside whole
    probabilities[0, 2:5, 5] = 0.3  # a gap of whole and of core
    probabilities[1, 3, 5] = 0.3
    labels = labels_of("regions", probabilities)
    result = processed("regions", labels, Operations(gaps_tau=0.2), probabilities=probabilities)
    assert (result[3] == 2).all()
    assert betti_numbers(result > 0) == betti_numbers(result > 1) == (1, 0)
    assert betti_numbers(labels > 1) == (3, 0) and betti_numbers(labels > 0) == (2, 0)


@pytest.mark.parametrize("order", ["gaps_first", "specks_first"])
def test_of_one_label_the_result_is_that_of_the_operations_one_after_the_other(order):
    probabilities = random_probabilities("one", (50, 44), 5)
    labels = labels_of("one", probabilities)
    result = processed("one", labels, Operations(order=order, gaps_tau=0.3, specks_smaller_than=20, pieces=4,
                                                 holes_smaller_than=10), probabilities=probabilities)
    mask, likely, spacing = labels == 1, probabilities[1].astype(np.float16), (1.0, 1.0)
    steps = {"gaps": lambda mask: close_gaps(mask, likely, spacing, tau=0.3),
             "specks": lambda mask: drop_specks(mask, spacing, smaller_than=20)}
    for name in ("gaps", "specks") if order == "gaps_first" else ("specks", "gaps"):
        before = mask
        mask = steps[name](mask)
        assert not np.array_equal(mask, before)
    expected = keep_pieces(fill_holes(mask, spacing, smaller_than=10), pieces=4)
    assert np.array_equal(result == 1, expected)


def test_voxels_of_the_ignore_label_are_left_alone():
    labels = np.zeros((9, 12), np.uint8)
    labels[1:8, 1:8] = 1
    labels[3, 3], labels[5, 5] = 0, 2
    labels[0, 11] = 2
    result = processed("ignore", labels, Operations(specks_smaller_than=4, holes_smaller_than=4))
    expected = labels.copy()
    expected[3, 3] = 1
    assert np.array_equal(result, expected)


def test_settings_that_need_probabilities_say_so():
    with pytest.raises(ValueError, match="settings of vessel look at probabilities"):
        processed("one", np.ones((5, 5), np.uint8), Operations(gaps_tau=0.2))


def test_a_region_that_does_not_hold_its_own_label_is_refused():
    settings = {"labels_or_regions": [(1, 2), (2,)], "known_labels": {0, 1, 2}, "ignore_label": None,
                "label_names": {"(1, 2)": "tree", "(2,)": "branch"}}
    with pytest.raises(ValueError, match="paints the region branch"):
        LabelScheme.of_dataset(settings, {**DATASETS["regions"], "regions_class_order": [1, 1]})
