"""Thinning with voxels that stay, with and without end points, against the plain implementation by definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_thinning import plain_thin
from topology import betti_numbers_of_each, is_simple, random_masks, seeds, shapes

from nnunet_topo.skeletons import thin


def neighbourhoods_of(image: np.ndarray, voxels: np.ndarray) -> np.ndarray:
    padded = np.pad(image, 1)
    return np.stack([padded[tuple(slice(i, i + 3) for i in voxel)] for voxel in np.argwhere(voxels)])


@settings(max_examples=25, deadline=None)
@given(shapes, st.booleans(), st.none() | st.integers(0, 3), seeds)
def test_equals_the_plain_implementation(shape, keep_end_points, iterations, seed):
    rng = np.random.default_rng(seed)
    image, anchors = random_masks(rng, 1, *shape)[0], rng.random(shape) < 0.1
    expected = plain_thin(image, iterations, "topological", anchors, keep_end_points)
    assert np.array_equal(thin(image, iterations, anchors=anchors, keep_end_points=keep_end_points), expected)


@settings(max_examples=30, deadline=None)
@given(shapes, seeds)
def test_without_end_points_only_what_the_topology_needs_is_left_beside_the_anchors(shape, seed):
    rng = np.random.default_rng(seed)
    image, anchors = random_masks(rng, 1, *shape)[0], rng.random(shape) < 0.1
    left = thin(image, anchors=anchors, keep_end_points=False)
    assert not (anchors & image & ~left).any() and not (left & ~image).any()
    assert np.array_equal(*betti_numbers_of_each(np.stack([left, image])))
    if (free := left & ~anchors).any():
        assert not is_simple(neighbourhoods_of(left, free)).any()


@pytest.mark.parametrize("border", ["background", "anchored"])
@pytest.mark.parametrize("keep_end_points", [True, False])
def test_a_tensor_equals_its_arrays(border, keep_end_points):
    rng = np.random.default_rng(0)
    images, anchors = random_masks(rng, 6, 7, 8, 9), rng.random((6, 7, 8, 9)) < 0.1
    options = {"border": border, "keep_end_points": keep_end_points}
    batch, kept = (torch.from_numpy(array).view(3, 2, 7, 8, 9) for array in (images, anchors))
    expected = np.stack([thin(image, anchors=stays, **options) for image, stays in zip(images, anchors, strict=True)])
    assert np.array_equal(thin(batch, anchors=kept, **options).flatten(0, 1).numpy(), expected)
    if border == "anchored":
        anchored = np.stack([thin(image, border=border) for image in images])
        assert not np.array_equal(expected, anchored)


def test_anchors_are_left_as_they_were():
    image, anchors = np.ones((9, 9), bool), np.zeros((9, 9), bool)
    thin(image, border="anchored", anchors=anchors)
    assert not anchors.any()


def test_anchors_that_do_not_fit_are_refused():
    mask = np.ones((4, 5), bool)
    with pytest.raises(ValueError, match=r"anchors must have the mask's shape \(4, 5\)"):
        thin(mask, anchors=np.ones((5, 4), bool))
    with pytest.raises(ValueError, match="binary"):
        thin(mask, anchors=np.full((4, 5), 0.5))
    with pytest.raises(TypeError, match="anchors must be of the mask's kind, ndarray, not Tensor"):
        thin(mask, anchors=torch.ones(4, 5))
