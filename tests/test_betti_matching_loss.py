"""The Betti matching loss against the authors' results and small cases; test_loss_contract.py has what all promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nnunet_topo.losses import BettiMatchingLoss

GOLDEN = sorted((Path(__file__).parent / "golden" / "betti").glob("*.npz"))


def single(*rows: str) -> torch.Tensor:
    """(1, 1, *S) from rows of digits, tenths."""
    return torch.tensor([[int(digit) / 10 for digit in row] for row in rows])[None, None]


ONE = single("000", "090", "000").ceil()
EMPTY = torch.zeros_like(ONE)


def batch(*shape: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.rand(2, 2, *shape, generator=generator)
    return probabilities, torch.rand(2, 2, *shape, generator=generator) > 0.6


def test_golden_files_are_there():
    assert len(GOLDEN) == 12


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_reference_equals_the_authors_in_value_and_gradient(path):
    golden = np.load(path)
    probabilities = torch.from_numpy(golden["pred"])[None, None].requires_grad_()
    loss = BettiMatchingLoss.reference()(probabilities, torch.from_numpy(golden["label"])[None, None].bool())
    loss.backward()
    np.testing.assert_allclose(loss.item(), golden["loss"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(probabilities.grad[0, 0], golden["grad_wrt_pred"], rtol=1e-6, atol=1e-6)


def test_reference_is_the_mean_over_samples_and_classes():
    probabilities, target = batch(12, 14)
    loss = BettiMatchingLoss.reference()
    singles = [loss(probabilities[b : b + 1, c : c + 1], target[b : b + 1, c : c + 1]).item()
               for b in range(2) for c in range(2)]
    assert loss(probabilities, target).item() == pytest.approx(sum(singles) / 4, rel=1e-6)


# two components, 0.8 and 0.5, over a saddle of 0.2; the target has one, under the first
TWO = single("00000", "08250", "00000")
LEFT = single("00000", "09000", "00000").ceil()


@pytest.mark.parametrize(("options", "cost"), [
    ({}, (0.5 - 0.2) ** 2),
    ({"essential": True}, (0.5 - 0.2) ** 2 + 2 * (0.8 - 1) ** 2),
    ({"unmatched_weight": 3.0}, 3 * (0.5 - 0.2) ** 2),
    ({"threshold": 0.31}, 0.0),
    ({"push_unmatched": True}, 2 * (0.5**2 + (1 - 0.2) ** 2)),
    ({"essential": True, "matched_weight": 0.5}, (0.5 - 0.2) ** 2 + (0.8 - 1) ** 2),
    # the frame, as high as the highest voxel, is a component and a hole more, matched with those of the target's frame
    ({"frame": True}, (0.5 - 0.2) ** 2 + 2 * (0.8 - 1) ** 2 + 2 * (0.8 - 1) ** 2),
])
def test_counts_by_hand(options, cost):
    assert BettiMatchingLoss.reference(**options)(TWO, LEFT).item() == pytest.approx(cost, abs=1e-6)


def test_normalised_form_divides_by_the_features_lengths_and_the_foreground():
    squares = (0.5 - 0.2) ** 2 + 0.8**2 + 1**2
    foreground = 0.8 + 0.2 + 0.5 + 1
    expected = ((0.5 - 0.2) ** 2 + 2 * (0.8 - 1) ** 2) / (1 + squares) / (1 + foreground) ** 0.5
    assert BettiMatchingLoss()(TWO, LEFT).item() == pytest.approx(expected, rel=1e-5)


def test_sublevel_looks_at_the_background_and_both_adds():
    loss = {name: BettiMatchingLoss.reference(filtration=name) for name in ("superlevel", "sublevel", "both")}
    probabilities, target = batch(9, 11)
    upside_down = loss["superlevel"](1 - probabilities, ~target).item()
    assert loss["sublevel"](probabilities, target).item() == pytest.approx(upside_down, rel=1e-6)
    total = loss["superlevel"](probabilities, target).item() + upside_down
    assert loss["both"](probabilities, target).item() == pytest.approx(total, rel=1e-6)


def test_an_empty_prediction_of_one_component_costs_and_learns():
    probabilities = (EMPTY + 0.01 * ONE).requires_grad_()
    assert BettiMatchingLoss.reference()(probabilities, ONE.bool()).item() < 1e-3  # as in the authors' C++ code
    loss = BettiMatchingLoss()(probabilities, ONE.bool())
    loss.backward()
    assert loss.item() > 0.1
    assert probabilities.grad[0, 0, 1, 1] < 0


@pytest.mark.parametrize("shape", [(12, 14), (6, 7, 8)], ids=str)
@pytest.mark.parametrize("form", [BettiMatchingLoss, BettiMatchingLoss.reference])
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


def test_gradient_norm_is_of_the_order_of_dices():
    axes = torch.meshgrid(*[torch.arange(48.0)] * 2, indexing="ij")
    target = (((axes[0] - 24) ** 2 + (axes[1] - 24) ** 2).sqrt() - 14).abs() < 3
    noise = torch.randn(48, 48, generator=torch.Generator().manual_seed(0))
    logits = (2 * target - 1 + 0.5 * noise)[None, None].requires_grad_()
    probabilities = torch.sigmoid(logits)
    dice = 1 - 2 * (probabilities * target).sum() / (probabilities.sum() + target.sum())
    norms = [torch.autograd.grad(loss, logits, retain_graph=True)[0].norm().item()
             for loss in (dice, BettiMatchingLoss()(probabilities, target[None, None]))]
    assert 0.1 < norms[1] / norms[0] < 10


@pytest.mark.parametrize("shape", [(40, 30), (24, 30, 12)], ids=str)
def test_crops_are_of_the_size_asked_for_and_hold_foreground(shape):
    probabilities = torch.rand(3, 1, *shape, generator=torch.Generator().manual_seed(0))
    target = torch.zeros(3, 1, *shape, dtype=torch.bool)
    target[(0, 0, *[0] * len(shape))] = target[(1, 0, *[-1] * len(shape))] = True
    loss = BettiMatchingLoss(crop_2d=16, crop_3d=16)
    for seed in range(5):
        torch.manual_seed(seed)
        free = probabilities.clone().requires_grad_()
        loss(free, target).backward()
        for sample, place in ((0, slice(0, 16)), (1, slice(-16, None))):  # around the only voxel of foreground
            inside = free.grad[(sample, 0, *[place] * len(shape))]
            assert inside.count_nonzero() == free.grad[sample].count_nonzero() > 0
        assert free.grad[2].count_nonzero() > 0
    whole = BettiMatchingLoss(crop_2d=0, crop_3d=0)
    larger = BettiMatchingLoss(crop_2d=64, crop_3d=64)
    assert whole(probabilities, target).item() == larger(probabilities, target).item()


def test_works_in_the_background_between_start_and_end():
    probabilities, target = batch(12, 14)
    loss = BettiMatchingLoss(threads=2)
    ends = [loss.start(probabilities * scale, target) for scale in (1.0, 0.5)]
    assert [end().item() for end in ends] == [loss(probabilities * scale, target).item() for scale in (1.0, 0.5)]


def test_soft_targets_are_matched_too():
    probabilities, target = batch(12, 14)
    soft = torch.where(target, 0.9, 0.1) + 0.05 * probabilities
    assert BettiMatchingLoss.reference()(soft, soft).item() == 0
    assert BettiMatchingLoss.reference()(probabilities, soft).item() > 0


@pytest.mark.parametrize(("call", "sentence"), [
    (lambda p, t: BettiMatchingLoss(smooth=0), "smooth must be greater than 0"),
    (lambda p, t: BettiMatchingLoss(filtration="union"), "filtration must be 'superlevel', 'sublevel' or 'both'"),
    (lambda p, t: BettiMatchingLoss(crop_3d=-1), "crop_3d must be at least 0"),
    (lambda p, t: BettiMatchingLoss(threads=0), "threads must be at least 1"),
])
def test_options_that_cannot_be_get_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(*batch(12, 14))
