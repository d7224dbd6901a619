"""TopoLoss against gudhi and counts by hand; test_loss_contract.py has what all promise."""

from __future__ import annotations

import gudhi
import numpy as np
import pytest
import torch
from scipy import ndimage

from nnunet_topo.losses import TopoLoss

SHAPES = [(20, 22), (8, 9, 10)]


def single(*rows: str) -> torch.Tensor:
    """(1, 1, *S) from rows of digits, tenths."""
    return torch.tensor([[int(digit) / 10 for digit in row] for row in rows])[None, None]


def batch(*shape: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise, and a target that is smooth enough for features to be few."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=(2, 2, *shape)), [0, 0] + [1.2] * len(shape))
    return torch.from_numpy(rng.random((2, 2, *shape), np.float32)), torch.from_numpy(smooth > 0)


def by_gudhi(probabilities: np.ndarray, target: np.ndarray, threshold: float) -> tuple[float, np.ndarray]:
    """Cost without the essential component, and its gradient, of one image, from gudhi's pairs of voxels."""
    complex_ = gudhi.CubicalComplex(vertices=1 - probabilities.astype(np.float64))
    complex_.compute_persistence(min_persistence=0)
    true = gudhi.CubicalComplex(vertices=1 - target.astype(np.float64))
    true.compute_persistence(min_persistence=0)
    cost, gradient = 0.0, np.zeros(probabilities.size)
    values = probabilities.astype(np.float64).ravel(order="F")  # gudhi's order of voxels
    for k, number in enumerate(len(t) for t in _finite(true, target.ndim)):
        pairs = sorted(_finite(complex_, target.ndim)[k], key=lambda pair: values[pair[1]] - values[pair[0]])
        for birth, death in pairs[:number]:
            cost += (1 - values[birth]) ** 2 + values[death] ** 2
            gradient[birth] += 2 * (values[birth] - 1)
            gradient[death] += 2 * values[death]
        for birth, death in pairs[number:]:
            length = values[birth] - values[death]
            if length > threshold:
                cost += length**2
                gradient[birth] += 2 * length
                gradient[death] -= 2 * length
        cost += max(number - len(pairs), 0)
    return cost, gradient.reshape(probabilities.shape, order="F")


def _finite(complex_: gudhi.CubicalComplex, axes: int) -> list[np.ndarray]:
    pairs = complex_.vertices_of_persistence_pairs()[0]
    return [pairs[k] if k < len(pairs) else np.empty((0, 2), int) for k in range(axes)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("threshold", [0.03, 0.5])
def test_reference_is_hus_sum_over_gudhis_diagram_in_value_and_gradient(shape, threshold):
    probabilities, target = batch(*shape)
    probabilities.requires_grad_()
    loss = TopoLoss.reference(threshold=threshold)(probabilities, target)
    loss.backward()
    expected = [by_gudhi(probabilities.detach()[b, c].numpy(), target[b, c].numpy(), threshold)
                for b in range(2) for c in range(2)]
    assert loss.item() == pytest.approx(np.mean([cost for cost, _ in expected]), rel=1e-5)
    gradients = np.stack([gradient for _, gradient in expected]).reshape(probabilities.shape) / 4
    np.testing.assert_allclose(probabilities.grad, gradients, atol=1e-6)


# two components, 0.8 and 0.5, over a saddle of 0.2; the targets have two, one, and none
TWO = single("00000", "08250", "00000")
TARGETS = {count: single("00000", row, "00000").ceil() for count, row in enumerate(("00000", "09000", "09090"))}
RING = single("00000", "09990", "09390", "09990", "00000")


def test_the_authors_number_is_twice_that_of_what_is_brought_to_the_diagonal_and_the_papers_half_of_it():
    ours, theirs, papers = (TWO.clone().requires_grad_() for _ in range(3))
    number = TopoLoss.reference()(ours, TARGETS[1])
    birth, death = (..., 1, 3), (..., 1, 2)  # of the component of 0.5, over the saddle of 0.2
    published = (theirs[birth] - 0.2) ** 2 + (theirs[death] - 0.5) ** 2
    middle = (papers[birth] - papers[death]) / 2
    wasserstein = 2 * middle**2  # either end to the diagonal's nearest point
    for value in (number, published.sum(), wasserstein.sum()):
        value.backward()
    assert published.item() == pytest.approx(2 * number.item())
    assert wasserstein.item() == pytest.approx(number.item() / 2)
    torch.testing.assert_close(theirs.grad, ours.grad)
    torch.testing.assert_close(papers.grad, ours.grad / 2)


@pytest.mark.parametrize(("probabilities", "target", "options", "cost"), [
    (TWO, TARGETS[1], {}, (0.5 - 0.2) ** 2),
    (TWO, TARGETS[2], {}, (1 - 0.5) ** 2 + 0.2**2),
    (TWO, TARGETS[1], {"threshold": 0.31}, 0.0),
    (TWO, TARGETS[1], {"essential": True}, (1 - 0.8) ** 2 + (0.5 - 0.2) ** 2),
    (TWO, TARGETS[2], {"essential": True}, (1 - 0.8) ** 2 + (1 - 0.5) ** 2 + 0.2**2),
    (TWO, TARGETS[0], {"essential": True}, 0.8**2 + (0.5 - 0.2) ** 2),
    (TARGETS[1], TARGETS[2], {}, 1.0),  # a component is missing
    (RING, RING > 0.5, {}, (1 - 0.9) ** 2 + 0.3**2),
    (RING, RING > 0.2, {}, (0.9 - 0.3) ** 2),
    # framed, the target has a component and a hole more, and so has the prediction, up to its saddles of 0 and 0.8
    (TWO, TARGETS[1], {"frame": True}, 2 * (1 - 0.8) ** 2 + (0.5 - 0.2) ** 2),
])
def test_counts_by_hand(probabilities, target, options, cost):
    assert TopoLoss.reference(**options)(probabilities, target).item() == pytest.approx(cost, abs=1e-6)


def test_normalised_form_divides_by_the_features_lengths_and_the_foreground():
    squares = 0.8**2 + (0.5 - 0.2) ** 2 + 1**2
    foreground = 0.8 + 0.2 + 0.5 + 1
    expected = ((1 - 0.8) ** 2 + (0.5 - 0.2) ** 2) / (1 + squares) / (1 + foreground) ** 0.5
    assert TopoLoss()(TWO, TARGETS[1]).item() == pytest.approx(expected, rel=1e-5)


def test_a_step_down_the_gradient_closes_a_cut_and_removes_a_bridge():
    """What the loss is for: after it, the prediction has the target's Betti numbers."""
    cut, whole = single("00000", "99399", "00000"), single("00000", "99999", "00000").ceil()
    apart = single("00000", "99699", "00000"), single("00000", "99099", "00000").ceil()
    for prediction, target in ((cut, whole), apart):
        logits = torch.logit(prediction.clamp(0.01, 0.99)).requires_grad_()
        optimizer = torch.optim.SGD([logits], lr=10.0)
        for _ in range(100):
            optimizer.zero_grad()
            TopoLoss.reference()(torch.sigmoid(logits), target).backward()
            optimizer.step()
        assert torch.equal(torch.sigmoid(logits) > 0.5, target.bool())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("form", [TopoLoss, TopoLoss.reference])
def test_a_perfect_prediction_costs_nothing_and_no_target_is_too_empty_or_full(shape, form):
    _, target = batch(*shape)
    loss = form()
    assert loss(target.float(), target).item() == 0
    for other in (torch.zeros_like(target), torch.ones_like(target)):
        assert loss(other.float(), other).item() == 0
        probabilities = torch.rand(target.shape).requires_grad_()
        value = loss(probabilities, other)
        value.backward()
        assert value.item() > 0 and probabilities.grad.isfinite().all()


def test_an_empty_prediction_of_one_component_costs_and_learns():
    probabilities = (0.01 * TARGETS[1]).requires_grad_()
    loss = TopoLoss()(probabilities, TARGETS[1])
    loss.backward()
    assert loss.item() > 0.1 and probabilities.grad[0, 0, 1, 1] < 0


def test_gradient_norm_is_of_the_order_of_dices():
    axes = torch.meshgrid(*[torch.arange(48.0)] * 2, indexing="ij")
    target = (((axes[0] - 24) ** 2 + (axes[1] - 24) ** 2).sqrt() - 14).abs() < 3
    noise = torch.randn(48, 48, generator=torch.Generator().manual_seed(0))
    logits = (2 * target - 1 + 0.5 * noise)[None, None].requires_grad_()
    probabilities = torch.sigmoid(logits)
    dice = 1 - 2 * (probabilities * target).sum() / (probabilities.sum() + target.sum())
    norms = [torch.autograd.grad(loss, logits, retain_graph=True)[0].norm().item()
             for loss in (dice, TopoLoss()(probabilities, target[None, None]))]
    assert 0.1 < norms[1] / norms[0] < 10


@pytest.mark.parametrize("shape", [(20, 33), (9, 12, 10)], ids=str)
def test_tiles_cover_the_patch_once_each_at_its_own_place(shape):
    probabilities, target = batch(*shape)
    probabilities.requires_grad_()
    TopoLoss.reference(crop_2d=16, crop_3d=6, tiled=True)(probabilities, target).backward()
    side = 16 if len(shape) == 2 else 6
    expected, count = torch.zeros_like(probabilities), 0
    for start in np.ndindex(*[-(-size // side) for size in shape]):
        place = (slice(None), slice(None), *[slice(i * side, (i + 1) * side) for i in start])
        part = probabilities.detach()[place].clone().requires_grad_()
        TopoLoss.reference()(part, target[place]).backward()
        expected[place] = part.grad
        count += 1
    assert count > 3
    torch.testing.assert_close(probabilities.grad, expected / count)


@pytest.mark.parametrize("shape", [(40, 30), (24, 30, 12)], ids=str)
def test_crops_hold_foreground(shape):
    probabilities = torch.rand(2, 1, *shape, generator=torch.Generator().manual_seed(0))
    target = torch.zeros(2, 1, *shape, dtype=torch.bool)
    target[(0, 0, *[0] * len(shape))] = target[(1, 0, *[-1] * len(shape))] = True
    free = probabilities.clone().requires_grad_()
    TopoLoss(crop_2d=16, crop_3d=16)(free, target).backward()
    for sample, place in ((0, slice(0, 16)), (1, slice(-16, None))):  # around the only voxel of foreground
        inside = free.grad[(sample, 0, *[place] * len(shape))]
        assert inside.count_nonzero() == free.grad[sample].count_nonzero() > 0
    assert TopoLoss(crop_2d=0, crop_3d=0)(probabilities, target) == TopoLoss(crop_2d=64)(probabilities, target)


def test_works_in_the_background_between_start_and_end():
    probabilities, target = batch(12, 14)
    loss = TopoLoss(threads=2)
    ends = [loss.start(probabilities * scale, target) for scale in (1.0, 0.5)]
    assert [end().item() for end in ends] == [loss(probabilities * scale, target).item() for scale in (1.0, 0.5)]


@pytest.mark.parametrize(("call", "sentence"), [
    (lambda p, t: TopoLoss(smooth=0), "smooth must be greater than 0"),
    (lambda p, t: TopoLoss(threshold=-1), "threshold must be at least 0"),
    (lambda p, t: TopoLoss(crop_3d=-1), "crop_3d must be at least 0"),
    (lambda p, t: TopoLoss(threads=0), "threads must be at least 1"),
])
def test_options_that_cannot_be_get_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(*batch(12, 14))
