"""The differentiable skeleton against the published code's results, its closed forms, and what it promises."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from topology import betti_numbers_of_each, component_counts, components, random_masks, seeds, shapes

from nnunet_topo.skeletons import TopologicalSkeleton, thin
from nnunet_topo.skeletons.simple_points import RULES
from nnunet_topo.skeletons.specks import without_specks

GOLDEN = Path(__file__).parent / "golden"
DETERMINISTIC = sorted(GOLDEN.glob("skeleton_p[01]*.npz"))
PROBABILISTIC = sorted(GOLDEN.glob("skeleton_p_prob*.npz"))
REFERENCE_NAMES = {"topological": "boolean", "euler": "euler"}
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"))]
SHAPES = [(2, 2, 15, 18), (1, 2, 9, 10, 11)]


def probabilities_of(shape, seed=0, dtype=torch.float32):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def noise_of(shape, seed=1, dtype=torch.float32):
    return probabilities_of(shape, seed, dtype).clamp(1e-6, 1 - 1e-6).logit()


def with_gradient(skeleton, probabilities, noise=None, weight=1.0):
    probabilities = probabilities.detach().clone().requires_grad_()
    result = skeleton(probabilities, noise)
    (result * weight).sum().backward()
    return result.detach(), probabilities.grad


def golden_noise(data) -> torch.Tensor:
    inner = data["u_padded"][tuple(slice(1, -1) for _ in range(3))].reshape(data["p"].shape)
    u = torch.from_numpy(inner.astype(np.float32))[None, None]
    return u.log() - (1 - u).log()


# the published code's results


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("file", PROBABILISTIC, ids=lambda file: file.stem)
def test_reference_equals_the_published_codes_sample_and_skeleton(file, rule, device):
    data = np.load(file)
    p, noise = torch.from_numpy(data["p"])[None, None].to(device), golden_noise(data).to(device)
    skeleton = TopologicalSkeleton.reference(4, rule)(p, noise)
    assert np.array_equal(skeleton[0, 0].cpu().numpy(), data[f"{REFERENCE_NAMES[rule]}_out_it4"])
    sample = TopologicalSkeleton(0, suppress_specks=False)(p, noise)
    assert np.array_equal(sample[0, 0].cpu().numpy(), data["hard_sample"].reshape(data["p"].shape))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("file", PROBABILISTIC, ids=lambda file: file.stem)
def test_reference_gradient_equals_the_published_codes(file, rule, device):
    data = np.load(file)
    p = torch.from_numpy(data["p"])[None, None].to(device)
    _, gradient = with_gradient(TopologicalSkeleton.reference(4, rule), p, golden_noise(data).to(device))
    expected = data[f"{REFERENCE_NAMES[rule]}_grad_it4"]
    np.testing.assert_allclose(gradient[0, 0].cpu().numpy(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("file", DETERMINISTIC, ids=lambda file: file.stem)
def test_reference_gradient_of_a_mask_equals_the_published_codes(file, rule, device):
    data = np.load(file)
    skeleton = TopologicalSkeleton(3, beta=0, simple_points=rule, gradient="reference", border="background")
    mask = torch.from_numpy(data["x"])[None, None].float().to(device)
    result, gradient = with_gradient(skeleton, mask, weight=torch.from_numpy(data["w"]).to(device))
    assert np.array_equal(result[0, 0].cpu().numpy(), data[f"{REFERENCE_NAMES[rule]}_it3"])
    np.testing.assert_allclose(gradient[0, 0].cpu().numpy(), data[f"{REFERENCE_NAMES[rule]}_grad_it3"], atol=1e-6)


def test_all_results_of_the_published_code_are_there():
    assert len(PROBABILISTIC) == 2 and len(DETERMINISTIC) == 12


def test_reference_is_the_published_form():
    published = TopologicalSkeleton.reference()
    assert (published.iterations, published.beta, published.tau, published.samples) == (5, 0.33, 1.0, 1)
    assert (published.gradient, published.border, published.suppress_specks) == ("reference", "background", False)


@pytest.mark.parametrize("shape", SHAPES, ids=["2d", "3d"])
def test_reference_gradient_halves_for_a_skeleton_in_every_iteration_and_gives_the_same_skeleton(shape):
    p, noise = probabilities_of(shape), noise_of(shape)
    one = with_gradient(TopologicalSkeleton(6), p, noise)
    other = with_gradient(TopologicalSkeleton(6, gradient="reference"), p, noise)
    assert torch.equal(one[0], other[0])
    kept = one[0] == 1
    torch.testing.assert_close(other[1][kept], one[1][kept] / 64)


# the straight-through gradient


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("border", ["background", "anchored"])
@pytest.mark.parametrize("specks", [False, True], ids=["all", "without specks"])
@pytest.mark.parametrize(("shape", "beta", "tau"), [(SHAPES[0], 0.33, 1.0), (SHAPES[1], 1.0, 0.4)], ids=["2d", "3d"])
def test_gradient_is_that_of_the_sample_without_the_deleted_voxels(shape, beta, tau, specks, border, dtype):
    p, noise = probabilities_of(shape, dtype=dtype), noise_of(shape, dtype=dtype)
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=dtype)
    module = TopologicalSkeleton(beta=beta, tau=tau, suppress_specks=specks, border=border)
    skeleton, gradient = with_gradient(module, p, noise, weight)

    leaf = p.double().requires_grad_()
    q = torch.sigmoid((torch.log((leaf + 1e-8) / (1 - leaf + 1e-8)) + beta * noise.double()) / tau)
    sample = q.detach() > 0.5
    if specks:
        sample = torch.from_numpy(plainly_without_specks(sample.flatten(0, 1).numpy(),
                                                         (p > 0.5).flatten(0, 1).numpy())).view(shape)
    expected = thin(sample, border=border)
    assert torch.equal(skeleton.bool(), expected) and skeleton.dtype == dtype
    deleted = sample & ~expected
    assert deleted.any() and expected.any()
    (q * weight * ~deleted).sum().backward()
    tolerance = {"rtol": 1e-4, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-12}
    torch.testing.assert_close(gradient.double(), leaf.grad, **tolerance)
    assert not gradient[deleted].any()


@pytest.mark.parametrize("gradient", ["straight_through", "reference"])
@pytest.mark.parametrize("beta", [0.33, 0.0])
def test_certain_probabilities_have_finite_gradients(beta, gradient):
    mask = (probabilities_of((1, 1, 20, 20)) > 0.4).float()
    module = TopologicalSkeleton(5, beta=beta, gradient=gradient, border="background")
    skeleton, slope = with_gradient(module, mask)
    assert torch.equal(skeleton, thin(mask, 5))  # no noise reaches them
    assert bool(slope.isfinite().all()) and bool(slope[skeleton == 0].any())


def test_probabilities_next_to_0_and_1_have_finite_gradients():
    tiny, one = torch.finfo(torch.float32).tiny, torch.tensor(1.0)
    levels = [0.0, tiny, 1e-12, 1e-8, 1e-6, float(torch.nextafter(one, one * 0)), 1 - 1e-6, 1.0]
    p = torch.tensor(levels).repeat(1, 1, 8, 4)
    for strength in (0.0, 30.0, -30.0):
        assert bool(with_gradient(TopologicalSkeleton(), p, torch.full_like(p, strength))[1].isfinite().all())


def test_without_noise_gradients_pass_as_they_are_but_for_deleted_voxels():
    p = probabilities_of((1, 2, 16, 16))
    weight = torch.randn(p.shape)
    skeleton, gradient = with_gradient(TopologicalSkeleton(beta=0), p, weight=weight)
    assert torch.equal(gradient, torch.where((p > 0.5) & (skeleton == 0), torch.zeros(()), weight))


@pytest.mark.parametrize("module", [
    pytest.param(TopologicalSkeleton(), id="one sample"),
    pytest.param(TopologicalSkeleton(samples=3), id="three samples"),
    pytest.param(TopologicalSkeleton(beta=0), id="no noise"),
])
@pytest.mark.parametrize("shape", SHAPES, ids=["2d", "3d"])
def test_saves_one_tensor_of_the_inputs_size_for_the_backward_pass(shape, module):
    p, kept = probabilities_of(shape).requires_grad_(), []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        skeleton = module(p)
        assert [tensor.untyped_storage().nbytes() for tensor in kept] == [4 * p.numel()]
        kept.clear()
        module(p.detach())
    assert not kept
    skeleton.sum().backward()


def test_is_connected_to_the_graph_only_where_a_gradient_is_asked_for():
    p = probabilities_of((1, 1, 6, 6))
    assert not TopologicalSkeleton()(p).requires_grad
    assert TopologicalSkeleton()((p * 0).requires_grad_()).requires_grad
    with torch.no_grad():
        assert not TopologicalSkeleton()(p.requires_grad_()).requires_grad


# noise and samples


@pytest.mark.parametrize("device", DEVICES)
def test_a_generator_makes_results_repeatable_and_leaves_torchs_own_alone(device):
    p = probabilities_of((2, 2, 24, 24)).to(device)
    module = TopologicalSkeleton(samples=2)
    state = torch.get_rng_state()
    one, same, other = (module(p, generator=torch.Generator(device).manual_seed(seed)) for seed in (3, 3, 4))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(3)
    assert torch.equal(module(p), one) or device == "cuda"
    assert not torch.equal(module(p), one)


def test_noise_that_is_drawn_is_logistic():
    """An isolated voxel then turns to foreground with probability sigmoid(logit(p) / beta)."""
    isolated = torch.zeros(1, 1, 300, 300)
    isolated[..., ::2, ::2] = 0.4
    skeleton = TopologicalSkeleton(suppress_specks=False)(isolated, generator=torch.Generator().manual_seed(0))
    share = skeleton[..., ::2, ::2].mean()
    assert abs(share - torch.sigmoid(torch.tensor(0.4).logit() / 0.33)) < 0.01  # 3.5 standard deviations
    assert not skeleton[..., 1::2, :].any()


@pytest.mark.parametrize("shape", SHAPES, ids=["2d", "3d"])
@pytest.mark.parametrize("gradient", ["straight_through", "reference"])
def test_several_samples_give_the_mean_of_single_ones_and_of_their_gradients(gradient, shape):
    p, noise, weight = probabilities_of(shape), noise_of((4, *shape)), noise_of(shape, 2)
    several = with_gradient(TopologicalSkeleton(4, gradient=gradient, samples=4), p, noise, weight)
    single = TopologicalSkeleton(4, gradient=gradient)
    singles = [with_gradient(single, p, one, weight) for one in noise]
    for mean, parts in zip(several, zip(*singles, strict=True), strict=True):
        torch.testing.assert_close(mean, torch.stack(parts).mean(0), rtol=1e-5, atol=1e-6)
    generator, same = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
    drawn = TopologicalSkeleton(samples=3)(p, generator=generator)
    torch.testing.assert_close(drawn, sum(TopologicalSkeleton()(p, generator=same) for _ in range(3)) / 3)


@pytest.mark.parametrize("shape", SHAPES, ids=["2d", "3d"])
def test_a_batch_equals_its_single_maps(shape):
    p, noise = probabilities_of(shape), noise_of(shape)
    for module in (TopologicalSkeleton(), TopologicalSkeleton(4, gradient="reference")):
        skeletons, gradients = with_gradient(module, p, noise)
        for b in range(shape[0]):
            for c in range(shape[1]):
                one = (slice(b, b + 1), slice(c, c + 1))
                skeleton, gradient = with_gradient(module, p[one], noise[one])
                assert torch.equal(skeleton, skeletons[one])
                torch.testing.assert_close(gradient, gradients[one])


def test_memory_order_does_not_matter_and_the_input_is_left_as_it_was():
    p = probabilities_of((9, 10, 2, 3)).permute(2, 3, 1, 0)
    noise, before = noise_of(p.shape), p.clone()
    skeleton, gradient = with_gradient(TopologicalSkeleton(), p, noise)
    expected = with_gradient(TopologicalSkeleton(), p.contiguous(), noise)
    assert torch.equal(skeleton, expected[0])
    torch.testing.assert_close(gradient, expected[1])
    noise_before = noise.clone()
    TopologicalSkeleton()(p, noise)
    assert torch.equal(p, before) and torch.equal(noise, noise_before)
    drawn = [TopologicalSkeleton()(x, generator=torch.Generator().manual_seed(0)) for x in (p, p.contiguous())]
    assert torch.equal(*drawn)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("autocast", [False, True], ids=["", "autocast"])
def test_half_precision_equals_float32_of_the_rounded_values(dtype, autocast):
    half, noise = probabilities_of(SHAPES[1]).to(dtype), noise_of(SHAPES[1])
    expected = with_gradient(TopologicalSkeleton(), half.float(), noise)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        skeleton, gradient = with_gradient(TopologicalSkeleton(), half, noise)
    assert skeleton.dtype == torch.float32 and torch.equal(skeleton, expected[0])
    assert gradient.dtype == dtype and torch.equal(gradient, expected[1].to(dtype))


# topology, borders and specks


@pytest.mark.parametrize("border", ["background", "anchored"])
@settings(max_examples=30, deadline=None)
@given(shapes, seeds)
def test_without_noise_the_skeleton_has_the_betti_numbers_of_the_binarised_map(border, shape, seed):
    rng = np.random.default_rng(seed)
    p = torch.from_numpy(rng.random((20, 1, *shape)) ** rng.uniform(0.2, 5, (20, *[1] * (len(shape) + 1))))
    skeletons = TopologicalSkeleton(beta=0, border=border)(p)[:, 0].bool()
    assert np.array_equal(betti_numbers_of_each(skeletons.numpy()), betti_numbers_of_each((p > 0.5)[:, 0].numpy()))


def test_default_skeleton_of_a_cut_vessel_reaches_the_patchs_border():
    p = torch.full((1, 1, 24, 11, 11), 0.001)
    p[..., 3:8, 3:8] = 0.999
    assert bool(TopologicalSkeleton()(p, generator=torch.Generator().manual_seed(0)).flatten(3).any(3).all())
    assert not TopologicalSkeleton.reference()(p, generator=torch.Generator().manual_seed(0))[0, 0, 0].any()


def test_unlikely_background_alone_has_no_skeleton_unless_specks_are_asked_for():
    p = torch.full((1, 1, 128, 128, 128), 0.05)
    with_specks, without = (TopologicalSkeleton(suppress_specks=suppress)(p, generator=torch.Generator().manual_seed(0))
                            for suppress in (False, True))
    assert 200 < component_counts(with_specks[0].bool().numpy(), False)[0] < 360  # 280 are expected
    assert not without.any()


@pytest.mark.parametrize(("size", "pin_holes"), [((48, 48, 48), 2), ((300, 300), 1)], ids=["3d", "2d"])
def test_a_solid_block_of_likely_foreground_has_no_pin_holes_unless_specks_are_asked_for(size, pin_holes):
    p = torch.zeros(1, 1, *size)
    p[(..., *[slice(4, -4)] * len(size))] = 0.95
    with_holes, without = (TopologicalSkeleton(suppress_specks=suppress)(p, generator=torch.Generator().manual_seed(0))
                           for suppress in (False, True))
    assert betti_numbers_of_each(with_holes[0].bool().numpy())[0, pin_holes] > 3
    assert betti_numbers_of_each(without[0].bool().numpy())[0].tolist() == [1] + [0] * (len(size) - 1)


def plainly_without_specks(samples: np.ndarray, certain: np.ndarray) -> np.ndarray:
    """By labels of components, of (N, *S) masks."""
    result = samples.copy()
    for mask, faces_only, value in ((samples, False, True), (~samples, True, False)):
        labels = components(mask, faces_only)
        real = np.unique(labels[mask & (certain == value)])
        result[mask & ~np.isin(labels, real)] = not value
    return result


class Elsewhere(torch.Tensor):
    """On the CPU, but says that it is not, and so takes the path of other devices."""

    device = property(lambda self: SimpleNamespace(type="elsewhere"))


@settings(max_examples=60, deadline=None)
@given(shapes, st.floats(0, 0.6), seeds)
def test_specks_are_the_components_that_noise_made_alone_on_every_path(shape, flipped, seed):
    rng = np.random.default_rng(seed)
    certain = random_masks(rng, 12, *shape)
    sample = certain ^ (rng.random(certain.shape) < flipped)
    expected = plainly_without_specks(sample, certain)
    tensors = [torch.from_numpy(mask).view(4, 3, *shape) for mask in (sample, certain)]
    assert np.array_equal(without_specks(*tensors).flatten(0, 1).numpy(), expected)
    elsewhere = without_specks(*(tensor.as_subclass(Elsewhere) for tensor in tensors))
    assert isinstance(elsewhere, Elsewhere) and torch.equal(elsewhere.flatten(0, 1), torch.from_numpy(expected))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_skeleton_and_gradient_on_cuda_equal_those_on_the_cpu():
    for shape in SHAPES:
        p, noise = probabilities_of(shape), noise_of((2, *shape))
        for options in ({}, {"suppress_specks": False, "border": "background"}, {"gradient": "reference"}):
            module = TopologicalSkeleton(5, samples=2, **options)
            skeleton, gradient = with_gradient(module, p, noise)
            there = with_gradient(module, p.cuda(), noise.cuda())
            assert torch.equal(there[0].cpu(), skeleton)
            torch.testing.assert_close(there[1].cpu(), gradient, rtol=1e-5, atol=1e-6)


def test_a_large_group_of_specks_is_taken_out_whole():
    """More voxels than the kernel's list of a group holds at first."""
    blocks = np.kron(np.eye(2), np.ones((300, 300))) > 0
    sample = torch.from_numpy(np.stack([blocks, blocks]))[None]
    certain = torch.zeros_like(sample)
    assert not without_specks(sample, certain).any()
    assert without_specks(~sample, ~certain).all()
    certain[0, 1, 0, 0] = True
    assert torch.equal(without_specks(sample, certain)[0, 1], sample[0, 1])


# what does not fit


def test_nothing_has_an_empty_skeleton():
    for shape in ((0, 1, 4, 4), (1, 0, 4, 4, 4), (1, 1, 0, 5)):
        assert TopologicalSkeleton()(torch.zeros(shape, requires_grad=True)).shape == shape
    assert not TopologicalSkeleton()(torch.zeros(1, 1, 5, 5)).any()


@pytest.mark.parametrize(("options", "sentence"), [
    ({"iterations": -1}, "integer of at least 0, or None for convergence, got -1"),
    ({"iterations": True}, "got True"),
    ({"beta": -0.1}, "beta, the strength of the noise, must be at least 0, got -0.1"),
    ({"beta": float("nan")}, "got nan"),
    ({"tau": 0}, "tau, the temperature, must be greater than 0, got 0"),
    ({"simple_points": "boolean"}, r"one of \('topological', 'euler'\), got 'boolean'"),
    ({"gradient": "exact"}, r"one of \('straight_through', 'reference'\), got 'exact'"),
    ({"gradient": "reference"}, "gradient='reference' needs a number of iterations"),
    ({"samples": 0}, "samples must be an integer of at least 1, got 0"),
    ({"samples": True}, "got True"),
    ({"samples": 2, "beta": 0}, r"all samples are the same; samples must be 1, got 2"),
    ({"border": "zeros"}, r"one of \('background', 'anchored'\), got 'zeros'"),
])
def test_wrong_options_get_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        TopologicalSkeleton(**options)


@pytest.mark.parametrize(("options", "probabilities", "noise", "error", "sentence"), [
    ({}, torch.full((1, 1, 4, 4), 1.5), None, ValueError, r"probabilities in \[0, 1\], got values from 1.5 to 1.5"),
    ({}, torch.full((1, 1, 4, 4), -0.5), None, ValueError, "Apply softmax or sigmoid"),
    ({}, torch.full((1, 1, 4, 4), torch.nan), None, ValueError, "some are NaN"),
    ({}, torch.rand(4, 4), None, ValueError, r"shape \(B, C, \*S\) with two or three spatial axes, got \(4, 4\)"),
    ({}, torch.rand(1, 1, 2, 2, 2, 2), None, ValueError, r"got \(1, 1, 2, 2, 2, 2\)"),
    ({}, torch.ones(1, 1, 4, 4, dtype=torch.uint8), None, TypeError, "floating-point probabilities, got torch.uint8"),
    ({}, torch.rand(1, 1, 4, 4), torch.zeros(4, 4), ValueError, r"\(1, 1, 1, 4, 4\) or \(1, 1, 4, 4\), got \(4, 4\)"),
    ({"samples": 2}, torch.rand(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), ValueError, r"shape \(2, 1, 1, 4, 4\), got"),
    ({"beta": 0}, torch.rand(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), ValueError, "but beta=0 switches noise off"),
])
def test_wrong_input_gets_a_sentence(options, probabilities, noise, error, sentence):
    with pytest.raises(error, match=sentence):
        TopologicalSkeleton(**options)(probabilities, noise)
