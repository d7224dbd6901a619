"""The soft skeleton against the plain composition of pooling operations under autograd, on every code path."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunet_topo.kernels.jit import jit
from nnunet_topo.skeletons import soft, soft_skeleton, soft_skeleton_iterations, soft_skeleton_of_mask, soft_torch


def erode(image):
    """Official order of the axes, which decides how ties share the gradient."""
    axes = image.ndim - 2
    pool = F.max_pool2d if axes == 2 else F.max_pool3d
    result = None
    for axis in range(axes):
        kernel, padding = [1] * axes, [0] * axes
        kernel[axis], padding[axis] = 3, 1
        minimum = -pool(-image, kernel, 1, padding)
        result = minimum if result is None else torch.min(result, minimum)
    return result


def plain_skeleton(image, iterations):
    pool = F.max_pool2d if image.ndim == 4 else F.max_pool3d
    skeleton = F.relu(image - pool(erode(image), 3, 1, 1))
    for _ in range(iterations):
        image = erode(image)
        difference = F.relu(image - pool(erode(image), 3, 1, 1))
        skeleton = skeleton + F.relu(difference - skeleton * difference)
    return skeleton


def with_gradient(function, image, iterations, weight):
    image = image.detach().clone().requires_grad_()
    skeleton = function(image, iterations)
    (skeleton * weight).sum().backward()
    return skeleton.detach(), image.grad


class _TorchPath(torch.autograd.Function):
    """The path that other devices than the CPU take, on the CPU."""

    @staticmethod
    def forward(ctx, image, iterations):
        images = image.detach().flatten(0, 1)
        skeleton, rest = torch.empty_like(images), torch.empty_like(images)
        eroded = images.new_empty(len(images), iterations + 1, *images.shape[1:])
        soft_torch.forward(images, eroded, skeleton, rest, iterations)
        ctx.save_for_backward(image, eroded, rest)
        return skeleton.view(image.shape)

    @staticmethod
    def backward(ctx, gradient):
        image, eroded, rest = ctx.saved_tensors
        result = torch.empty_like(rest)
        soft_torch.backward(image.flatten(0, 1), eroded, rest, gradient.flatten(0, 1), result)
        return result.view(image.shape), None


PATHS = {"cpu": soft_skeleton, "other devices": _TorchPath.apply}
SHAPES = [(2, 3, 20, 17), (1, 2, 9, 12, 10), (1, 1, 1, 8, 9), (2, 1, 1, 5), (1, 1, 7, 1), (1, 1, 4, 4, 1), (1, 1, 1, 1)]


def image_of(kind: str, shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    image = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    return {"distinct": image, "ties": (image * 5).round() / 5, "bfloat16": image.bfloat16().float(),
            "binary": (image > 0.4).float(), "ones": torch.ones(shape), "zeros": torch.zeros(shape)}[kind]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["distinct", "ties", "bfloat16", "binary", "ones", "zeros"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_the_plain_composition_bit_by_bit_and_its_gradient_ties_included(shape, kind, path):
    image, weight = image_of(kind, shape), torch.randn(shape, generator=torch.Generator().manual_seed(1))
    for iterations in (0, 1, 4):
        expected, expected_gradient = with_gradient(plain_skeleton, image, iterations, weight)
        skeleton, gradient = with_gradient(PATHS[path], image, iterations, weight)
        assert torch.equal(skeleton, expected)
        torch.testing.assert_close(gradient, expected_gradient, rtol=1e-5, atol=1e-5)
        assert torch.equal(soft_skeleton(image, iterations), expected)  # without a gradient only two levels exist


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 7), min_size=2, max_size=3), st.integers(1, 12), st.integers(0, 5), st.integers(0, 999))
def test_equals_the_plain_composition_on_random_shapes_and_numbers_of_grey_levels(size, levels, iterations, seed):
    image = (image_of("distinct", (1, 1, *size), seed) * levels).round() / levels
    weight = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))
    expected, expected_gradient = with_gradient(plain_skeleton, image, iterations, weight)
    for path in PATHS.values():
        skeleton, gradient = with_gradient(path, image, iterations, weight)
        assert torch.equal(skeleton, expected)
        torch.testing.assert_close(gradient, expected_gradient, rtol=1e-5, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=3), st.floats(0.05, 1.0), st.integers(0, 999))
def test_closed_form_of_a_mask_and_the_smallest_number_of_iterations(size, density, seed):
    mask = torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(seed)) < density
    needed = soft_skeleton_iterations(mask[0, 0])
    skeletons = [plain_skeleton(mask.float(), n).bool() for n in range(needed + 3)]
    for n, expected in enumerate(skeletons):
        skeleton, deeper = soft_skeleton_of_mask(mask, n)
        assert torch.equal(skeleton, expected)
        on_other_devices = torch.empty_like(mask)
        deeper_there = soft_torch.skeleton_of_mask(mask[0], n, on_other_devices[0])
        assert torch.equal(on_other_devices, expected)
        assert bool(deeper) == bool(deeper_there) == (n < needed)
    assert all(torch.equal(skeletons[needed], later) for later in skeletons[needed + 1 :])
    assert needed == 0 or not torch.equal(skeletons[needed - 1], skeletons[needed])


def test_smallest_number_of_iterations_of_known_shapes():
    y, x = np.mgrid[-12:13, -12:13]
    assert soft_skeleton_iterations(y**2 + x**2 <= 10**2) == 10  # a disc needs its radius
    bar = np.zeros((9, 9, 30), bool)
    bar[2:7, 2:7] = True
    assert soft_skeleton_iterations(bar) == 2
    assert soft_skeleton_iterations(np.zeros((5, 5), bool)) == 0
    assert soft_skeleton_iterations(np.ones((5, 5, 5), bool)) == 0
    assert soft_skeleton_iterations(torch.eye(4, dtype=torch.bool)) == 0


def test_gradient_in_float64_equals_finite_differences_where_no_values_tie():
    for shape in ((1, 2, 5, 6), (1, 1, 4, 5, 4)):
        steps = torch.randperm(int(np.prod(shape)), generator=torch.Generator().manual_seed(0)).double() + 1
        image = (steps / (len(steps) + 1)).view(shape).requires_grad_()
        assert torch.autograd.gradcheck(lambda image: soft_skeleton(image, 2), image, eps=1e-6)


def test_non_contiguous_images_and_gradients():
    image = torch.rand(10, 12, 3, 2).permute(3, 2, 1, 0)[:, 1:]
    weight = torch.rand(12, 10).T.expand(image.shape[0], image.shape[1], 10, 12).transpose(2, 3)
    skeleton, gradient = with_gradient(soft_skeleton, image, 3, weight)
    contiguous = with_gradient(soft_skeleton, image.contiguous(), 3, weight.contiguous())
    assert torch.equal(skeleton, contiguous[0]) and torch.equal(gradient, contiguous[1])


def test_groups_of_images_are_slices_of_samples_times_channels():
    image = torch.rand(2, 4, 5, 6)[:, 1:]
    for group in (slice(0, 1), slice(2, 5), slice(0, 6)):
        assert torch.equal(soft._images(image, group), image.flatten(0, 1)[group])


def test_many_iterations_and_large_distances_on_other_devices():
    mask = torch.zeros(1, 1, 4, 700, dtype=torch.bool)
    mask[..., 1:] = True
    for n in (100, 253, 254, 300, 10000):  # beyond 253 the distances do not fit into 8 bits
        expected, deeper = soft_skeleton_of_mask(mask, n)
        skeleton = torch.empty_like(mask)
        assert bool(soft_torch.skeleton_of_mask(mask[0], n, skeleton[0])) == bool(deeper) == (n < 698)
        assert torch.equal(skeleton, expected)


def test_kernels_compile_where_nothing_can_be_cached():
    source = "def double(x):\n    return 2 * x\n"
    names: dict = {}
    exec(compile(source, "<no file>", "exec"), names)  # numba finds no place to keep this one's machine code
    assert jit(names["double"])(21) == 42


def test_half_precision():
    half = torch.rand(1, 1, 8, 8).half()
    assert torch.equal(soft_skeleton(half, 2), soft_skeleton(half.float(), 2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert soft_skeleton(half, 2).dtype == torch.float32


@pytest.mark.parametrize("path", PATHS)
def test_keeps_at_most_n_plus_3_float32_images_for_the_backward_pass(path):
    image, n, kept = torch.rand(2, 1, 16, 16, requires_grad=True), 5, []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        PATHS[path](image, n)
    assert 0 < sum(tensor.numel() * tensor.element_size() for tensor in kept) <= 4 * (n + 3) * image.numel()
    kept.clear()
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        soft_skeleton(image.detach(), n)
    assert not kept


def test_empty_batches_have_empty_skeletons():
    assert soft_skeleton(torch.zeros(0, 1, 4, 4), 3).shape == (0, 1, 4, 4)
    assert soft_skeleton_of_mask(torch.zeros(1, 0, 4, 4, 4, dtype=torch.bool), 3)[0].shape == (1, 0, 4, 4, 4)


@pytest.mark.parametrize(("image", "iterations", "error", "sentence"), [
    (torch.randn(1, 1, 8, 8), 3, ValueError, r"probabilities in \[0, 1\], got values from -.* Apply softmax"),
    (torch.full((1, 1, 4, 4), float("nan")), 3, ValueError, "some are NaN"),
    (torch.rand(8, 8), 3, ValueError, r"shape \(B, C, \*S\)"),
    (torch.rand(1, 1, 8, 8), -1, ValueError, "integer of at least 0, got -1"),
    (torch.rand(1, 1, 8, 8), 2.0, ValueError, "integer of at least 0, got 2.0"),
    (torch.ones(1, 1, 8, 8, dtype=torch.bool), 2, TypeError, "use soft_skeleton_of_mask"),
])
def test_wrong_input_gets_a_sentence(image, iterations, error, sentence):
    with pytest.raises(error, match=sentence):
        soft_skeleton(image, iterations)


def test_masks_must_be_bool():
    with pytest.raises(TypeError, match="needs a bool mask"):
        soft_skeleton_of_mask(torch.rand(1, 1, 4, 4), 2)
    with pytest.raises(ValueError, match="one bool mask of two or three axes"):
        soft_skeleton_iterations(np.zeros((1, 1, 4, 4), bool))
