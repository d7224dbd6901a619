"""Matches of masks, counted without an order of cells: linear algebra, invariances, and cases made by hand."""

import itertools
from pathlib import Path

import linear_algebra
import numpy as np
import pytest
from scipy import ndimage

from nnunet_topo.homology import betti_numbers, matched_betti_numbers
from nnunet_topo.metrics import betti_error, betti_matching_error
from nnunet_topo.synthetic import vessel_tree

GOLDEN = Path(__file__).parent / "golden" / "betti_foreground" / "masks.npz"
CONNECTIVITIES = ["foreground", "background"]


def test_counts_are_those_of_the_reference_values():
    golden = np.load(GOLDEN)
    cases = sorted({name[:4] for name in golden})
    assert len(cases) == 115
    for case in cases:
        prediction, target = golden[f"{case}_prediction"], golden[f"{case}_target"]
        matched = np.array(matched_betti_numbers(prediction, target))
        alone = [np.array(betti_numbers(mask)) - matched for mask in (prediction, target)]
        assert np.array_equal(np.stack([matched, *alone], 1), golden[f"{case}_counts"]), case


def random_pair(rng, shape):
    """Sparse and dense masks, often alike; every third pair is full but for some voxels, as cavities need it."""
    if rng.random() < 1 / 3:
        full = rng.random(shape) < rng.uniform(0.85, 1)
        full[tuple(np.array(shape) // 2)] = False
        return full, full ^ (rng.random(shape) < rng.uniform(0, 0.05))
    one = rng.random(shape) < rng.uniform(0.1, 0.95)
    other = one ^ (rng.random(shape) < rng.uniform(0, 0.4)) if rng.random() < 0.6 else rng.random(shape) < rng.random()
    return one, other


def agree_with_linear_algebra(rng, axes, longest, cases, connectivity):
    matches = np.zeros(axes, int)
    for _ in range(cases):
        masks = random_pair(rng, rng.integers(1, longest + 1, axes))
        matched = matched_betti_numbers(*masks, connectivity)
        assert matched == linear_algebra.matched_betti_numbers(*masks, connectivity)
        matches += matched
    return matches


@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
@pytest.mark.parametrize(("axes", "longest", "cases"), [(2, 7, 100), (3, 4, 40)])
def test_counts_are_those_of_linear_algebra(axes, longest, cases, connectivity):
    agree_with_linear_algebra(np.random.default_rng(axes), axes, longest, cases, connectivity)


@pytest.mark.slow
@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
@pytest.mark.parametrize(("axes", "longest", "cases"), [(2, 9, 2500), (3, 5, 1500)])
def test_counts_are_those_of_linear_algebra_thousands_of_times(axes, longest, cases, connectivity):
    matches = agree_with_linear_algebra(np.random.default_rng(10 + axes), axes, longest, cases, connectivity)
    assert (matches > 10).all()


def every_orientation(masks):
    axes = range(masks[0].ndim)
    for order in itertools.permutations(axes):
        for mirrored in itertools.product((False, True), repeat=len(axes)):
            yield [np.flip(mask.transpose(order), np.flatnonzero(mirrored)) for mask in masks]


@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
@pytest.mark.parametrize(("shape", "cases"), [((11, 13), 20), ((6, 7, 8), 8)], ids=str)
def test_mirrored_transposed_and_exchanged_masks_share_as_many_and_the_error_bounds_the_betti_error(
    shape, cases, connectivity
):
    rng = np.random.default_rng(0)
    for _ in range(cases):
        masks = random_pair(rng, shape)
        errors = betti_matching_error(*masks, connectivity)
        for one, other in every_orientation(masks):
            assert betti_matching_error(one, other, connectivity) == errors
            assert betti_matching_error(other, one, connectivity) == errors
        differences = betti_error(*masks, connectivity)
        assert all(e >= d and (e - d) % 2 == 0 for e, d in zip(errors, differences, strict=True))


def mask_of(*rows):
    return np.array([[character != "." for character in row] for row in rows])


def errors_of_both_forms(prediction, reference, connectivity="background"):
    return (betti_matching_error(prediction, reference, connectivity),
            betti_matching_error(prediction, reference, "background", published=True))


def test_pieces_that_the_published_order_hides():
    prediction, reference = mask_of("...", "#.#", ".##"), mask_of(".#.", "..#", ".##")
    assert errors_of_both_forms(prediction, reference) == ((2, 0), (0, 0))
    assert errors_of_both_forms(prediction[:, ::-1], reference[:, ::-1]) == ((2, 0), (2, 0))


@pytest.mark.parametrize("mirrored, published", [(False, (0, 0)), (True, (0, 2))])
def test_a_hole_that_is_one_of_two_is_not_both_together(mirrored, published):
    """As in an example of the authors' notebook: the reference has both as one, the prediction that on the right."""
    reference = mask_of("#######", "#..#..#", "#.....#", "#..#..#", "#######")
    prediction = mask_of("#######", "#..#..#", "...#..#", "#..#..#", "#######")
    masks = [mask[:, ::-1] if mirrored else mask for mask in (prediction, reference)]
    assert errors_of_both_forms(*masks) == ((0, 2), published)
    assert betti_matching_error(*masks) == (0, 2)


def test_a_thicker_diagonal_line_is_right_where_the_foreground_is_connected_across_corners():
    line = np.eye(32, dtype=bool)
    thick = line | np.eye(32, k=1, dtype=bool)
    assert betti_matching_error(thick, line) == (0, 0)
    assert betti_matching_error(thick, line, "background") == (31, 0)


def test_a_volume_of_one_slice_shares_what_its_image_shares():
    rng = np.random.default_rng(4)
    for _ in range(20):
        one, other = random_pair(rng, (9, 10))
        for axis, connectivity in itertools.product(range(3), CONNECTIVITIES):
            flat = [np.expand_dims(mask, axis) for mask in (one, other)]
            assert matched_betti_numbers(*flat, connectivity) == (*matched_betti_numbers(one, other, connectivity), 0)


def test_a_swollen_tree_has_no_errors_but_loops_and_a_cut_one_has():
    reference = vessel_tree((48, 48, 48), seed=0, loops=2).label > 0
    swollen = ndimage.binary_dilation(reference, np.ones((3, 3, 3), bool))
    cut = reference.copy()
    cut[24:26] = False
    assert betti_matching_error(swollen, reference)[0] == 0
    assert betti_matching_error(cut, reference)[0] > 0
