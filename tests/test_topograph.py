"""The Topograph loss against the authors' code, and by hand."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from nnunet_topo.homology import critical_regions
from nnunet_topo.losses import TopographLoss

GOLDEN = Path(__file__).parent / "golden" / "regions"


def one_hot(target: np.ndarray, labels: range) -> torch.Tensor:
    return torch.stack([torch.from_numpy(target) == label for label in labels], 1)


def with_gradient(loss: TopographLoss, logits: torch.Tensor, target: torch.Tensor, first: int):
    logits = logits.clone().requires_grad_()
    value = loss(torch.softmax(logits, 1)[:, first:], target)
    value.backward()
    return value.item(), logits.grad


@pytest.mark.parametrize("name", ["smooth", "lines", "3_classes", "empty_target", "noise", "perfect", "background_too"])
def test_value_and_gradient_are_the_authors(name):
    data = np.load(GOLDEN / f"topograph_{name}.npz")
    logits, first = torch.from_numpy(data["logits"]), int(name != "background_too")  # there, background is a class too
    target = one_hot(data["target"], range(first, logits.shape[1]))
    value, gradient = with_gradient(TopographLoss.reference(), logits, target, first)
    assert value == pytest.approx(float(data["loss"]), rel=1e-5, abs=1e-9)
    assert (value > 0) == (name != "perfect")
    np.testing.assert_allclose(gradient, data["grad_logits"], atol=1e-6)


@pytest.mark.parametrize("name", ["smooth", "lines", "empty_target"])
def test_with_one_class_a_decision_at_a_half_is_that_for_the_largest(name):
    data = np.load(GOLDEN / f"topograph_{name}.npz")
    target = one_hot(data["target"], range(1, 2))
    half = TopographLoss(normalised=False, outside="nothing")
    value, gradient = with_gradient(half, torch.from_numpy(data["logits"]), target, 1)
    assert value == pytest.approx(float(data["loss"]), rel=1e-5)
    np.testing.assert_allclose(gradient, data["grad_logits"], atol=1e-6)


def batch(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    field = ndimage.gaussian_filter(rng.normal(size=(2, 2, *shape)), [0, 0] + [1.5] * len(shape))
    noisy = field / field.std() + 0.5 * rng.normal(size=field.shape)
    return torch.sigmoid(torch.from_numpy(3 * noisy).float()), torch.from_numpy(field > 0)


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("shape", [(30, 32), (12, 14, 13)], ids=str)
def test_the_gradient_lies_in_critical_regions_and_each_has_its_share(shape, normalised):
    probabilities, target = batch(*shape)
    probabilities.requires_grad_()
    value = TopographLoss(normalised=normalised)(probabilities, target)
    value.backward()
    total = 0.0
    for b, c in itertools.product(range(2), range(2)):
        p, t = probabilities.detach()[b, c].numpy(), target[b, c].numpy()
        voxels, regions = critical_regions(p > 0.5, t).in_critical()
        slope, mistaken = np.zeros(p.size), np.abs(p - t).ravel()
        number = regions.max() + 1
        scale = ((1 + number) * (1 + (p > 0.5).sum() + t.sum())) ** 0.5
        for region in range(number):
            places = voxels[regions == region]
            weight = len(places) ** -0.5 / scale if normalised else 1 / len(places)
            slope[places] = weight * (1 - 2 * t.ravel()[places]) / 4
            total += weight * mistaken[places].sum() / 4
        np.testing.assert_allclose(probabilities.grad[b, c].numpy().ravel(), slope, atol=1e-6)
        norm = np.linalg.norm(slope) * 4
        assert norm == pytest.approx((number**0.5 / scale if normalised else norm), rel=1e-5)
    assert value.item() == pytest.approx(total, rel=1e-5) and (value.item() < 1 or not normalised)


def ring(side: int = 48) -> torch.Tensor:
    axes = torch.meshgrid(*[torch.arange(float(side))] * 2, indexing="ij")
    return (((axes[0] - side / 2) ** 2 + (axes[1] - side / 2) ** 2).sqrt() - 14).abs() < 3


def test_gradient_norm_is_of_the_order_of_dices():
    target = ring()
    noise = torch.randn(48, 48, generator=torch.Generator().manual_seed(0))
    logits = (2 * target - 1 + 0.7 * noise)[None, None].requires_grad_()
    probabilities = torch.sigmoid(logits)
    dice = 1 - 2 * (probabilities * target).sum() / (probabilities.sum() + target.sum())
    norms = [torch.autograd.grad(loss, logits, retain_graph=True)[0].norm().item()
             for loss in (dice, TopographLoss()(probabilities, target[None, None]))]
    assert 0.1 < norms[1] / norms[0] < 10


def test_a_cut_costs_and_a_shift_of_the_border_does_not():
    target = ring()
    cut, thinner = target.clone(), torch.from_numpy(ndimage.binary_erosion(target))
    cut[20:28, :24] = False
    for prediction, costs in ((cut, True), (thinner, False), (target, False), (~target, True)):
        probabilities = torch.where(prediction, 0.8, 0.2)[None, None].requires_grad_()
        value = TopographLoss()(probabilities, target[None, None])
        value.backward()  # a zero stays in the graph
        assert (value.item() > 0) == costs == bool((probabilities.grad != 0).any())


def test_works_in_the_background_between_start_and_end():
    probabilities, target = batch(12, 14)
    loss = TopographLoss(threads=2)
    parts = probabilities, probabilities.flip(0)
    ends = [loss.start(part, target) for part in parts]
    assert [end().item() for end in ends] == [loss(part, target).item() for part in parts]
    assert loss(probabilities, target).item() == TopographLoss(threads=1)(probabilities, target).item() > 0


@pytest.mark.parametrize(("call", "sentence"), [
    (lambda p, t: TopographLoss(outside="sphere"), "outside must be 'background' or 'nothing'"),
    (lambda p, t: TopographLoss(decision="argmax"), "decision must be 'half' or 'largest'"),
    (lambda p, t: TopographLoss(threads=0), "threads must be at least 1"),
    (lambda p, t: TopographLoss()(p, t[:, :1]), "Topograph needs a target of the probabilities' shape"),
])
def test_wrong_input_gets_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(*batch(12, 14))
