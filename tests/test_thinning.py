"""Thinning against the published code's results, a plain implementation by definition, and what it promises."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from test_betti_numbers import betti_numbers_by_gudhi
from topology import betti_numbers_of_each, is_simple, keeps_euler_number, random_masks, seeds, shapes

from nnunet_topo.skeletons import thin, thinning_torch
from nnunet_topo.skeletons.simple_points import RULES
from nnunet_topo.skeletons.thinning import BORDERS, _anchors

GOLDEN = sorted((Path(__file__).parent / "golden").glob("skeleton_p[01]*.npz"))
REFERENCE_NAMES = {"topological": "boolean", "euler": "euler"}
DEFINITIONS = {"topological": is_simple, "euler": keeps_euler_number}


def by_kernel(images, iterations=None, rule="topological", border="background"):
    return np.stack([thin(image, iterations, rule, border=border) for image in images])


def by_torch(images, iterations=None, rule="topological", border="background"):
    """What other devices than the CPU run, on the CPU."""
    images = torch.from_numpy(images)
    return thinning_torch.thin(images, rule, iterations, _anchors(images, rule, border)).numpy()


def on_cuda(images, iterations=None, rule="topological", border="background"):
    return thin(torch.from_numpy(images)[None].cuda(), iterations, rule, border=border)[0].cpu().numpy()


NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
DEVICES = ["cpu", pytest.param("cuda", marks=NEEDS_CUDA)]
PATHS = [
    pytest.param(by_kernel, id="kernel"),
    pytest.param(by_torch, id="torch"),
    pytest.param(on_cuda, id="cuda", marks=NEEDS_CUDA),
]


def plain_thin(image, iterations, rule, anchors=None, keep_end_points=True):
    """Thinning as the papers have it: whole images, one subfield after the other, the definition at every voxel."""
    padded = np.pad(image.reshape((1,) * (3 - image.ndim) + image.shape), 1)
    voxels = padded[1:-1, 1:-1, 1:-1]
    neighbourhoods = sliding_window_view(padded, (3, 3, 3))
    odd = (np.indices(voxels.shape) + 1) % 2
    iteration = 0
    while iteration != iterations:
        iteration += 1
        before = voxels.copy()
        stays = np.zeros(voxels.shape, bool) if anchors is None else anchors.reshape(voxels.shape).copy()
        if keep_end_points:
            stays |= neighbourhoods.sum((3, 4, 5)) <= 2
        for odd_x, odd_y, odd_z in itertools.product((0, 1), repeat=3):
            subfield = (odd[0] == odd_z) & (odd[1] == odd_y) & (odd[2] == odd_x)
            candidates = np.argwhere(voxels & subfield & ~stays)
            if len(candidates) == 0:
                continue
            deleted = candidates[DEFINITIONS[rule](neighbourhoods[tuple(candidates.T)])]
            voxels[tuple(deleted.T)] = False
        if np.array_equal(voxels, before):
            break
    return voxels.reshape(image.shape)


def plain_anchors(image, rule):
    """Every face of the image, thinned by itself as an image of its own, down to what its topology needs."""
    anchors = np.zeros(image.shape, bool)
    for axis in range(image.ndim):
        for end in (0, -1) if image.shape[axis] > 1 else ():
            face = (slice(None),) * axis + (end,)
            anchors[face] |= plain_thin(image[face], None, rule, keep_end_points=False)
    return anchors


def bar(width: int, length: int = 40) -> np.ndarray:
    volume = np.zeros((length, width + 4, width + 4), bool)
    volume[:, 2:-2, 2:-2] = True
    return volume


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_equals_the_published_code_after_every_number_of_iterations(file, rule, path):
    data = np.load(file)
    for iterations in (1, 3, 10, 30):
        thinned = path(data["x"][None], iterations, rule)[0]
        assert np.array_equal(thinned, data[f"{REFERENCE_NAMES[rule]}_it{iterations}"])
    if rule == "topological":
        assert np.array_equal(path(data["x"][None])[0], data["fixed_point_boolean"])


def test_all_results_of_the_published_code_are_there():
    assert len(GOLDEN) == 12


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=80, deadline=None)
@given(shapes, st.sampled_from(RULES), st.sampled_from(BORDERS), st.none() | st.integers(0, 4), seeds)
def test_equals_the_plain_implementation_on_random_masks(path, shape, rule, border, iterations, seed):
    images = random_masks(np.random.default_rng(seed), 2, *shape)
    anchors = [plain_anchors(image, rule) if border == "anchored" else None for image in images]
    expected = [plain_thin(image, iterations, rule, kept) for image, kept in zip(images, anchors, strict=True)]
    assert np.array_equal(path(images, iterations, rule, border), expected)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=2), st.sampled_from([62, 63, 64, 65, 66, 127, 128, 129, 130]),
       st.sampled_from(RULES), st.none() | st.integers(1, 3), seeds)
def test_rows_of_about_a_multiple_of_64_voxels_equal_the_plain_implementation(others, row, rule, iterations, seed):
    """The kernel packs 64 voxels of a row into a word."""
    images = random_masks(np.random.default_rng(seed), 1, *others, row)
    assert np.array_equal(by_kernel(images, iterations, rule)[0], plain_thin(images[0], iterations, rule))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("others", [(7,), (3, 5)], ids=["2d", "3d"])
def test_kernel_and_torch_agree_on_rows_of_any_length(others, border, rule):
    rng = np.random.default_rng(0)
    for row in (1, 2, 3, 32, 33, *range(61, 68), *range(126, 131), 192, 193):
        images = random_masks(rng, 3, *others, row)
        for iterations in (2, None):
            assert np.array_equal(by_kernel(images, iterations, rule, border),
                                  by_torch(images, iterations, rule, border))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("border", BORDERS)
@settings(max_examples=40, deadline=None)
@given(shapes, st.none() | st.integers(1, 3), seeds)
def test_keeps_the_betti_numbers_of_random_masks(path, border, shape, iterations, seed):
    images = random_masks(np.random.default_rng(seed), 50, *shape)
    thinned = path(images, iterations, border=border)
    assert np.array_equal(betti_numbers_of_each(thinned), betti_numbers_of_each(images))
    assert not (thinned & ~images).any()


@pytest.mark.parametrize("border", BORDERS)
def test_keeps_the_betti_numbers_of_larger_masks_by_gudhi(border):
    rng = np.random.default_rng(0)
    for shape in ((70, 66), (17, 19, 15), (1, 40, 40), (20, 20, 1)):
        for image in random_masks(rng, 8, *shape):
            expected = betti_numbers_by_gudhi(image, "foreground")
            assert betti_numbers_by_gudhi(thin(image, border=border), "foreground") == expected
            assert tuple(betti_numbers_of_each(image[None])[0]) == expected  # the other tests' judge


def test_euler_breaks_topology_where_topological_does_not():
    image = np.array([[[0, 0, 0], [0, 1, 0], [0, 0, 0]],
                      [[1, 0, 0], [0, 1, 0], [1, 0, 0]],
                      [[0, 0, 0], [1, 0, 1], [0, 0, 0]]], bool)
    broken = image.copy()
    broken[1, 1, 1] = False  # what is left are two pieces, one of them a ring
    assert np.array_equal(thin(image, simple_points="euler"), broken)
    assert betti_numbers_of_each(np.stack([image, thin(image), broken])).tolist() == [[1, 0, 0], [1, 0, 0], [2, 1, 0]]
    noise = random_masks(np.random.default_rng(0), 1, 32, 32, 32)
    kept, lost = (betti_numbers_of_each(by_kernel(noise, None, rule)) for rule in RULES)
    assert np.array_equal(kept, betti_numbers_of_each(noise)) and not np.array_equal(lost, kept)


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=25, deadline=None)
@given(shapes, st.sampled_from(RULES), seeds)
def test_thinning_a_skeleton_again_changes_nothing(path, shape, rule, seed):
    images = random_masks(np.random.default_rng(seed), 20, *shape)
    skeletons = path(images, None, rule)
    assert np.array_equal(path(skeletons, None, rule), skeletons)
    assert np.array_equal(path(images, 30, rule), skeletons)


@settings(max_examples=25, deadline=None)
@given(shapes, seeds)
def test_a_result_with_its_anchors_is_converged(shape, seed):
    images = torch.from_numpy(random_masks(np.random.default_rng(seed), 20, *shape))
    anchors = _anchors(images, "topological", "anchored")
    skeletons = thin(images[None], border="anchored")[0]
    assert bool((skeletons & anchors == anchors).all())
    assert torch.equal(thinning_torch.thin(skeletons, "topological", None, anchors), skeletons)


@settings(max_examples=25, deadline=None)
@given(shapes, st.lists(st.integers(0, 3), min_size=3, max_size=3), st.sampled_from(RULES),
       st.none() | st.integers(0, 3), seeds)
def test_translation_by_an_even_number_of_voxels_commutes(shape, steps, rule, iterations, seed):
    images = random_masks(np.random.default_rng(seed), 10, *shape)
    padding = [(0, 0), *((2 * step, 3) for step in steps[: len(shape)])]
    thinned = by_kernel(np.pad(images, padding), iterations, rule)
    assert np.array_equal(thinned, np.pad(by_kernel(images, iterations, rule), padding))


@pytest.mark.parametrize("border", BORDERS)
def test_mirroring_commutes_where_all_sizes_are_odd(border):
    for shape in ((11, 9), (7, 9, 5), (1, 9, 67)):
        images = random_masks(np.random.default_rng(0), 10, *shape)
        for axis in range(1, images.ndim):
            mirrored = by_kernel(np.flip(images, axis), border=border)
            assert np.array_equal(mirrored, np.flip(by_kernel(images, border=border), axis))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("border", BORDERS)
def test_an_image_equals_the_volume_of_one_plane(path, rule, border):
    images = random_masks(np.random.default_rng(0), 20, 23, 66)
    for iterations in (1, None):
        expected = path(images, iterations, rule, border)
        assert np.array_equal(path(images[:, None], iterations, rule, border)[:, 0], expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(9, 14), (6, 7, 8)], ids=["2d", "3d"])
@pytest.mark.parametrize("border", BORDERS)
def test_a_batch_equals_its_single_images_and_a_tensor_its_arrays(shape, border, device):
    images = random_masks(np.random.default_rng(0), 6, *shape)
    batch = torch.from_numpy(images).view(3, 2, *shape).to(device)
    threads = torch.get_num_threads()
    try:
        for count in (1, 4):
            torch.set_num_threads(count)
            thinned = thin(batch, border=border)
            assert thinned.device == batch.device and thinned.shape == batch.shape
            assert np.array_equal(thinned.cpu().flatten(0, 1).numpy(), by_kernel(images, border=border))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, np.float16, np.float32, np.float64])
def test_an_arrays_type_is_kept_and_the_array_left_as_it_was(dtype):
    image = random_masks(np.random.default_rng(0), 1, 8, 9, 10)[0]
    mask = image.astype(dtype)
    mask.flags.writeable = False
    thinned = thin(mask)
    assert thinned.dtype == dtype and np.array_equal(thinned.astype(bool), thin(image))
    assert np.array_equal(mask, image) and not np.shares_memory(thinned, mask)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float32,
                                   torch.float64], ids=str)
def test_a_tensors_type_is_kept_and_the_tensor_left_as_it_was(dtype, device):
    image = torch.from_numpy(random_masks(np.random.default_rng(0), 2, 1, 8, 9, 10)).to(device)
    mask = image.to(dtype)
    thinned = thin(mask)
    assert thinned.dtype == dtype and torch.equal(thinned.bool(), thin(image))
    assert torch.equal(mask.bool(), image) and thinned.data_ptr() != mask.data_ptr()


def test_a_skeleton_has_no_gradient():
    assert not thin(torch.ones(1, 1, 5, 5, requires_grad=True)).requires_grad


def test_memory_order_and_views_do_not_matter():
    array = random_masks(np.random.default_rng(0), 1, 16, 18, 20)[0]
    for view in (array.T, array[::2], array[:, ::-1], array[..., ::-3], np.asfortranarray(array), array[:, 3]):
        assert np.array_equal(thin(view), thin(np.ascontiguousarray(view)))
        assert np.array_equal(thin(view, border="anchored"), thin(np.ascontiguousarray(view), border="anchored"))
    tensor = torch.from_numpy(random_masks(np.random.default_rng(0), 2, 3, 16, 18, 20))
    for view in (tensor.transpose(2, 4), tensor.permute(1, 0, 4, 2, 3), tensor[:, :, ::2, 1:], tensor[:, ::2],
                 tensor[:, :1].expand(2, 4, 16, 18, 20), tensor.to(memory_format=torch.channels_last_3d)):
        assert torch.equal(thin(view), thin(view.contiguous()))
        assert torch.equal(thin(view, border="anchored"), thin(view.contiguous(), border="anchored"))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("shape", "left"), [
    ((9, 9), 1), ((8, 8), 1), ((6, 6, 6), 1), ((9, 9, 9), 1), ((5, 20, 20), 1), ((1, 1), 1), ((1, 1, 1), 1),
    ((2, 2, 2), 1), ((1, 9), 9), ((5, 1, 1), 5), ((3, 70), 67), ((3, 3, 70), 67),
], ids=str)
def test_empty_masks_stay_empty_and_full_ones_become_a_voxel_or_a_line(shape, left, rule, path):
    assert not path(np.zeros((2, *shape), bool), None, rule).any()
    full = path(np.ones((2, *shape), bool), None, rule)
    assert (full.reshape(2, -1).sum(1) == left).all()
    assert betti_numbers_of_each(full).tolist() == [[1] + [0] * (len(shape) - 1)] * 2


def test_images_without_voxels():
    for shape in ((0, 4), (3, 0, 5)):
        assert thin(np.zeros(shape, np.uint8), border="anchored").shape == shape
    for size in ((0, 2, 4, 4), (1, 0, 4, 4, 4), (2, 1, 0, 4)):
        assert thin(torch.zeros(size), border="anchored").shape == size


@pytest.mark.parametrize("path", PATHS)
def test_no_iteration_leaves_the_mask_as_it_is(path):
    images = random_masks(np.random.default_rng(0), 3, 6, 7)
    assert np.array_equal(path(images, 0), images)
    assert np.array_equal(path(images, 0, border="anchored"), images)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("width", [3, 4, 5, 8])
def test_anchored_skeletons_of_a_bar_reach_both_of_its_cut_ends(width, path):
    image = bar(width)
    anchored = path(image[None], border="anchored")
    assert (anchored[0].sum((1, 2)) == 1).all()  # a line from end to end
    assert betti_numbers_of_each(anchored).tolist() == [[1, 0, 0]]
    eaten = path(image[None])[0].any((1, 2))
    assert not eaten[0] and not eaten[-1]


def test_bar_of_five_voxels_loses_what_the_published_code_takes_from_its_ends():
    planes = np.flatnonzero(thin(bar(5)).any((1, 2)))
    assert np.array_equal(planes, np.arange(3, 36))


def test_anchored_keeps_the_topology_of_cut_ends_too():
    pipe = bar(9)
    pipe[:, 5:-5, 5:-5] = False
    hollow_at_the_border = thin(pipe, border="anchored")
    assert betti_numbers_of_each(np.stack([pipe, hollow_at_the_border])).tolist() == [[1, 1, 0]] * 2
    assert hollow_at_the_border.any((1, 2)).all()
    two = np.zeros((12, 24), bool)
    two[2:7, :], two[8:11, :10] = True, True
    cut = thin(two, border="anchored")
    assert betti_numbers_of_each(cut[None]).tolist() == [[2, 0]]
    assert cut[:, 0].sum() == 2 and cut[:, -1].sum() == 1


@pytest.mark.parametrize(("mask", "options", "error", "sentence"), [
    (np.zeros(5, bool), {}, ValueError, r"two or three axes, got shape \(5,\); .* use a tensor"),
    (np.zeros((2, 2, 2, 2), bool), {}, ValueError, r"two or three axes, got shape \(2, 2, 2, 2\)"),
    (torch.zeros(3, 3, 3), {}, ValueError, r"\(B, C, \*S\) .* got \(3, 3, 3\); .* mask\[None, None\]"),
    (torch.zeros(1, 1, 2, 2, 2, 2), {}, ValueError, r"got \(1, 1, 2, 2, 2, 2\)"),
    ([[0, 1], [1, 0]], {}, TypeError, "numpy array .* or a torch tensor .* got list"),
    (np.full((3, 3), 0.5), {}, ValueError, "binary mask, got float64 values other than 0 and 1"),
    (torch.full((1, 1, 3, 3), 0.5), {}, ValueError, "probabilities > 0.5"),
    (np.full((3, 3), np.nan), {}, ValueError, r"\(or NaN\)"),
    (torch.full((1, 1, 3, 3), torch.nan), {}, ValueError, r"\(or NaN\)"),
    (np.full((3, 3), 2, np.uint8), {}, ValueError, "got uint8 values other than 0 and 1 .* labels == label"),
    (torch.full((1, 1, 3, 3), -1), {}, ValueError, "got torch.int64 values other than 0 and 1"),
    (np.zeros((3, 3), bool), {"iterations": -1}, ValueError, "integer of at least 0, or None for convergence, got -1"),
    (np.zeros((3, 3), bool), {"iterations": 2.0}, ValueError, "got 2.0"),
    (np.zeros((3, 3), bool), {"iterations": True}, ValueError, "got True"),
    (np.zeros((3, 3), bool), {"simple_points": "boolean"}, ValueError, r"one of \('topological', 'euler'\), got 'bool"),
    (np.zeros((3, 3), bool), {"border": "replicate"}, ValueError, r"one of \('background', 'anchored'\), got 'repl"),
])
def test_wrong_input_gets_a_sentence(mask, options, error, sentence):
    with pytest.raises(error, match=sentence):
        thin(mask, **options)


def test_works_where_the_kernels_cannot_be_kept_on_disk():
    code = "import numpy; from nnunet_topo.skeletons import thin; print(thin(numpy.ones((5, 5), bool)).sum())"
    finished = subprocess.run([sys.executable, "-c", code], env={**os.environ, "NUMBA_CACHE_DIR": os.devnull + "/none"},
                              capture_output=True, text=True)
    assert finished.stdout.strip() == "1", finished.stderr
