"""Tubed skeletons against the official code's results, against plain dilation, and label by label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.morphology import skeletonize
from topology import betti_numbers_of_each, seeds, shapes

from nnunet_topo.skeletons import thin, tubed_skeleton
from nnunet_topo.skeletons.thinning import BORDERS
from nnunet_topo.skeletons.tubes import _tubes_on_device
from nnunet_topo.skeletons.tubes_numba import boxes

GOLDEN = sorted((Path(__file__).parent / "golden").glob("skelrecall_*.npz"))
INTEGERS = [np.uint8, np.int8, np.uint16, np.int16, np.int32, np.uint32, np.int64, np.uint64]


def random_labels(seed: int, shape: tuple[int, ...], labels: tuple[int, ...] = (1, 2, 3, 7)) -> np.ndarray:
    """Overlapping boxes of labels with noise on top, touching each other and all borders."""
    rng = np.random.default_rng(seed)
    result = np.zeros(shape, np.int64)
    for label in rng.choice(labels, 6):
        ends = [sorted(rng.integers(0, size + 1, 2)) for size in shape]
        result[tuple(slice(first, last) for first, last in ends)] = label
    noise = rng.random(shape) < rng.uniform(0, 0.3)
    return np.where(noise, rng.choice([0, *labels], shape), result)


def dilated(mask: np.ndarray, radius: int) -> np.ndarray:
    cross = ndimage.generate_binary_structure(mask.ndim, 1)
    return ndimage.binary_dilation(mask, cross, radius) if radius > 0 else mask


def plainly_tubed(labels, radius, union=False, ignore_label=None, iterations=None, border="anchored"):
    """Thinning and dilation of whole images, label by label."""
    kept = np.where((labels > 0) & (labels != ignore_label), labels, 0)
    result = np.zeros_like(labels)
    for mask in [kept > 0] if union else [kept == label for label in np.unique(kept[kept > 0])]:
        tube = dilated(thin(mask, iterations, border=border), radius) & mask
        result[tube] = labels[tube]
    return result


def tensor_of(labels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(labels)[None, None]


def as_on_other_devices(labels, radius, union=False, ignore_label=None, iterations=None, border="anchored"):
    return _tubes_on_device(labels, radius, union, ignore_label, iterations, border)


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_equals_the_official_code_with_its_union_and_skeletonisation(file):
    data = np.load(file)
    for target, expected, radius in (("target", "skel", 2), ("target", "skel_notube", 0),
                                     ("target_ignore", "skel_ignore", 2)):
        tubes = tubed_skeleton(torch.from_numpy(data[target]), radius, union=True, skeletonize=skeletonize)
        assert tubes.dtype == torch.uint8 and np.array_equal(tubes.numpy(), data[expected])


def test_all_results_of_the_official_code_are_there():
    assert len(GOLDEN) == 4


@settings(max_examples=120, deadline=None)
@given(shapes, st.integers(0, 4), st.booleans(), st.sampled_from([None, 0, 2, 5]), st.sampled_from([None, 1, 2]),
       st.sampled_from(BORDERS), seeds)
def test_equals_whole_image_thinning_and_dilation_of_each_label_on_every_path(
    shape, radius, union, ignore, iterations, border, seed
):
    labels = random_labels(seed, shape)
    options = {"union": union, "ignore_label": ignore, "iterations": iterations, "border": border}
    expected = plainly_tubed(labels, radius, **options)
    assert np.array_equal(tubed_skeleton(labels, radius, **options), expected)
    assert np.array_equal(tubed_skeleton(tensor_of(labels), radius, **options)[0, 0], expected)
    assert np.array_equal(as_on_other_devices(tensor_of(labels), radius, **options)[0, 0], expected)


@settings(max_examples=60, deadline=None)
@given(shapes, st.sampled_from(BORDERS), seeds)
def test_bare_skeleton_of_each_label_has_its_labels_betti_numbers(shape, border, seed):
    labels = random_labels(seed, shape)
    skeleton = tubed_skeleton(labels, 0, border=border)
    present = np.arange(1, 8)[:, None, None] if len(shape) == 2 else np.arange(1, 8)[:, None, None, None]
    assert np.array_equal(betti_numbers_of_each(skeleton == present), betti_numbers_of_each(labels == present))
    assert not (skeleton[skeleton > 0] != labels[skeleton > 0]).any()


def test_boxes_hold_their_label_with_a_voxel_of_room_from_an_even_index():
    for seed, shape in enumerate([(9, 8), (7, 6, 9), (1, 12, 11), (30, 1, 1)] * 10):
        labels = random_labels(seed, shape).astype(np.int16)
        found = dict(boxes(labels))
        assert sorted(found) == np.unique(labels[labels > 0]).tolist()
        for label, box in found.items():
            assert np.sum(labels[box] == label) == np.sum(labels == label)
            for axis, part in enumerate(box):
                there = np.flatnonzero((labels == label).any(tuple(set(range(labels.ndim)) - {axis})))
                assert part.start % 2 == 0 and part.start <= max(there[0] - 1, 0)
                assert part.stop >= min(there[-1] + 2, shape[axis])


def test_labels_that_are_sparse_negative_or_as_large_as_can_be():
    labels = random_labels(0, (12, 14, 13), labels=(1, 300, 32767))
    expected = plainly_tubed(labels, 1)
    below = labels.copy()
    below[labels == 0] = -5
    for variant in (labels, below):
        assert np.array_equal(tubed_skeleton(variant, 1), expected)
        assert np.array_equal(tubed_skeleton(tensor_of(variant), 1)[0, 0], expected)
        assert np.array_equal(as_on_other_devices(tensor_of(variant), 1)[0, 0], expected)
    assert set(np.unique(expected)) == {0, 1, 300, 32767}


def test_touching_labels_have_skeletons_of_their_own_unless_their_union_is_asked_for():
    labels = np.zeros((15, 31), np.uint8)
    labels[2:11], labels[11:13, 10:20] = 1, 2
    own, shared = tubed_skeleton(labels, 0), tubed_skeleton(labels, 0, union=True)
    assert (own == 2).any() and not (shared == 2).any()
    assert np.array_equal(own == 1, thin(labels == 1, border="anchored"))


def test_ignore_label_has_no_tube_and_changes_no_other_one():
    labels = random_labels(1, (14, 15, 16))
    for union in (False, True):
        tubes = tubed_skeleton(labels, union=union, ignore_label=2)
        assert (labels == 2).any() and not (tubes == 2).any()
        assert np.array_equal(tubes, tubed_skeleton(np.where(labels == 2, 0, labels), union=union))


def test_a_tube_is_a_city_block_ball_around_the_skeleton_inside_of_the_label():
    labels = np.zeros((31, 31), np.uint8)
    labels[:, 10:21] = 3
    for radius in (0, 1, 2, 3):
        columns = np.flatnonzero((tubed_skeleton(labels, radius) == 3).all(0))
        assert columns.tolist() == list(range(15 - radius, 16 + radius))
    assert np.array_equal(tubed_skeleton(labels, 5), labels) and np.array_equal(tubed_skeleton(labels, 99), labels)


def test_tubes_of_a_vessel_that_leaves_the_patch_reach_its_border_where_anchored():
    labels = np.zeros((40, 13, 13), np.uint8)
    labels[:, 2:11, 2:11] = 1
    assert tubed_skeleton(labels, 1).any((1, 2)).all()
    assert not tubed_skeleton(labels, 1, border="background")[[0, -1]].any()


@pytest.mark.parametrize("dtype", [*INTEGERS, np.bool_])
def test_types_are_kept_and_the_labels_left_as_they_were(dtype):
    labels = random_labels(2, (10, 11, 12))
    labels = (labels if dtype != np.bool_ else labels > 0).astype(dtype)
    expected = plainly_tubed(labels.astype(np.int64), 1)
    before = labels.copy()
    labels.flags.writeable = False
    tubes = tubed_skeleton(labels, 1)
    assert tubes.dtype == dtype and np.array_equal(tubes, expected) and np.array_equal(labels, before)
    if dtype not in (np.uint16, np.uint32, np.uint64):  # of which torch knows little
        tensor = torch.from_numpy(before)[None, None]
        for on_tensor in (tubed_skeleton(tensor, 1), as_on_other_devices(tensor, 1)):
            assert on_tensor.dtype == tensor.dtype and np.array_equal(on_tensor[0, 0], expected)


def test_memory_order_and_views_do_not_matter():
    labels = random_labels(3, (14, 15, 16))
    for view in (labels.T, labels[::2], labels[:, ::-1], np.asfortranarray(labels), labels[3]):
        expected = tubed_skeleton(np.ascontiguousarray(view))
        assert np.array_equal(tubed_skeleton(view), expected)
    tensor = tensor_of(labels)
    for view in (tensor.transpose(2, 4), tensor[:, :, 1:, ::2], tensor.expand(2, 3, 14, 15, 16)):
        assert torch.equal(tubed_skeleton(view), tubed_skeleton(view.contiguous()))


def test_a_batch_equals_its_single_label_maps():
    maps = np.stack([random_labels(seed, (9, 10, 11)) for seed in range(6)])
    batch, threads = torch.from_numpy(maps).view(3, 2, 9, 10, 11), torch.get_num_threads()
    try:
        for count in (1, 4):
            torch.set_num_threads(count)
            assert np.array_equal(tubed_skeleton(batch).flatten(0, 1), [tubed_skeleton(labels) for labels in maps])
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(as_on_other_devices(batch, 2), tubed_skeleton(batch))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_equals_the_cpu():
    labels = torch.from_numpy(np.stack([random_labels(seed, (14, 15, 16)) for seed in range(4)])).view(2, 2, 14, 15, 16)
    for options in ({}, {"union": True}, {"ignore_label": 2}, {"border": "background"}):
        tubes = tubed_skeleton(labels.cuda(), **options)
        assert tubes.is_cuda and torch.equal(tubes.cpu(), tubed_skeleton(labels, **options))


def test_no_labels_have_no_tubes():
    for shape in ((6, 7), (5, 6, 7), (0, 4), (3, 0, 2)):
        for union in (False, True):
            assert not tubed_skeleton(np.zeros(shape, np.int16), union=union).any()
            assert tubed_skeleton(np.full(shape, -1), union=union).shape == shape
    assert not tubed_skeleton(np.full((4, 4), -1)).any()
    for size in ((0, 1, 4, 4), (1, 0, 4, 4, 4), (2, 1, 0, 4)):
        assert tubed_skeleton(torch.zeros(size, dtype=torch.int64)).shape == size


@pytest.mark.parametrize(("labels", "options", "error", "sentence"), [
    (np.zeros((3, 3)), {}, TypeError, "integer labels or a bool mask, got float64"),
    (torch.zeros(1, 1, 3, 3), {}, TypeError, "integer labels or a bool mask, got torch.float32"),
    (torch.zeros(1, 1, 3, 3, dtype=torch.complex64), {}, TypeError, "got torch.complex64"),
    ([[0, 1]], {}, TypeError, "numpy array .* or a torch tensor .* got list"),
    (np.zeros(3, int), {}, ValueError, r"two or three axes, got shape \(3,\); .* use a tensor"),
    (np.zeros((2, 2, 2, 2), int), {}, ValueError, r"got shape \(2, 2, 2, 2\)"),
    (torch.zeros(3, 3, 3, dtype=torch.int64), {}, ValueError, r"got \(3, 3, 3\); .* labels\[None, None\]"),
    (np.full((3, 3), 32768), {}, ValueError, "labels up to 32767, got 32768"),
    (np.ones((3, 3), int), {"radius": -1}, ValueError, "radius must be an integer of at least 0 voxels, got -1"),
    (np.ones((3, 3), int), {"radius": 1.5}, ValueError, "got 1.5"),
    (np.ones((3, 3), int), {"radius": True}, ValueError, "got True"),
    (np.ones((3, 3), int), {"iterations": -1}, ValueError, "integer of at least 0, or None for convergence, got -1"),
    (np.ones((3, 3), int), {"border": "zeros"}, ValueError, r"one of \('background', 'anchored'\), got 'zeros'"),
])
def test_wrong_input_gets_a_sentence(labels, options, error, sentence):
    with pytest.raises(error, match=sentence):
        tubed_skeleton(labels, **options)
