"""Homotopy warping against a slow version, the topology that it has to keep, and the Warping loss."""

from __future__ import annotations

import itertools
import math

import gudhi
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from topology import betti_numbers_of_each, is_simple

from nnunet_topo.homology import betti_numbers, critical_voxels, warped
from nnunet_topo.losses import WarpingLoss

SIDES = ["foreground", "background"]
SHAPES = [(30, 32), (12, 14, 13)]


def mask(*rows: str) -> np.ndarray:
    return np.array([[character == "#" for character in row] for row in rows])


def simple_voxels(image: np.ndarray, connectivity: str, candidates: np.ndarray) -> np.ndarray:
    """Whether each candidate (N, axes) is simple, by the definition; outside is background."""
    outside = connectivity == "background"
    framed = np.pad(image ^ outside, 1, constant_values=outside)
    around = [framed[tuple(slice(i, i + 3) for i in place)] for place in candidates]
    return is_simple(np.stack(around)) if around else np.zeros(0, bool)


def slow_distances(image: np.ndarray, towards: np.ndarray) -> np.ndarray:
    """Shortest ways from the border, by letting every voxel ask its neighbours until nothing changes."""
    framed, goal = np.pad(image, 1), np.pad(towards, 1)
    distances = np.full(framed.shape, np.inf)
    changed = True
    while changed:
        changed = False
        for place in np.argwhere(framed != goal):
            for offset in itertools.product((-1, 0, 1), repeat=image.ndim):
                here, there, step = tuple(place), tuple(place + offset), 2 + sum(map(abs, offset))
                start = 0 if framed[there] != framed[here] else \
                    distances[there] if framed[there] != goal[there] else np.inf
                if any(offset) and start + step < distances[here]:
                    distances[here], changed = start + step, True
    return distances[(slice(1, -1),) * image.ndim]


def slow_warped(image: np.ndarray, towards: np.ndarray, connectivity: str) -> np.ndarray:
    """The nearest simple voxel that differs is flipped, and the search begins again."""
    distances, result = slow_distances(image, towards), image.copy()
    while True:
        candidates = np.argwhere(result != towards)
        candidates = candidates[simple_voxels(result, connectivity, candidates)]
        if len(candidates) == 0:
            return result
        flipped = tuple(min(candidates.tolist(), key=lambda place: (distances[tuple(place)], place)))
        result[flipped] = towards[flipped]


@st.composite
def mask_pairs(draw, longest_2d: int, longest_3d: int):
    """Noise, coarse and fine; often the second is the first with errors."""
    longest = draw(st.sampled_from([[longest_2d] * 2, [longest_3d] * 3]))
    shape = tuple(draw(st.integers(1, size)) for size in longest)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    grain = draw(st.sampled_from([0, 0.7, 1.5]))
    noise = ndimage.gaussian_filter(rng.normal(size=(2, *shape)), [0, *[grain] * len(shape)])
    first, second = noise > draw(st.sampled_from([-0.1, 0.0, 0.1]))
    return (first, first ^ (rng.random(shape) < 0.2)) if draw(st.booleans()) else (first, second)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(mask_pairs(9, 5), st.sampled_from(SIDES))
def test_equals_the_slow_version(masks, connectivity):
    assert np.array_equal(warped(*masks, connectivity), slow_warped(*masks, connectivity))


def numbers_by_gudhi(image: np.ndarray, connectivity: str) -> tuple[int, ...]:
    form = "top_dimensional_cells" if connectivity == "foreground" else "vertices"
    complex_ = gudhi.CubicalComplex(**{form: np.where(image, 0.0, np.inf)})
    complex_.compute_persistence()
    bars = [complex_.persistence_intervals_in_dimension(k).reshape(-1, 2) for k in range(image.ndim)]
    return tuple(int((b[:, 0] == 0).sum()) for b in bars)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(mask_pairs(24, 9), st.sampled_from(SIDES))
def test_the_topology_stays_and_no_simple_voxel_is_left(masks, connectivity):
    image, towards = masks
    result = warped(image, towards, connectivity)
    assert numbers_by_gudhi(result, connectivity) == numbers_by_gudhi(image, connectivity)
    assert betti_numbers(result, connectivity) == betti_numbers(image, connectivity)
    assert not simple_voxels(result, connectivity, np.argwhere(result != towards)).any()
    assert not (result ^ image)[image == towards].any()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_most_of_two_similar_masks_is_warped_away(shape):
    rng = np.random.default_rng(0)
    field = ndimage.gaussian_filter(rng.normal(size=shape), 2)
    first, second = field > 0, field + 0.2 * field.std() * rng.normal(size=shape) > 0
    result = warped(first, second)
    assert (result ^ second).sum() < 0.5 * (first ^ second).sum()
    assert (betti_numbers_of_each(np.stack([result, first]))[0] == betti_numbers_of_each(first[None])[0]).all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("connectivity", SIDES)
def test_a_perfect_prediction_has_no_critical_voxel_and_an_inverted_one_many(shape, connectivity):
    target = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=shape), 1.5) > 0
    assert not critical_voxels(target, target, connectivity).any()
    assert critical_voxels(~target, target, connectivity).mean() > 0.1
    for empty_or_full in (np.zeros(shape, bool), np.ones(shape, bool)):
        assert critical_voxels(empty_or_full, target, connectivity).any()
        assert not critical_voxels(empty_or_full, empty_or_full, connectivity).any()


TUBE = mask("..........", "##########", "##########", "##########", "..........")
CUT = mask("..........", "####..####", "####..####", "####..####", "..........")


def test_a_cut_vessel_is_critical_across_the_cut_and_along_its_middle():
    expected = mask("..........", ".....#....", "....##....", ".....#....", "..........")
    assert np.array_equal(critical_voxels(CUT, TUBE), expected)
    assert np.array_equal(critical_voxels(TUBE, CUT), expected)


def test_an_error_that_leaves_the_topology_as_it_is_has_no_critical_voxel():
    target = ndimage.binary_dilation(mask("." * 14, "." * 14, "." * 3 + "#" * 8 + "." * 3, "." * 14, "." * 14))
    for prediction in (np.roll(target, 1, 1), np.roll(target, 1, 0), ndimage.binary_dilation(target)):
        assert (prediction != target).any()
        assert not critical_voxels(prediction, target).any()


def test_vessels_in_contact_and_a_filled_loop_are_critical_where_they_are_wrong():
    apart = mask(".........", "#########", ".........", "#########", ".........")
    contact = apart | mask(".........", ".........", "....#....", ".........", ".........")
    assert np.argwhere(critical_voxels(contact, apart)).tolist() == [[2, 4]]
    ring = mask(".....", ".###.", ".#.#.", ".###.", ".....")
    assert np.argwhere(critical_voxels(ndimage.binary_fill_holes(ring), ring)).tolist() == [[2, 2]]


def test_connectivity_decides_whether_corners_join():
    diagonal, straight = mask("#...", ".#..", "..#.", "...#"), mask("#...", "##..", ".##.", "..##")
    assert not critical_voxels(diagonal, straight, "foreground").any()
    assert critical_voxels(diagonal, straight, "background").any()


def test_the_order_in_memory_does_not_matter():
    expected = warped(CUT, TUBE)
    assert (expected != CUT).any()
    for copy in (np.asfortranarray, lambda image: image[:, ::-1].copy()[:, ::-1]):
        assert np.array_equal(warped(copy(CUT), TUBE), expected)
        assert np.array_equal(warped(CUT, copy(TUBE)), expected)


@pytest.mark.parametrize(("arguments", "sentence"), [
    ((TUBE, TUBE, "both"), 'must be "foreground" or "background"'),
    ((TUBE, TUBE[1:]), "masks of one shape, not of"),
    ((TUBE, TUBE.astype(float)), "boolean numpy arrays of two or three axes, not of ndarray float64"),
    ((TUBE[0], TUBE[0]), "boolean numpy arrays of two or three axes, not of ndarray bool"),
])
def test_bad_masks_are_refused_with_a_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        warped(*arguments)


def batch(*shape: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=(2, 2, *shape)), [0, 0] + [1.5] * len(shape))
    noisy = field / field.std() + 0.5 * rng.normal(size=field.shape)
    return torch.sigmoid(torch.from_numpy(3 * noisy).float()), torch.from_numpy(field > 0)


def as_batch(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image)[None, None]


def test_counts_by_hand():
    probabilities = as_batch(np.where(CUT, 0.9, np.where(TUBE, 0.2, 0.1)))
    critical, all_voxels = 4, CUT.size
    total = critical * -math.log(0.2)
    reference = WarpingLoss(normalised=False)(probabilities, as_batch(TUBE)).item()
    assert reference == pytest.approx(total / all_voxels, rel=1e-5)
    foreground = int(CUT.sum() + TUBE.sum())
    expected = total / ((1 + critical) * (1 + foreground)) ** 0.5
    assert WarpingLoss()(probabilities, as_batch(TUBE)).item() == pytest.approx(expected, rel=1e-5)
    # the other way round, voxels are to be emptied
    probabilities = as_batch(np.where(CUT, 0.9, np.where(TUBE, 0.7, 0.1)))
    expected = critical * -math.log(0.3) / all_voxels
    assert WarpingLoss(normalised=False)(probabilities, as_batch(CUT)).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("form", [WarpingLoss, WarpingLoss.reference])
def test_the_gradient_is_that_of_cross_entropy_at_the_critical_voxels_only(shape, form):
    probabilities, target = batch(*shape)
    logits = torch.logit(probabilities).requires_grad_()
    loss = form()
    loss(torch.sigmoid(logits), target).backward()
    for b, c in itertools.product(range(2), range(2)):
        first, second = (probabilities[b, c] > 0.5).numpy(), target[b, c].numpy()
        critical = critical_voxels(first, second, loss.connectivity)
        assert 0 < critical.sum() < (first ^ second).sum()
        size = ((1 + critical.sum()) * (1 + first.sum() + second.sum())) ** 0.5 if loss.normalised else first.size
        expected = np.where(critical, probabilities[b, c].numpy() - second, 0) / size / 4
        np.testing.assert_allclose(logits.grad[b, c], expected, atol=1e-6)


def test_gradcheck_in_float64():
    probabilities, target = batch(10, 11)
    probabilities = probabilities.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: WarpingLoss()(p, target), probabilities)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_perfect_prediction_costs_nothing_and_no_target_is_too_empty_or_full(shape):
    _, target = batch(*shape)
    assert WarpingLoss()(target.float(), target).item() == 0
    for other in (torch.zeros_like(target), torch.ones_like(target)):
        assert WarpingLoss()(other.float(), other).item() == 0
        probabilities = target.float().requires_grad_()
        value = WarpingLoss()(probabilities, other)
        value.backward()
        assert value.item() > 0 and probabilities.grad.isfinite().all()


def test_gradient_norm_is_of_the_order_of_dices():
    axes = torch.meshgrid(*[torch.arange(48.0)] * 2, indexing="ij")
    target = (((axes[0] - 24) ** 2 + (axes[1] - 24) ** 2).sqrt() - 14).abs() < 3
    noise = torch.randn(48, 48, generator=torch.Generator().manual_seed(0))
    logits = (2 * target - 1 + 0.5 * noise)[None, None].requires_grad_()
    probabilities = torch.sigmoid(logits)
    dice = 1 - 2 * (probabilities * target).sum() / (probabilities.sum() + target.sum())
    norms = [torch.autograd.grad(loss, logits, retain_graph=True)[0].norm().item()
             for loss in (dice, WarpingLoss()(probabilities, target[None, None]))]
    assert 0.1 < norms[1] / norms[0] < 10


def test_works_in_the_background_between_start_and_end():
    probabilities, target = batch(12, 14)
    loss = WarpingLoss(threads=2)
    parts = [probabilities, probabilities.flip(0)]
    ends = [loss.start(part, target) for part in parts]
    assert [end().item() for end in ends] == [loss(part, target).item() for part in parts]
    assert loss(probabilities, target).item() == WarpingLoss(threads=1)(probabilities, target).item() > 0


@pytest.mark.parametrize(("call", "sentence"), [
    (lambda p, t: WarpingLoss(connectivity="both"), "connectivity must be 'foreground' or 'background'"),
    (lambda p, t: WarpingLoss(threads=0), "threads must be at least 1"),
])
def test_options_that_cannot_be_get_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(*batch(12, 14))
