"""Betti matching: the authors' results, a slow implementation, gudhi's barcodes, and what is refused."""

import subprocess
import sys
import threading
from pathlib import Path

import gudhi
import numpy as np
import pytest
import slow_betti_matching
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunet_topo.homology import BettiMatching, Pairs, betti_matching, betti_matchings, persistence_pairs

CONNECTIVITIES = st.sampled_from(["foreground", "background"])
GOLDEN = sorted((Path(__file__).parent / "golden" / "betti").glob("*.npz"))


def voxels(*pairs: Pairs) -> list[tuple[tuple[int, ...], ...]]:
    """Sorted rows (birth, death) of one table, (birth, death, birth, death) of two."""
    columns = [column.tolist() for table in pairs for column in (table.birth, table.death)]
    return sorted(tuple(map(tuple, row)) for row in zip(*columns, strict=True))


def tables(matching: BettiMatching):
    return [
        (voxels(d.matched_prediction, d.matched_target), voxels(d.unmatched_prediction), voxels(d.unmatched_target))
        for d in matching.dimensions
    ]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_pairs_are_those_of_the_official_code(path):
    golden = np.load(path)
    prediction, target = golden["pred"], golden["label"]

    def expected(k, *names):
        columns = [golden[f"d{k}_{name}"].tolist() for name in names]
        return sorted(tuple(map(tuple, row)) for row in zip(*columns, strict=True))

    as_there = 1 - (1 - prediction)  # rounded as the values that the official code was given
    matching = betti_matching(as_there, target, "background")
    assert tables(matching) == [
        (
            expected(k, *(f"matched_{side}_{end}" for side in ("pred", "label") for end in ("birth", "death"))),
            expected(k, "unmatched_pred_birth", "unmatched_pred_death"),
            expected(k, "unmatched_label_birth", "unmatched_label_death"),
        )
        for k in range(prediction.ndim)
    ]
    for k, d in enumerate(matching.dimensions):
        one, two = d.matched_prediction, d.matched_target
        terms = [
            2 * sum(np.sum((getattr(one, end) - getattr(two, end)) ** 2.0) for end in ("birth_value", "death_value")),
            np.sum((d.unmatched_prediction.birth_value - d.unmatched_prediction.death_value) ** 2.0),
            np.sum((d.unmatched_target.birth_value - d.unmatched_target.death_value) ** 2.0),
        ]
        np.testing.assert_allclose(terms, golden[f"d{k}_loss_terms"], rtol=1e-6, atol=1e-6)

    masks = betti_matching(prediction >= 0.5, target == 1, "background")
    assert np.array_equal(np.transpose([d.counts for d in masks.dimensions]), golden["bme_num"])


@st.composite
def image_pairs(draw, axes: int, longest: int):
    """Images of few values; targets that are masks, masks with cavities, or of several values; often alike."""
    shape = tuple(draw(st.lists(st.integers(1, longest), min_size=axes, max_size=axes)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.sampled_from([1, 1, 2, 3, 5, 1000]))
    prediction = rng.integers(0, levels + 1, shape) / levels
    if draw(st.booleans()):
        target = (rng.random(shape) < draw(st.sampled_from([0.2, 0.5, 0.8, 0.95]))).astype(float)
    else:
        target = rng.integers(0, draw(st.sampled_from([2, 3, 8])) + 1, shape) / 4
    if draw(st.booleans()):
        prediction = np.clip((prediction + 3 * target) / 4, 0, 1)
    return prediction.astype(np.float32), target.astype(np.float32)


def match_as_by_plain_reduction(images, connectivity):
    assert tables(betti_matching(*images, connectivity)) == slow_betti_matching.betti_matching(*images, connectivity)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(image_pairs(axes=2, longest=6), CONNECTIVITIES)
def test_images_with_ties_match_as_by_plain_reduction(images, connectivity):
    match_as_by_plain_reduction(images, connectivity)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(image_pairs(axes=3, longest=4), CONNECTIVITIES)
def test_volumes_with_ties_match_as_by_plain_reduction(images, connectivity):
    match_as_by_plain_reduction(images, connectivity)


@pytest.mark.slow
@settings(max_examples=3000, deadline=None, derandomize=True)
@given(st.one_of(image_pairs(axes=2, longest=7), image_pairs(axes=3, longest=4)), CONNECTIVITIES)
def test_thousands_of_images_match_as_by_plain_reduction(images, connectivity):
    match_as_by_plain_reduction(images, connectivity)


@pytest.mark.parametrize("connectivity", ["foreground", "background"])
@pytest.mark.parametrize("levels", [1, 4, 50])
def test_cavities_match_as_by_plain_reduction(levels, connectivity):
    rng = np.random.default_rng(levels)
    matches = 0
    for _ in range(12):
        target = np.ones((4, 5, 6), np.float32)
        target[1:3, 1:4, 1:5] -= rng.random((2, 3, 4)) < 0.3
        prediction = np.clip(target + rng.integers(-levels, levels + 1, target.shape) / (2.5 * levels), 0, 1)
        matching = betti_matching(prediction.astype(np.float32), target, connectivity)
        assert tables(matching) == slow_betti_matching.betti_matching(prediction, target, connectivity)
        matches += matching[2].counts[0]
    assert matches > 0


def test_a_target_of_two_other_values_matches_as_the_mask_does():
    """Masks take a shorter way; scaled by a half, which changes no order, the same images take the general one."""
    rng = np.random.default_rng(0)
    for shape in [(40, 50), (10, 12, 14)]:
        target = np.kron(rng.random([s // 2 for s in shape]) < 0.3, np.ones((2,) * len(shape), bool))
        prediction = (rng.integers(0, 65, shape) / 64 + target) / 2
        short, general = betti_matching(prediction, target), betti_matching((1 + prediction) / 2, (1 + target) / 2)
        assert sum(d.counts[0] for d in short.dimensions) > 3
        assert tables(short) == tables(general)


def test_images_exchanged_exchange_their_roles():
    rng = np.random.default_rng(1)
    one, two = rng.integers(0, 6, (2, 9, 8, 7)) / 5
    for there, back in zip(betti_matching(one, two).dimensions, betti_matching(two, one).dimensions, strict=True):
        assert voxels(there.matched_prediction, there.matched_target) == voxels(
            back.matched_target, back.matched_prediction
        )
        assert voxels(there.unmatched_prediction) == voxels(back.unmatched_target)


@pytest.mark.parametrize(("connectivity", "cells"), [("foreground", "top_dimensional_cells"),
                                                     ("background", "vertices")])
@pytest.mark.parametrize("shape", [(60, 70), (190, 110), (34, 17, 18)])
def test_bars_are_those_of_gudhi(shape, connectivity, cells):
    rng = np.random.default_rng(2)
    image = rng.random(shape, np.float32)
    complex_ = gudhi.CubicalComplex(**{cells: -image})
    complex_.compute_persistence(min_persistence=0)
    matching = betti_matching(image, rng.random(shape, np.float32), connectivity)
    for k, d in enumerate(matching.dimensions):
        bars = np.concatenate(
            [
                np.stack([-table.birth_value, -table.death_value], -1)
                for table in (d.matched_prediction, d.unmatched_prediction)
            ]
        )
        expected = complex_.persistence_intervals_in_dimension(k)
        expected = expected[np.isfinite(expected).all(1)]
        assert len(bars) == len(expected) > 0
        np.testing.assert_array_equal(bars[np.lexsort(bars.T)], expected[np.lexsort(expected.T)])
    assert image.flat[matching.essential_prediction] == image.max()


def test_an_image_matches_itself_completely():
    image = np.random.default_rng(3).random((12, 11, 10))
    for d in betti_matching(image, image).dimensions:
        assert voxels(d.matched_prediction) == voxels(d.matched_target)
        assert d.counts[0] > 0 == d.counts[1] == d.counts[2]


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (7, 1), (1, 1, 1), (1, 6, 5), (4, 1, 4), (5, 4, 1)])
def test_thin_images_match_as_by_plain_reduction(shape):
    rng = np.random.default_rng(4)
    for _ in range(10):
        prediction, target = rng.integers(0, 4, (2, *shape)) / 3
        for other in (target, target > 0.5):
            for connectivity in ("foreground", "background"):
                match_as_by_plain_reduction((prediction, other), connectivity)


@pytest.mark.parametrize("shape", [(6, 7), (5, 6, 7)])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0, -3.0])
def test_constant_images_have_no_features(shape, value):
    for d in betti_matching(np.full(shape, value), np.full(shape, 1 - value)).dimensions:
        assert d.counts == (0, 0, 0)


def test_values_beyond_0_and_1_keep_their_order():
    rng = np.random.default_rng(5)
    logits = rng.integers(-20, 20, (2, 20, 21)).astype(np.float32)
    assert tables(betti_matching(*logits)) == tables(betti_matching(*(logits + 20) / 64))


def test_types_that_hold_the_same_values_match_alike():
    rng = np.random.default_rng(6)
    prediction, target = rng.integers(0, 9, (12, 13)) / 8, rng.random((12, 13)) < 0.5
    expected = tables(betti_matching(prediction, target))
    for given_prediction in (
        prediction.astype(np.float16),
        torch.tensor(prediction, dtype=torch.bfloat16),
        torch.tensor(prediction, dtype=torch.float32, requires_grad=True),
        np.asfortranarray(prediction),
        np.repeat(prediction, 2, axis=1)[:, ::2],
    ):
        for given_target in (target.astype(np.uint8), target.astype(np.int64), torch.tensor(target)):
            assert tables(betti_matching(given_prediction, given_target)) == expected


def test_a_batch_on_threads_gives_what_single_calls_give():
    rng = np.random.default_rng(7)
    predictions, targets = torch.tensor(rng.random((5, 9, 8, 10))), torch.tensor(rng.random((5, 9, 8, 10)) < 0.4)
    expected = [tables(betti_matching(p, t)) for p, t in zip(predictions, targets, strict=True)]
    for threads in (None, 1, 2, 8):
        assert [tables(m) for m in betti_matchings(predictions, targets, threads=threads)] == expected
    assert betti_matchings([], []) == []


def test_other_threads_run_while_a_matching_is_made():
    volumes = np.random.default_rng(8).random((2, 40, 40, 40), np.float32)
    betti_matching(volumes[0, :3], volumes[1, :3])  # compiles
    worker = threading.Thread(target=betti_matching, args=tuple(volumes))
    ticks = 0
    worker.start()
    while worker.is_alive():
        worker.join(1e-3)
        ticks += 1
    assert ticks > 20


REFUSED = [
    ((np.zeros((4, 5)), np.zeros((5, 4))), ValueError, "same shape, not \\(4, 5\\) and \\(5, 4\\)"),
    ((np.zeros(4), np.zeros(4)), ValueError, "prediction .* two or three axes .* \\(4,\\)"),
    ((np.zeros((1, 4, 4, 4)), np.zeros((1, 4, 4, 4))), ValueError, "two or three axes .* one by one"),
    ((np.zeros((0, 4)), np.zeros((0, 4))), ValueError, "at least one voxel"),
    ((np.full((3, 3), np.nan), np.zeros((3, 3))), ValueError, "prediction .* finite; 9 of its voxels"),
    ((np.eye(3), np.diag([np.inf, 0, -np.inf])), ValueError, "target .* finite; 2 of its voxels"),
    ((np.full((3, 3, 3), 1e300), np.zeros((3, 3, 3))), ValueError, "finite"),
    ((np.eye(3), 2 * np.eye(3, dtype=np.uint8)), ValueError, "target .* integers other than 0 and 1"),
    ((np.eye(3, dtype=complex), np.eye(3)), TypeError, "real numbers, not ndarray complex128"),
    (([[0.5, 0.1]], np.zeros((1, 2))), TypeError, "not list"),
]


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("arguments, error, sentence", REFUSED)
def test_bad_input_is_refused_with_a_sentence(arguments, error, sentence):
    with pytest.raises(error, match=sentence):
        betti_matching(*arguments)


@pytest.mark.parametrize("call", [betti_matching, betti_matchings, persistence_pairs], ids=lambda call: call.__name__)
def test_another_connectivity_is_refused_with_a_sentence(call):
    images = () if call is persistence_pairs else (np.eye(3),)
    with pytest.raises(ValueError, match='must be "foreground" or "background", not \'both\''):
        call(np.eye(3), *images, connectivity="both")


@pytest.mark.parametrize("connectivity", ["foreground", "background"])
def test_values_are_ordered_as_they_are(connectivity):
    """Not by 1 - v in float32, which makes 1 of all that is small."""
    image = np.array([[3e-9, 1e-9, 2e-9]])
    assert voxels(persistence_pairs(image, connectivity)[0]) == [((0, 2), (0, 1))]
    rng = np.random.default_rng(9)
    one, other = rng.random((2, 9, 10)).astype(np.float32)
    scaled = np.float32(2.0**-40)
    assert tables(betti_matching(one * scaled, other * scaled, connectivity)) == tables(
        betti_matching(one, other, connectivity)
    )


def test_batches_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="at least one thread, not 0"):
        betti_matchings([], [], threads=0)
    with pytest.raises(ValueError):
        betti_matchings([np.zeros((3, 3))], [])


def test_numba_is_imported_by_the_first_matching_only():
    code = (
        "import sys, numpy, nnunet_topo.homology as h; assert 'numba' not in sys.modules;"
        "h.betti_matching(numpy.eye(3), numpy.eye(3)); assert 'numba' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
