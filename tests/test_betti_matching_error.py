"""Betti matching error: the authors' counts, cases made by hand, and persistence on the same masks."""

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from nnunet_topo.homology import betti_matching, betti_numbers, matched_betti_numbers
from nnunet_topo.metrics import betti_error, betti_matching_error
from nnunet_topo.synthetic import vessel_tree

GOLDEN = sorted((Path(__file__).parent / "golden" / "betti").glob("*.npz"))
RING = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], bool)
BROKEN_RING = np.array([[1, 1, 1], [0, 0, 0], [1, 1, 1]], bool)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_errors_are_those_of_the_official_code(path):
    golden = np.load(path)
    prediction, reference = golden["pred"] >= 0.5, golden["label"] == 1
    expected = golden["bme_per_dim"].tolist()
    expected[0] += int(prediction.any() != reference.any())
    assert list(betti_matching_error(prediction, reference, "background", published=True)) == expected


def counts_by_persistence(prediction, reference):
    """Matches and error by the persistence of the masks, with the component that never dies and is not listed there."""
    matching = betti_matching(prediction, reference, "background")
    counts = np.array([dimension.counts for dimension in matching.dimensions])
    matched, error = counts[:, 0], counts[:, 1] + counts[:, 2]
    matched[0] += prediction.any() and reference.any()
    error[0] += prediction.any() != reference.any()
    return tuple(matched.tolist()), tuple(error.tolist())


def published(prediction, reference):
    """The published form of both counts."""
    return tuple(count(prediction, reference, "background", published=True)
                 for count in (matched_betti_numbers, betti_matching_error))


def random_masks(rng, shape):
    """Sparse and dense ones, often alike, sometimes with background around them."""
    prediction = rng.random(shape) < rng.choice([0.1, 0.3, 0.5, 0.7, 0.9, 0.97])
    if rng.random() < 0.6:
        reference = prediction ^ (rng.random(shape) < rng.choice([0.03, 0.1, 0.3]))
    else:
        reference = rng.random(shape) < rng.choice([0.1, 0.3, 0.5, 0.7, 0.9, 0.97])
    if rng.random() < 0.4:
        around = [tuple(rng.integers(0, 4, 2).tolist()) for _ in shape]
        prediction, reference = np.pad(prediction, around), np.pad(reference, around)
    return prediction, reference


@pytest.mark.parametrize("axes, longest, cases", [(2, 12, 800), (3, 7, 800)])
def test_counts_are_those_of_betti_matching(axes, longest, cases):
    rng = np.random.default_rng(axes)
    matches = np.zeros(axes, int)
    for _ in range(cases):
        masks = random_masks(rng, rng.integers(1, longest + 1, axes))
        matched, error = counts_by_persistence(*masks)
        assert published(*masks) == (matched, error)
        differences = betti_error(*masks, connectivity="background")
        assert all(e >= d and (e - d) % 2 == 0 for e, d in zip(error, differences, strict=True))
        matches += matched
    assert (matches > 0).all()


@pytest.mark.parametrize("shape, sigma", [((200, 150), 2), ((40, 36, 44), 1), ((30, 30, 30), 0)])
def test_counts_on_noise_with_many_loops_are_those_of_betti_matching(shape, sigma):
    rng = np.random.default_rng(0)
    shared, own = (gaussian_filter(rng.standard_normal(shape), sigma) for _ in range(2))
    masks = shared + 0.4 * own > 0, shared > 0
    matched, error = counts_by_persistence(*masks)
    assert matched[1] > 5
    assert published(*masks) == (matched, error)


def test_a_broken_vessel_with_a_false_blob_and_a_swollen_half():
    reference = vessel_tree((48, 48, 48), seed=0, loops=2).label > 0
    prediction = reference.copy()
    for voxel in np.argwhere(reference)[::400]:
        prediction[tuple(slice(max(c - 3, 0), c + 3) for c in voxel)] = False
    prediction[:24] |= gaussian_filter(reference[:24].astype(float), 1) > 0.15
    prediction[2:5, 2:5, 40:43] = True
    matched, error = counts_by_persistence(prediction, reference)
    assert sum(error) > 3
    assert published(prediction, reference) == (matched, error)


def test_a_broken_ring_has_a_piece_too_much_and_misses_its_hole():
    assert betti_matching_error(BROKEN_RING, RING) == (1, 1)
    assert betti_matching_error(RING, BROKEN_RING) == (1, 1)
    assert betti_matching_error(RING, RING) == (0, 0)


def test_a_feature_elsewhere_does_not_make_up_for_a_missing_one():
    one, other = np.zeros((2, 9, 9), bool)
    one[1:4, 1:4] = RING
    other[5:8, 5:8] = RING
    one[6, 6] = other[2, 2] = True  # in the other's hole
    for connectivity in ("foreground", "background"):
        assert betti_error(one, other, connectivity) == (0, 0)
        assert betti_matching_error(one, other, connectivity) == (0, 2)


def test_loops_and_cavities_are_told_apart_in_3d():
    hollow = np.ones((3, 3, 3), bool)
    hollow[1, 1, 1] = False
    pierced = hollow.copy()
    pierced[0, 1, 1] = pierced[2, 1, 1] = False
    assert betti_matching_error(hollow, np.ones_like(hollow)) == (0, 0, 1)
    assert betti_matching_error(hollow, pierced) == (0, 1, 1)
    assert betti_matching_error(pierced, pierced) == (0, 0, 0)


def test_whether_pieces_that_touch_at_corners_only_are_apart_is_a_matter_of_connectivity():
    corner, square = np.eye(2, dtype=bool), np.ones((2, 2), bool)
    for connectivity, apart in (("foreground", 0), ("background", 1)):
        assert betti_matching_error(corner, square, connectivity) == (apart, 0)
        assert betti_matching_error(corner[None], square[None], connectivity) == (apart, 0, 0)
    assert betti_matching_error(corner, square) == (0, 0)


def test_against_an_empty_mask_all_features_count():
    empty = np.zeros((3, 3), bool)
    assert betti_matching_error(empty, RING) == betti_matching_error(RING, empty) == (1, 1)
    assert betti_matching_error(empty, BROKEN_RING) == (2, 0)
    assert betti_matching_error(empty, empty) == (0, 0)
    assert betti_matching_error(np.zeros((0, 4), bool), np.zeros((0, 4), bool)) == (0, 0)


def test_single_pieces_that_do_not_meet_are_matched_in_the_official_code_only():
    one, other = np.zeros((2, 5, 5), bool)
    one[0, 0] = other[4, 4] = True
    assert betti_matching_error(one, other) == betti_matching_error(one, other, "background") == (2, 0)
    assert betti_matching_error(one, other, "background", published=True) == (0, 0)


FORMS = [{}, {"connectivity": "background"}, {"connectivity": "background", "published": True}]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_memory_order_does_not_matter(form):
    rng = np.random.default_rng(1)
    one, other = rng.random((2, 9, 10, 11)) < 0.6
    expected = betti_matching_error(one, other, **form)
    assert betti_matching_error(np.asfortranarray(one), other[::-1][::-1], **form) == expected
    assert betti_matching_error(np.repeat(one, 2, axis=2)[..., ::2], np.asfortranarray(other), **form) == expected


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_background_far_away_changes_nothing(form):
    rng = np.random.default_rng(2)
    one, other = np.pad(rng.random((2, 8, 9, 10)) < 0.6, ((0, 0), (1, 1), (1, 1), (1, 1)))
    far = ((40, 30), (20, 50), (30, 20))
    assert betti_matching_error(np.pad(one, far), np.pad(other, far), **form) == betti_matching_error(
        one, other, **form
    )


@pytest.mark.parametrize("prediction, sentence", [
    (RING.astype(np.uint8), "The prediction must be a boolean numpy array, not ndarray uint8"),
    (RING.tolist(), "The prediction must be a boolean numpy array, not list"),
    (np.ones((2, 3), bool), r"prediction has \(2, 3\) and the reference \(3, 3\)"),
])
def test_bad_input_is_refused_with_a_sentence(prediction, sentence):
    with pytest.raises(ValueError, match=sentence):
        betti_matching_error(prediction, RING)


@pytest.mark.parametrize("prediction, sentence", [
    (2 * RING.astype(np.uint8), "boolean numpy arrays of two or three axes, not of ndarray uint8"),
    (RING.astype(np.int64), "boolean numpy arrays of two or three axes, not of ndarray int64"),
    (RING.astype(float), "not of ndarray float64"),
    (RING.tolist(), "not of list"),
    (RING[0], r"not of ndarray bool \(3,\)"),
    (RING[:2], r"masks of one shape, not of \(2, 3\) and \(3, 3\)"),
])
def test_numbers_of_matches_are_taken_of_masks_only(prediction, sentence):
    with pytest.raises(ValueError, match=sentence):
        matched_betti_numbers(prediction, RING)
    assert matched_betti_numbers(RING, RING) == (1, 1)


@pytest.mark.parametrize("shape", [(4,), (1, 4, 4, 4)])
def test_other_numbers_of_axes_are_refused(shape):
    with pytest.raises(ValueError, match="two or three axes"):
        betti_matching_error(np.ones(shape, bool), np.ones(shape, bool))


@pytest.mark.parametrize("count", [betti_matching_error, matched_betti_numbers])
@pytest.mark.parametrize(("form", "sentence"), [
    ({"connectivity": "both"}, 'must be "foreground" or "background", not \'both\''),
    ({"published": True}, 'published form of Betti matching has the connectivity "background", not \'foreground\''),
])
def test_other_forms_are_refused_with_a_sentence(count, form, sentence):
    with pytest.raises(ValueError, match=sentence):
        count(RING, RING, **form)


def test_matches_never_exceed_the_betti_numbers_of_either_mask():
    rng = np.random.default_rng(3)
    for _ in range(300):
        masks = random_masks(rng, (6, 6, 6))
        numbers = [betti_numbers(mask, "background") for mask in masks]
        for matched, one, two in zip(published(*masks)[0], *numbers, strict=True):
            assert 0 <= matched <= min(one, two)
