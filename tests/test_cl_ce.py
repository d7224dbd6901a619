"""Centreline cross-entropy against the authors' result, its formula on skeletons, and what its options say."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from nnunet_topo.losses import ClCELoss, cl_ce_loss
from nnunet_topo.skeletons import soft_skeleton, soft_skeleton_of_mask, thin, tubed_skeleton

GOLDEN = Path(__file__).parent / "golden"
SPACES = [(16, 20), (15, 16, 18), (3, 20, 16)]
FORMS = {"soft": {"iterations": 3}, "topological": {"skeleton": "topological", "beta": 0.0}}


def tubes(*spatial: int) -> torch.Tensor:
    """(2, 2, *S): in each sample a straight tube of either class, of different places."""
    target = torch.zeros(2, 2, *spatial, dtype=torch.bool)
    for sample, channel in itertools.product(range(2), range(2)):
        start = 2 + 6 * channel + sample
        across = [slice(start, start + 3) if size > 5 else slice(None) for size in spatial[:-1]]
        target[(sample, channel, *across)] = True
    return target


def case(*spatial: int):
    generator = torch.Generator().manual_seed(0)
    target = tubes(*spatial)
    return 2 * torch.randn(target.shape, generator=generator) + 3 * target, target


def test_reference_equals_the_authors_code_in_value_and_gradient():
    data = np.load(GOLDEN / "clce_0_2d_b2_c2.npz")
    logits = torch.from_numpy(data["logits"]).requires_grad_()
    target = torch.from_numpy(data["target"]) == 1
    loss = ClCELoss.reference()(logits[:, 1:] - logits[:, :1], target)
    loss.backward()
    np.testing.assert_allclose(loss.item(), data["loss_clce"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(logits.grad.numpy(), data["grad_logits_clce"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("spatial", SPACES, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_is_the_mean_cross_entropy_along_both_skeletons_of_each_class(form, spatial):
    logits, target = case(*spatial)
    p = logits.sigmoid()
    cross_entropy = -torch.where(target, p, 1 - p).log()
    if form == "soft":
        of_prediction, of_target = soft_skeleton(p, 3), soft_skeleton_of_mask(target, 3)[0]
    else:
        of_prediction, of_target = thin(p > 0.5, border="anchored"), thin(target, border="anchored")
    expected = [((s[b, c] * cross_entropy[b, c]).sum() / (s[b, c].sum() + 1)).item()
                for s in (of_prediction, of_target) for b in range(2) for c in range(2)]
    assert ClCELoss(**FORMS[form])(logits, target).item() == pytest.approx(sum(expected) / 4, rel=1e-4)
    over_all = ((of_prediction * cross_entropy).mean() + (of_target * cross_entropy).mean()).item()
    assert ClCELoss(**FORMS[form], normalised=False)(logits, target).item() == pytest.approx(over_all, rel=1e-4)


def test_value_written_out_by_hand():
    """A row of 9 pixels is its own skeleton; three of it are predicted with p = 1/4, and 2 other pixels with 1."""
    target = torch.zeros(1, 1, 9, 9, dtype=torch.bool)
    target[..., 4, :] = True
    logits = torch.where(target, 30.0, -30.0)
    logits[..., 4, 3:6] = -math.log(3)
    logits[..., 0, 0] = logits[..., 8, 8] = 30
    missed, invented = 3 * math.log(4), 2 * 30
    expected = missed / (9 + 1) + (missed / 4 + invented) / (6 + 3 / 4 + 2 + 1)
    assert ClCELoss(iterations=0)(logits, target).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_logarithms_are_exact_where_probabilities_are_rounded(form):
    target = tubes(16, 20)
    certain = torch.where(target, 200.0, -200.0)
    assert ClCELoss(**FORMS[form])(certain, target).item() == pytest.approx(0, abs=1e-30)
    wrong = (-certain).requires_grad_()
    loss = ClCELoss(**FORMS[form])(wrong, target)
    loss.backward()
    skeleton = (soft_skeleton_of_mask(target, 3)[0] if form == "soft" else thin(target, border="anchored"))
    assert loss.item() >= 200 * 0.8  # the centrelines are all missed
    assert (wrong.grad[skeleton] < 0).all() and torch.isfinite(wrong.grad).all()


@pytest.mark.parametrize("form", FORMS)
def test_without_the_gradient_through_the_skeleton_no_voxel_is_drawn_away_from_its_target(form):
    logits, target = case(16, 20)
    logits.requires_grad_()
    ClCELoss(**FORMS[form])(logits, target).backward()
    assert (logits.grad[target] <= 0).all() and (logits.grad[~target] >= 0).all()
    straight = logits.grad.clone()
    logits.grad = None
    ClCELoss(**FORMS[form], through_skeleton=True)(logits, target).backward()
    assert not torch.allclose(logits.grad, straight)
    if form == "soft":
        assert (logits.grad[target] > 0).any()  # as the docstring warns


@pytest.mark.parametrize("form", FORMS)
def test_absent_classes_are_left_out_unless_asked_for(form):
    logits, target = case(16, 20)
    alone = ClCELoss(**FORMS[form])(logits[:, :1], target[:, :1]).item()
    target[:, 1] = False
    assert ClCELoss(**FORMS[form])(logits, target).item() == pytest.approx(alone, rel=1e-6)
    with_false_ones = ClCELoss(**FORMS[form], skip_absent=False)
    assert with_false_ones(logits, target).item() > with_false_ones(logits - 50 * ~target, target).item()
    assert ClCELoss(**FORMS[form])(logits, torch.zeros_like(target)).item() == 0


@pytest.mark.parametrize("spatial", SPACES, ids=str)
@pytest.mark.parametrize("options", [{"normalised": False}, {"through_skeleton": True}], ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_ignored_voxels_have_no_value_and_exactly_zero_gradient(form, options, spatial):
    generator = torch.Generator().manual_seed(0)
    logits, target = case(*spatial)
    logits.requires_grad_()
    valid = torch.rand(2, 1, *spatial, generator=generator) > 0.3
    loss = ClCELoss(**FORMS[form], **options)
    value = loss(logits, target, valid)
    value.backward()
    hidden = (~valid).expand_as(target)
    assert (logits.grad[hidden] == 0).all() and (logits.grad[~hidden] != 0).any()
    other = torch.where(hidden, torch.randn(target.shape, generator=generator), logits.detach())
    assert loss(other, torch.where(hidden, ~target, target), valid).item() == value.item()


def test_the_loaders_skeletons_are_used_where_they_are_at_hand():
    logits, target = case(16, 20)
    loss = ClCELoss(**FORMS["topological"])
    assert loss.prepares and not ClCELoss(iterations=3).prepares
    prepared = loss.prepare(target)
    assert torch.equal(prepared, tubed_skeleton(target, 0))
    assert loss(logits, target, None, prepared).item() == loss(logits, target).item()
    assert loss(logits, target, None, torch.zeros_like(target)).item() < loss(logits, target).item()


@pytest.mark.parametrize("normalised", [True, False])
def test_skeletons_may_be_masks(normalised):
    logits, target = case(16, 20)
    skeletons = thin(logits > 0), thin(target)
    as_numbers = cl_ce_loss(logits, target, *(skeleton.float() for skeleton in skeletons), normalised=normalised)
    assert cl_ce_loss(logits, target, *skeletons, normalised=normalised).item() == pytest.approx(as_numbers.item())


def test_soft_targets_and_all_ignored_patches_are_finite():
    logits, target = case(16, 20)
    smoothed = ClCELoss(iterations=3)(logits, target.float() * (1 - 1e-4) + 5e-5).item()
    assert smoothed == pytest.approx(ClCELoss(iterations=3)(logits, target).item(), rel=1e-2)
    nothing = torch.zeros(2, 1, 16, 20, dtype=torch.bool)
    for options in ({}, {"normalised": False, "skip_absent": False}):
        assert ClCELoss(iterations=3, **options)(logits, target, nothing).item() == 0


@pytest.mark.parametrize(("call", "sentence"), [
    (lambda z, t: ClCELoss()(z, t), "ClCELoss needs the number of skeleton iterations"),
    (lambda z, t: ClCELoss(iterations=-1), "iterations must be at least 0"),
    (lambda z, t: ClCELoss(smooth=0), "smooth must be greater than 0"),
    (lambda z, t: ClCELoss(skeleton="thin"), "skeleton must be 'soft' or 'topological', got 'thin'"),
])
def test_options_that_cannot_be_get_a_sentence(call, sentence):
    logits, target = case(16, 20)
    with pytest.raises(ValueError, match=sentence):
        call(logits, target)
