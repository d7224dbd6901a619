"""The compound loss against sums written out by hand, with a term that shows what it was given."""

from __future__ import annotations

import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import nn

from nnunet_topo.losses import ClDiceLoss, TopologyLoss
from nnunet_topo.nnunet import CompoundLoss, Term


class AbsoluteDifference(TopologyLoss):
    """Mean absolute difference over the valid voxels; keeps its arguments."""

    def __init__(self, *, scale: float = 1.0):
        super().__init__()
        self.scale = scale
        self.calls: list = []

    def forward(self, probabilities, target, valid=None):
        self.calls.append((probabilities.detach(), target, valid))
        difference = (probabilities - target.float()).abs()
        return self.scale * (difference if valid is None else difference * valid).mean()


class Base(nn.Module):
    def forward(self, output, target):
        first = output if isinstance(output, torch.Tensor) else output[0]
        return first.float().square().mean()


def compound(term=None, *, base=None, levels=(1.0,), has_regions=False, ignore_label=None) -> CompoundLoss:
    return CompoundLoss(base or Base(), {"error": term or Term(AbsoluteDifference)}, level_weights=levels,
                        has_regions=has_regions, ignore_label=ignore_label)


def test_adds_the_weighted_term_to_the_base_loss():
    logits, target = torch.randn(2, 3, 8, 8), torch.randint(0, 3, (2, 1, 8, 8))
    loss = compound(Term(AbsoluteDifference, weight=0.25, options={"scale": 2.0}))
    one_hot = torch.stack([target[:, 0] == 1, target[:, 0] == 2], 1).float()
    expected = logits.square().mean() + 0.25 * 2 * (logits.softmax(1)[:, 1:] - one_hot).abs().mean()
    assert loss(logits, target).item() == pytest.approx(expected.item(), rel=1e-6)


def test_regions_are_sigmoid_channels_and_the_last_target_channel_is_the_ignore_label():
    logits, target = torch.randn(2, 2, 8, 8), torch.rand(2, 3, 8, 8) > 0.5
    loss = compound(has_regions=True, ignore_label=3)
    loss(logits, target)
    probabilities, channels, valid = loss.terms["error"].calls[0]
    assert torch.equal(probabilities, logits.sigmoid())
    assert torch.equal(channels, target[:, :2])
    assert torch.equal(valid, ~target[:, 2:])


def test_ignore_label_becomes_the_mask_of_valid_voxels():
    target = torch.tensor([[[[0, 1], [2, 3]]]])
    loss = compound(ignore_label=3)
    loss(torch.randn(1, 3, 2, 2), target)
    _, channels, valid = loss.terms["error"].calls[0]
    assert valid.tolist() == [[[[True, True], [True, False]]]]
    assert channels.tolist() == [[[[False, True], [False, False]], [[False, False], [True, False]]]]


@pytest.mark.parametrize("spatial", [(24, 24), (10, 12, 14)])
@pytest.mark.parametrize("has_regions", [False, True])
def test_ignored_voxels_have_exactly_zero_gradient_with_nnunets_own_loss_beside(has_regions, spatial):
    torch.manual_seed(0)
    dice = {"batch_dice": True, "smooth": 1e-5, "ddp": False}
    if has_regions:
        base = DC_and_BCE_loss({}, {**dice, "do_bg": True}, use_ignore_label=True,
                               dice_class=MemoryEfficientSoftDiceLoss)
        target = torch.rand(2, 3, *spatial) > 0.5
        ignored = target[:, 2:]
    else:
        base = DC_and_CE_loss({**dice, "do_bg": False}, {}, ignore_label=3, dice_class=MemoryEfficientSoftDiceLoss)
        target = torch.randint(0, 4, (2, 1, *spatial))
        ignored = target == 3
    channels = 2 if has_regions else 3
    logits = torch.randn(2, channels, *spatial, requires_grad=True)
    loss = compound(Term(ClDiceLoss, weight=3.0, options={"iterations": 4}), base=base, has_regions=has_regions,
                    ignore_label=3)
    loss(logits, target).backward()
    hidden = ignored.expand_as(logits)
    assert (logits.grad[hidden] == 0).all()
    assert (logits.grad[~hidden] != 0).any()
    without = torch.autograd.grad(base(logits, target), logits)[0]
    assert not torch.allclose(without, logits.grad)  # the term takes part


def test_deep_supervision_weights_of_the_asked_levels_sum_to_one():
    weights = [4 / 7, 2 / 7, 1 / 7, 0.0]
    outputs = [torch.randn(2, 2, size, size) for size in (16, 8, 4, 2)]
    targets = [torch.randint(0, 2, (2, 1, size, size)) for size in (16, 8, 4, 2)]
    values = [(o.softmax(1)[:, 1:] - t).abs().mean().item() for o, t in zip(outputs, targets, strict=True)]
    base = outputs[0].square().mean().item()
    for levels, expected in ((1, values[0]), (2, (2 * values[0] + values[1]) / 3),
                             (3, (4 * values[0] + 2 * values[1] + values[2]) / 7)):
        loss = compound(Term(AbsoluteDifference, levels=levels), levels=weights)
        assert loss(outputs, targets).item() == pytest.approx(base + expected, rel=1e-5)
    with pytest.raises(ValueError, match="asks for 4 deep-supervision outputs"):
        compound(Term(AbsoluteDifference, levels=4), levels=weights)


def test_nnunets_deep_supervision_wrapper_is_left_as_it_is():
    wrapper = DeepSupervisionWrapper(Base(), [2 / 3, 1 / 3, 0.0])
    outputs = [torch.randn(1, 2, size, size) for size in (8, 4, 2)]
    targets = [torch.randint(0, 2, (1, 1, size, size)) for size in (8, 4, 2)]
    loss = compound(base=wrapper, levels=wrapper.weight_factors)
    loss(outputs, targets)
    assert loss.take_means()["base"] == pytest.approx(wrapper(outputs, targets).item())
    with pytest.raises(ValueError, match="zip"):
        loss(outputs, targets[:2])


def test_weight_follows_start_epoch_and_ramp():
    term = Term(AbsoluteDifference, weight=2.0, start_epoch=3, ramp_epochs=3)
    assert [term.weight_at(epoch) for epoch in range(8)] == [0, 0, 0, 0.5, 1.0, 1.5, 2.0, 2.0]
    loss = compound(term)
    logits, target = torch.randn(1, 2, 4, 4), torch.randint(0, 2, (1, 1, 4, 4))
    assert loss(logits, target).item() == pytest.approx(logits.square().mean().item())
    assert not loss.terms["error"].calls  # nothing is computed before the term starts
    loss.epoch = 4
    assert loss(logits, target).item() > logits.square().mean().item()


def test_means_of_the_parts_are_unweighted_and_start_anew():
    loss = compound(Term(AbsoluteDifference, weight=0.1))
    batches = [(torch.randn(1, 2, 4, 4), torch.randint(0, 2, (1, 1, 4, 4))) for _ in range(3)]
    for logits, target in batches:
        loss(logits, target)
    expected = sum((o.softmax(1)[:, 1:] - t).abs().mean().item() for o, t in batches) / 3
    assert loss.take_means()["error"] == pytest.approx(expected, rel=1e-5)
    assert all(value != value for value in loss.take_means().values())  # NaN: no batch since


def test_terms_get_float32_outside_of_autocast():
    logits, target = torch.randn(1, 2, 8, 8, dtype=torch.bfloat16), torch.randint(0, 2, (1, 1, 8, 8))
    seen = []

    class Probe(AbsoluteDifference):
        def forward(self, probabilities, target, valid=None):
            seen.append((probabilities.dtype, torch.is_autocast_enabled("cpu")))
            return super().forward(probabilities, target, valid)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        compound(Term(Probe))(logits, target)
    assert seen == [(torch.float32, False)]


def test_a_term_that_works_in_the_background_begins_before_nnunets_loss():
    order = []

    class Starts(AbsoluteDifference):
        def start(self, *arguments):
            order.append("begins")
            return lambda: order.append("ends") or self(*arguments)

    class Tells(Base):
        def forward(self, output, target):
            order.append("nnU-Net's")
            return super().forward(output, target)

    logits, target = torch.randn(1, 2, 8, 8), torch.randint(0, 2, (1, 1, 8, 8))
    total = compound(Term(Starts), base=Tells())(logits, target)
    assert order == ["begins", "nnU-Net's", "ends"] and torch.equal(total, compound()(logits, target))


def test_logits_that_are_not_finite_are_named():
    logits = torch.randn(1, 2, 4, 4)
    logits[0, 0, 0, 0] = float("nan")
    with pytest.raises(FloatingPointError, match="network's output contains values that are not finite"):
        compound()(logits, torch.zeros(1, 1, 4, 4, dtype=torch.long))
