"""Dice and Betti error on masks of a few voxels, where the value is known."""

import math

import numpy as np
import pytest

from nnunet_topo.metrics import betti_error, dice

RING = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], bool)
BROKEN_RING = np.array([[1, 1, 1], [0, 0, 0], [1, 1, 1]], bool)


def test_dice_counts_the_shared_voxels_twice():
    assert dice(BROKEN_RING, RING) == pytest.approx(2 * 6 / (6 + 8))
    assert dice(RING, RING) == 1.0
    assert dice(RING, ~RING) == 0.0


def test_dice_does_not_overflow_where_counts_are_large():
    mask = np.ones((300, 300), bool)
    assert dice(mask, mask) == 1.0


def test_dice_of_two_empty_masks_is_not_a_number_and_of_one_is_zero():
    empty = np.zeros_like(RING)
    assert math.isnan(dice(empty, empty))
    assert dice(empty, RING) == 0.0
    assert dice(RING, empty) == 0.0


def test_betti_error_counts_pieces_and_holes_apart():
    assert betti_error(BROKEN_RING, RING) == (1, 1)
    assert betti_error(RING, BROKEN_RING) == (1, 1)
    assert betti_error(RING, RING) == (0, 0)
    assert betti_error(np.zeros_like(RING), RING) == (1, 1)


def test_betti_error_has_a_third_number_in_3d():
    hollow = np.ones((3, 3, 3), bool)
    hollow[1, 1, 1] = False
    assert betti_error(np.ones((3, 3, 3), bool), hollow) == (0, 0, 1)


def test_betti_error_depends_on_the_connectivity():
    joined, diagonal = np.ones((2, 2), bool), np.eye(2, dtype=bool)
    assert betti_error(diagonal, joined, "foreground") == (0, 0)
    assert betti_error(diagonal, joined, "background") == (1, 0)
    with pytest.raises(ValueError, match='"foreground" or "background"'):
        betti_error(diagonal, joined, "26")


@pytest.mark.parametrize("metric", [dice, betti_error])
def test_masks_of_different_shapes_are_refused_with_both_shapes(metric):
    with pytest.raises(ValueError, match=r"prediction has \(2, 3\) and the reference \(3, 3\)"):
        metric(np.ones((2, 3), bool), np.ones((3, 3), bool))


@pytest.mark.parametrize("metric", [dice, betti_error])
def test_labels_instead_of_masks_are_refused(metric):
    with pytest.raises(ValueError, match="The reference must be a boolean numpy array, not ndarray uint8"):
        metric(RING, RING.astype(np.uint8))
