"""Persistence pairs of one image: gudhi's barcodes and voxels, Betti matching's pairs, and what is refused."""

from __future__ import annotations

import gudhi
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunet_topo.homology import Pairs, betti_matching, betti_numbers, persistence_pairs


def bars_of(pairs: Pairs) -> np.ndarray:
    bars = np.stack([-pairs.birth_value, -pairs.death_value], -1)
    return bars[np.lexsort(bars.T)]


@st.composite
def images(draw):
    """Of few or many values, so with and without ties."""
    shape = draw(st.one_of(st.lists(st.integers(1, 12), min_size=2, max_size=2),
                           st.lists(st.integers(1, 6), min_size=3, max_size=3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.sampled_from([1, 2, 4, 1000]))
    return (rng.integers(0, levels + 1, shape) / levels).astype(np.float32)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(images(), st.sampled_from([("foreground", "top_dimensional_cells"), ("background", "vertices")]))
def test_bars_are_those_of_gudhi(image, form):
    connectivity, cells = form
    complex_ = gudhi.CubicalComplex(**{cells: -image})
    complex_.compute_persistence(min_persistence=0)
    persistence = persistence_pairs(image, connectivity)
    assert len(persistence) == image.ndim
    for k, pairs in enumerate(persistence.dimensions):
        expected = complex_.persistence_intervals_in_dimension(k).reshape(-1, 2)
        expected = expected[np.isfinite(expected).all(1)]
        np.testing.assert_array_equal(bars_of(pairs), expected[np.lexsort(expected.T)])
    assert image.flat[persistence.essential] == image.max()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(images())
def test_pairs_are_those_of_betti_matching(image):
    matching = betti_matching(image, image[::-1])
    for pairs, d in zip(persistence_pairs(image).dimensions, matching.dimensions, strict=True):
        tables = (d.matched_prediction, d.unmatched_prediction)
        expected = [row for t in tables for row in zip(t.birth_index, t.death_index, strict=True)]
        assert sorted(zip(pairs.birth_index, pairs.death_index, strict=True)) == sorted(expected)


@pytest.mark.parametrize(("shape", "density"), [((40, 50), 0.6), ((12, 14, 13), 0.9)], ids=str)
def test_a_mask_has_its_betti_numbers_and_the_component_that_never_dies(shape, density):
    mask = np.random.default_rng(0).random(shape) < density
    for connectivity in ("foreground", "background"):
        persistence = persistence_pairs(torch.from_numpy(mask), connectivity)
        counts = [len(pairs) for pairs in persistence.dimensions]
        assert (counts[0] + 1, *counts[1:]) == betti_numbers(mask, connectivity)
        assert counts[-1] > 0


@pytest.mark.parametrize("shape", [(5, 6), (4, 5, 6)], ids=str)
def test_a_constant_image_has_no_features(shape):
    assert [len(pairs) for pairs in persistence_pairs(np.full(shape, 0.3)).dimensions] == [0] * len(shape)


@pytest.mark.parametrize(("image", "error", "sentence"), [
    (np.zeros(4), ValueError, "image of a persistence diagram must have two or three axes"),
    (np.full((3, 3), np.nan), ValueError, "must be finite; 9 of its voxels"),
    (2 * np.eye(3, dtype=int), ValueError, "integers other than 0 and 1"),
    ([[0.5]], TypeError, "real numbers, not list"),
])
def test_bad_input_is_refused_with_a_sentence(image, error, sentence):
    with pytest.raises(error, match=sentence):
        persistence_pairs(image)
