"""Post-processing's operations and what each keeps, by gudhi, scipy and hand counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from test_betti_numbers import betti_numbers_by_gudhi
from test_thinning_anchors import neighbourhoods_of
from topology import betti_numbers_of_each, is_simple, random_masks, seeds, shapes

from nnunet_topo.postprocessing import close_gaps, drop_specks, fill_holes, keep_pieces

SPACING = (2.0, 0.5, 1.5)


def everywhere(axes: int) -> np.ndarray:
    return ndimage.generate_binary_structure(axes, axes)


def pieces_by_scipy(mask: np.ndarray) -> list[np.ndarray]:
    labels, count = ndimage.label(mask, everywhere(mask.ndim))
    return [labels == label for label in range(1, count + 1)]


def holes_by_scipy(mask: np.ndarray) -> list[np.ndarray]:
    labels, count = ndimage.label(np.pad(~mask, 1, constant_values=True))
    inner = labels[(slice(1, -1),) * mask.ndim]
    return [inner == label for label in range(1, count + 1) if label != labels.flat[0]]


def betti(mask: np.ndarray) -> np.ndarray:
    return betti_numbers_of_each(mask[None])[0]


def smooth(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Probabilities with pieces, gaps and holes of several voxels."""
    values = ndimage.gaussian_filter(rng.random(shape), rng.uniform(0, 1.2))
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else values


@settings(max_examples=60, deadline=None)
@given(shapes, st.integers(1, 20), seeds)
def test_specks_below_a_size_go_and_betti_numbers_fall_by_theirs(shape, voxels, seed):
    mask = random_masks(np.random.default_rng(seed), 1, *shape)[0]
    spacing = SPACING[: len(shape)]
    kept = drop_specks(mask, spacing, smaller_than=voxels * float(np.prod(spacing)))
    expected, gone = np.zeros(shape, bool), np.zeros(len(shape), int)
    for piece in pieces_by_scipy(mask):
        if piece.sum() >= voxels:
            expected |= piece
        else:
            gone += betti(piece)
    assert np.array_equal(kept, expected)
    assert np.array_equal(betti(kept), betti(mask) - gone)


@settings(max_examples=40, deadline=None)
@given(shapes, st.floats(0.3, 1), seeds)
def test_specks_that_are_nowhere_likely_go(shape, peak, seed):
    probabilities = smooth(np.random.default_rng(seed), tuple(shape))
    mask = probabilities > 0.5
    expected = np.zeros(shape, bool)
    for piece in pieces_by_scipy(mask):
        expected |= piece & (probabilities[piece].max() >= peak)
    kept = drop_specks(mask, SPACING[: len(shape)], peak_below=peak, probabilities=probabilities)
    assert np.array_equal(kept, expected)


@settings(max_examples=80, deadline=None)
@given(shapes, st.integers(1, 20), seeds)
def test_filled_holes_change_betti_numbers_by_their_own(shape, voxels, seed):
    mask = random_masks(np.random.default_rng(seed), 1, *shape)[0]
    spacing = SPACING[: len(shape)]
    filled = fill_holes(mask, spacing, smaller_than=voxels * float(np.prod(spacing)))
    expected, gone = mask.copy(), np.zeros(len(shape), int)
    for hole in holes_by_scipy(mask):
        if hole.sum() < voxels:
            expected |= hole
            own = betti_numbers_by_gudhi(hole, "background")  # the hole is 4- or 6-connected
            gone += own[::-1]
    assert np.array_equal(filled, expected)
    assert np.array_equal(betti(filled), betti(mask) - gone)


def test_a_hole_at_the_border_is_none_and_one_that_may_not_be_filled_stays():
    mask = np.ones((5, 7), bool)
    mask[2, 0] = mask[2, 3] = mask[2, 5] = False
    allowed = np.ones_like(mask)
    allowed[2, 5] = False
    filled = fill_holes(mask, (1, 1), smaller_than=2, allowed=allowed)
    assert np.argwhere(~filled).tolist() == [[2, 0], [2, 5]]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(2, 6), min_size=3, max_size=3), st.integers(1, 6), seeds)
def test_closed_tunnels_change_no_other_betti_number(shape, voxels, seed):
    mask = random_masks(np.random.default_rng(seed), 1, *shape)[0]
    closed = fill_holes(mask, (1, 1, 1), tunnels_smaller_than=voxels)
    added = closed & ~mask
    before, after = betti(mask), betti(closed)
    assert not (mask & ~closed).any() and after[0] == before[0] and after[2] == before[2]
    plugs = pieces_by_scipy(added)
    assert before[1] - after[1] >= len(plugs) and all(plug.sum() < voxels for plug in plugs)


def test_a_thin_tunnel_is_closed_and_a_wide_one_is_not():
    mask = np.zeros((9, 11, 17), bool)
    mask[2:7, 1:10, 1:16] = True
    mask[:, 4:7, 9:13] = False  # of 3 x 4 voxels
    mask[:, 4, 4] = mask[:, 7, 4] = False
    closed = fill_holes(mask, (2, 1, 1), tunnels_smaller_than=2.5)
    assert betti(mask).tolist() == [1, 3, 0] and betti(closed).tolist() == [1, 1, 0]
    assert (closed & ~mask).sum() == 2  # one voxel of 2 mm3 each
    assert np.array_equal(fill_holes(mask, (2, 1, 1), tunnels_smaller_than=2), mask)
    forbidden = np.ones(mask.shape, bool)
    forbidden[:, 4, 4] = False
    assert betti(fill_holes(mask, (2, 1, 1), tunnels_smaller_than=2.5, allowed=forbidden))[1] == 2
    assert betti(fill_holes(mask, (2, 1, 1), tunnels_smaller_than=26))[1] == 0


@settings(max_examples=80, deadline=None)
@given(shapes, st.floats(0, 0.49), st.booleans(), seeds)
def test_hysteresis_contains_the_mask_lies_in_the_wide_one_and_has_its_betti_numbers(shape, tau, thick, seed):
    rng = np.random.default_rng(seed)
    probabilities = smooth(rng, tuple(shape))
    mask = probabilities > 0.5
    wide = np.zeros(shape, bool)
    for piece in pieces_by_scipy(probabilities > tau):
        if (piece & mask).any():
            wide |= piece
    closed = close_gaps(mask, probabilities, SPACING[: len(shape)], tau=tau, thick=thick)
    assert not (mask & ~closed).any() and not (closed & ~wide).any()
    assert np.array_equal(betti(closed), betti(wide))
    if not thick and (added := closed & ~mask).any():
        assert not is_simple(neighbourhoods_of(closed, added)).any()


@pytest.mark.parametrize("shape", [(60, 50), (20, 24, 18)])
def test_hysteresis_has_the_wide_masks_betti_numbers_by_gudhi(shape):
    probabilities = ndimage.gaussian_filter(np.random.default_rng(1).random(shape), 1)
    probabilities = (probabilities - probabilities.min()) / np.ptp(probabilities)
    mask, wide = probabilities > 0.5, ndimage.binary_propagation(
        probabilities > 0.5, everywhere(len(shape)), probabilities > 0.4)
    closed = close_gaps(mask, probabilities, (1,) * len(shape), tau=0.4)
    assert betti_numbers_by_gudhi(closed, "foreground") == betti_numbers_by_gudhi(wide, "foreground")
    assert betti_numbers_by_gudhi(mask, "foreground") != betti_numbers_by_gudhi(wide, "foreground")


def test_a_gap_in_a_bar_is_bridged_by_one_line_or_by_the_bars_thickness():
    probabilities = np.full((15, 40), 0.02)
    probabilities[5:10] = 0.9
    probabilities[5:10, 18:22] = 0.2
    mask = probabilities > 0.5
    thin_bridge = close_gaps(mask, probabilities, (1, 1), tau=0.1) & ~mask
    assert thin_bridge.sum(0).tolist() == [0] * 18 + [1] * 4 + [0] * 18
    assert np.array_equal(np.flatnonzero(thin_bridge.any(1)), [7])  # in the middle
    thick_bridge = close_gaps(mask, probabilities, (1, 1), tau=0.1, thick=True) & ~mask
    assert (thick_bridge.sum(0)[18:22] == 5).all()


def test_gaps_are_closed_only_where_it_is_allowed():
    probabilities = np.full((5, 20), 0.3)
    probabilities[:, :8] = probabilities[:, 12:] = 0.9
    mask = probabilities > 0.5
    allowed = np.ones(mask.shape, bool)
    allowed[1:, 8:12] = False
    added = close_gaps(mask, probabilities, (1, 1), tau=0.1, allowed=allowed) & ~mask
    assert np.array_equal(np.argwhere(added), [[0, 8], [0, 9], [0, 10], [0, 11]])


@settings(max_examples=40, deadline=None)
@given(shapes, st.integers(1, 4), seeds)
def test_the_largest_pieces_stay(shape, count, seed):
    mask = random_masks(np.random.default_rng(seed), 1, *shape)[0]
    kept = keep_pieces(mask, pieces=count)
    pieces = sorted(pieces_by_scipy(mask), key=lambda piece: -int(piece.sum()))
    assert betti(kept)[0] == min(count, len(pieces)) and not (kept & ~mask).any()
    assert kept.sum() == sum(int(piece.sum()) for piece in pieces[:count])


@pytest.mark.parametrize("shape", [(9, 11), (5, 6, 7), (1, 8, 9), (3, 3, 3), (1, 1)])
def test_neutral_settings_and_empty_and_full_masks_are_left_as_they_are(shape):
    probabilities = np.random.default_rng(0).random(shape)
    spacing = (1.0,) * len(shape)
    for mask in (probabilities > 0.5, np.zeros(shape, bool), np.ones(shape, bool)):
        before = mask.copy()
        for result in (drop_specks(mask, spacing), fill_holes(mask, spacing), keep_pieces(mask),
                       close_gaps(mask, probabilities, spacing, tau=0.5),
                       close_gaps(mask, mask.astype(np.float32), spacing, tau=0.1)):
            assert np.array_equal(result, before) and not np.shares_memory(result, mask)
    empty = np.zeros(shape, bool)
    for result in (drop_specks(empty, spacing, smaller_than=9), fill_holes(empty, spacing, smaller_than=9),
                   keep_pieces(empty, pieces=1), close_gaps(empty, probabilities, spacing, tau=0)):
        assert not result.any()


def test_sizes_are_in_mm_and_one_of_exactly_the_size_stays():
    mask = np.zeros((3, 9), bool)
    mask[1, 1:4], mask[1, 6:8] = True, True
    assert drop_specks(mask, (0.1, 0.1), smaller_than=0.03).sum() == 3  # 3 x 0.01 is 0.03, but not in floating point
    assert drop_specks(mask, (0.1, 0.1), smaller_than=0.02).sum() == 5
    ring = ~mask
    assert fill_holes(ring, (0.1, 0.1), smaller_than=0.03).sum() == 27 - 3


def test_bad_arguments_are_refused():
    mask, ones = np.ones((4, 5), bool), np.ones((4, 5))
    for call, sentence in (
        (lambda: drop_specks(mask.astype(int), (1, 1)), "boolean numpy array of two or three axes"),
        (lambda: drop_specks(mask, (1,)), "spacing"),
        (lambda: drop_specks(mask, (1, 1), smaller_than=-1), "smaller_than must be an area"),
        (lambda: drop_specks(mask, (1, 1), peak_below=0.9), "peak_below looks at probabilities"),
        (lambda: drop_specks(mask, (1, 1), peak_below=9, probabilities=ones), "probability from 0 to 1"),
        (lambda: fill_holes(mask, (1, 1), smaller_than=np.nan), "smaller_than must be an area"),
        (lambda: fill_holes(mask, (1, 1), smaller_than=1, allowed=mask[1:]), "allowed must be a boolean"),
        (lambda: fill_holes(mask, (1, 1), tunnels_smaller_than=1), "Only volumes have tunnels"),
        (lambda: close_gaps(mask, ones, (1, 1), tau=0.6), "tau must be a probability from 0 to 0.5"),
        (lambda: close_gaps(mask, ones * np.nan, (1, 1), tau=0.1), r"must lie in \[0, 1\]"),
        (lambda: close_gaps(mask, ones[1:], (1, 1), tau=0.1), "mask's shape"),
        (lambda: keep_pieces(mask, pieces=0), "pieces must be a whole number"),
    ):
        with pytest.raises(ValueError, match=sentence):
            call()
