"""Terms of the compound loss that work on logits, and those that transform what nnU-Net's own loss sees."""

from __future__ import annotations

import math

import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import nn

from nnunet_topo.losses import SCNPLoss, SkeletonRecallLoss, TopologyLoss, scnp_logits
from nnunet_topo.nnunet import CompoundLoss, Term
from nnunet_topo.nnunet.training.heads import one_against_rest
from nnunet_topo.nnunet.training.terms import resolve_terms

DICE = {"batch_dice": True, "smooth": 1e-5, "ddp": False}


def nnunets_loss(*, has_regions: bool = False, ignore: bool = True) -> nn.Module:
    if has_regions:
        return DC_and_BCE_loss({}, {**DICE, "do_bg": True}, use_ignore_label=ignore,
                               dice_class=MemoryEfficientSoftDiceLoss)
    return DC_and_CE_loss({**DICE, "do_bg": False}, {}, ignore_label=3 if ignore else None,
                          dice_class=MemoryEfficientSoftDiceLoss)


def scnp(base, *, weight=1.0, levels=None, level_weights=(1.0,), has_regions=False, ignore_label=3, **schedule):
    term = Term(SCNPLoss, weight=weight, levels=levels, **schedule)
    return CompoundLoss(base, {"scnp": term}, level_weights=level_weights, has_regions=has_regions,
                        ignore_label=ignore_label)


def labels_with_ignored(*shape: int) -> torch.Tensor:
    return torch.randint(0, 4, (2, 1, *shape))


def one_hot(labels: torch.Tensor) -> torch.Tensor:
    return torch.cat([labels == label for label in range(3)], 1)


def seen(logits, labels):
    return scnp_logits(logits, one_hot(labels), labels != 3)


class Seen(TopologyLoss):
    takes_logits = True

    def __init__(self):
        super().__init__()
        self.given: list = []

    def forward(self, logits, target, valid=None):
        self.given.append(logits)
        return logits.square().mean()


@pytest.mark.parametrize("channels", [2, 3, 5])
def test_one_against_rest_is_the_logit_of_the_softmax(channels):
    logits = 3 * torch.randn(2, channels, 6, 7, dtype=torch.float64)
    p = logits.softmax(1)
    torch.testing.assert_close(one_against_rest(logits), (p / (1 - p)).log())
    others = [logits[:, [k for k in range(channels) if k != c]].logsumexp(1) for c in range(channels)]
    torch.testing.assert_close(one_against_rest(logits), logits - torch.stack(others, 1))


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_one_against_rest_is_exact_and_has_its_gradient_for_extreme_logits(channels):
    logits = torch.zeros(1, channels, 1, 3)
    logits[0, 1, 0] = torch.tensor([3e4, -3e4, 40.0])
    logits.requires_grad_()
    result = one_against_rest(logits)
    result[:, 1].sum().backward()
    shift = math.log(channels - 1)
    assert result[0, 1, 0].tolist() == pytest.approx([3e4 - shift, -3e4 - shift, 40 - shift], rel=1e-6)
    assert torch.equal(logits.grad[0, 1, 0], torch.ones(3))
    torch.testing.assert_close(logits.grad[0, 0, 0], torch.full((3,), -1 / (channels - 1)))
    logits.grad = None
    one_against_rest(logits).square().sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_one_against_rest_passes_gradcheck_where_the_largest_channel_changes():
    logits = torch.randn(1, 4, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(one_against_rest, logits)


@pytest.mark.parametrize("has_regions", [False, True])
def test_a_term_that_works_on_logits_is_handed_those_of_the_foreground_beside_one_of_probabilities(has_regions):
    logits = torch.randn(2, 3, 12, 14).bfloat16()
    target = torch.rand(2, 4, 12, 14) > 0.5 if has_regions else labels_with_ignored(12, 14)
    terms = {"seen": Term(Seen, weight=2.0), "skeleton_recall": Term(SkeletonRecallLoss, weight=0.5)}
    base = nnunets_loss(has_regions=has_regions)
    loss = CompoundLoss(base, terms, level_weights=[1.0], has_regions=has_regions, ignore_label=3)
    total = loss(logits, target)
    (given,) = loss.terms["seen"].given
    wide = logits.float()
    probabilities = wide.sigmoid() if has_regions else wide.softmax(1)[:, 1:]
    assert given.dtype == torch.float32 and given.shape == probabilities.shape
    torch.testing.assert_close(given.sigmoid(), probabilities)
    channels, valid = (target[:, :3], ~target[:, 3:]) if has_regions else (one_hot(target)[:, 1:], target != 3)
    expected = base(logits, target) + 2 * given.square().mean() \
        + 0.5 * SkeletonRecallLoss()(probabilities, channels, valid)
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("spatial", [(24, 24), (10, 12, 14)], ids=str)
def test_nnunets_loss_sees_the_transformed_logits_in_its_place(spatial):
    logits, labels = torch.randn(2, 3, *spatial), labels_with_ignored(*spatial)
    base = nnunets_loss()
    assert scnp(base)(logits, labels).item() == pytest.approx(base(seen(logits, labels), labels).item(), rel=1e-6)


def test_regions_are_transformed_each_by_itself_with_their_ignored_voxels():
    logits, target = torch.randn(2, 2, 16, 18), torch.rand(2, 3, 16, 18) > 0.5
    base = nnunets_loss(has_regions=True)
    expected = base(scnp_logits(logits, target[:, :2], ~target[:, 2:]), target)
    assert scnp(base, has_regions=True)(logits, target).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("has_regions", [False, True])
def test_ignored_voxels_have_exactly_zero_gradient(has_regions):
    target = torch.rand(2, 3, 16, 18) > 0.5 if has_regions else labels_with_ignored(16, 18)
    logits = torch.randn(2, 2 if has_regions else 3, 16, 18, requires_grad=True)
    scnp(nnunets_loss(has_regions=has_regions), weight=0.5, has_regions=has_regions)(logits, target).backward()
    hidden = (target[:, 2:] if has_regions else target == 3).expand_as(logits)
    assert (logits.grad[hidden] == 0).all() and (logits.grad[~hidden] != 0).any()


def levels_of_four():
    sizes = (16, 8, 4, 2)
    return [torch.randn(2, 3, size, size) for size in sizes], [labels_with_ignored(size, size) for size in sizes]


@pytest.mark.parametrize(("levels", "transformed"), [(None, 3), (1, 1), (2, 2)])
def test_the_outputs_that_it_asks_for_are_transformed_with_their_own_target(levels, transformed):
    base = DeepSupervisionWrapper(nnunets_loss(), [4 / 7, 2 / 7, 1 / 7, 0.0])
    outputs, targets = levels_of_four()
    expected = base([seen(o, t) if i < transformed else o
                     for i, (o, t) in enumerate(zip(outputs, targets, strict=True))], targets)
    loss = scnp(base, levels=levels, level_weights=base.weight_factors)
    assert loss(outputs, targets).item() == pytest.approx(expected.item(), rel=1e-6)


def test_more_levels_than_nnunet_weights_are_refused():
    with pytest.raises(ValueError, match="asks for 4 deep-supervision outputs"):
        scnp(nnunets_loss(), levels=4, level_weights=[4 / 7, 2 / 7, 1 / 7, 0.0])


def test_the_weight_moves_nnunets_loss_from_the_logits_to_the_transformed_ones():
    calls = []

    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.loss = nnunets_loss()

        def forward(self, output, target):
            calls.append(output)
            return self.loss(output, target)

    logits, labels = torch.randn(2, 3, 16, 18), labels_with_ignored(16, 18)
    plain, transformed = (nnunets_loss()(z, labels).item() for z in (logits, seen(logits, labels)))
    loss = scnp(Counting(), start_epoch=1, ramp_epochs=3)
    for epoch, weight, parts, evaluations in ((0, 0.0, (plain, None), 1), (1, 0.25, (plain, transformed), 2),
                                              (3, 0.75, (plain, transformed), 2), (4, 1.0, (None, transformed), 1)):
        loss.epoch = epoch
        calls.clear()
        total = loss(logits, labels).item()
        assert total == pytest.approx((1 - weight) * plain + weight * transformed, rel=1e-5)
        assert len(calls) == evaluations
        means = loss.take_means()
        assert list(means) == ["base", "scnp"]
        for mean, part in zip(means.values(), parts, strict=True):
            assert mean != mean if part is None else mean == pytest.approx(part, rel=1e-5)


def test_terms_beside_a_transform_see_the_logits_as_they_are():
    logits, labels = torch.randn(2, 3, 16, 18), labels_with_ignored(16, 18)
    terms = {"scnp": Term(SCNPLoss, levels=None), "skeleton_recall": Term(SkeletonRecallLoss, weight=0.5)}
    loss = CompoundLoss(nnunets_loss(), terms, level_weights=[1.0], has_regions=False, ignore_label=3)
    recall = SkeletonRecallLoss()(logits.softmax(1)[:, 1:], one_hot(labels)[:, 1:], labels != 3)
    expected = nnunets_loss()(seen(logits, labels), labels) + 0.5 * recall
    assert loss(logits, labels).item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_share_above_one_and_two_transforms_are_refused_with_a_sentence():
    declared = {"scnp": Term(SCNPLoss)}
    assert resolve_terms(declared, {"nnunet_topo": {"scnp": {"levels": None}}}, "2d")["scnp"].levels is None
    with pytest.raises(ValueError, match=r"must be at most 1, got 1\.5"):
        resolve_terms(declared, {"nnunet_topo": {"scnp": {"weight": 1.5}}}, "2d")
    with pytest.raises(ValueError, match=r"must be at most 1, got 2\.0"):
        scnp(nnunets_loss(), weight=2.0)
    with pytest.raises(ValueError, match="'again', 'scnp' each transform the logits"):
        resolve_terms({**declared, "again": Term(SCNPLoss)}, {}, "2d")
