"""Missed and spurious components: exact on small masks, and against scipy's labels."""

import numpy as np
import pytest
from hypothesis import given, settings
from scipy import ndimage
from topology import seeds, shapes

from nnunet_topo.metrics import component_errors


def test_components_without_a_common_voxel_are_missed_or_spurious():
    reference = np.array([[1, 1, 0, 0, 1, 0, 1]], bool)
    prediction = np.array([[0, 1, 1, 0, 0, 1, 0]], bool)
    errors = component_errors(prediction, reference, (2.0, 0.5))
    assert errors == (2, 2.0, 1, 1.0)
    assert errors.missed_components == 2 and errors.spurious_volume_mm3 == 1.0


def test_voxels_that_share_a_corner_are_one_component():
    diagonal = np.zeros((3, 3, 3), bool)
    diagonal[range(3), range(3), range(3)] = True
    assert component_errors(np.zeros_like(diagonal), diagonal, (1, 1, 1)) == (1, 3, 0, 0)
    assert component_errors(np.eye(3, dtype=bool), np.zeros((3, 3), bool), (1, 1)) == (0, 0, 1, 3)


def test_empty_masks_have_no_components():
    empty = np.zeros((3, 3), bool)
    assert component_errors(empty, empty, (1, 1)) == (0, 0, 0, 0)
    assert component_errors(np.zeros((0, 3), bool), np.zeros((0, 3), bool), (1, 1)) == (0, 0, 0, 0)


@settings(deadline=None, max_examples=100)
@given(seeds, shapes)
def test_counts_and_volumes_are_those_of_scipys_labels(seed, shape):
    rng = np.random.default_rng(seed)
    prediction, reference = rng.random(shape) < 0.15, rng.random(shape) < 0.15
    expected = []
    for mask, other in ((reference, prediction), (prediction, reference)):
        labels, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
        alone = [labels == piece for piece in range(1, count + 1) if not (other & (labels == piece)).any()]
        expected += [len(alone), 0.25 * sum(int(piece.sum()) for piece in alone)]
    spacing = (0.5, 0.5) if len(shape) == 2 else (0.5, 0.5, 1.0)
    assert component_errors(prediction, reference, spacing) == pytest.approx(tuple(expected))
