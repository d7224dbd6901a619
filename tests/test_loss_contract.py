"""What every loss of the package promises, one test a promise; a new loss adds its row to the table, nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import nn
from torch.nn import functional as F

from nnunet_topo.losses import (
    BettiMatchingLoss,
    CbDiceLoss,
    ClCELoss,
    ClDiceLoss,
    MIPLoss,
    SCNPLoss,
    SkeletonRecallLoss,
    TopoLoss,
    WarpingLoss,
)
from nnunet_topo.nnunet import CompoundLoss, Term


@dataclass(frozen=True)
class Row:
    """A loss and what is particular about it; every field but the first two says where it may differ, and why.

    Whether it takes logits, or transforms them, it says itself (``takes_logits``, ``transforms_logits``).
    """

    name: str
    loss: type[nn.Module]
    options: Mapping[str, Any] = field(default_factory=dict)
    axes: tuple[int, ...] = (2, 3)
    free: Mapping[str, str] = field(default_factory=dict)  # broken predictions that cost nothing, with the reason
    batch_is_mean: bool = True
    asymmetric: str = ""  # why permuting the axes may change more than the order of the gradient
    gradcheck: Mapping[str, Any] | str = field(default_factory=dict)  # further options, or why there is no derivative

    def build(self, **options: Any) -> nn.Module:
        """The loss as a function of foreground logits."""
        return OfLogits(self.loss(**{**self.options, **options}))


SOFT = 8  # as many iterations as the filled loop needs; fewer would not see it
BLIND_WHERE_FULL = {"full": "an image without background has no soft skeleton, so that nothing is compared"}
THINNING = "thinning visits the voxels of a surface in the order of the axes"
ROWS = [
    Row("clDice", ClDiceLoss, {"iterations": SOFT}, free=BLIND_WHERE_FULL),
    Row("clDice, topological", ClDiceLoss, {"skeleton": "topological", "beta": 0.0}, asymmetric=THINNING,
        gradcheck="the skeleton is piecewise constant and its gradient straight-through"),
    Row("Skeleton Recall", SkeletonRecallLoss, asymmetric=THINNING,
        free={name: "recall does not count what is drawn too much" for name in ("merged", "filled", "full")}),
    Row("Betti matching", BettiMatchingLoss, gradcheck={"normalised": False}),  # the norm is not differentiated
    Row("SCNP", SCNPLoss),
    Row("clCE", ClCELoss, {"iterations": SOFT}, free=BLIND_WHERE_FULL, gradcheck={"through_skeleton": True}),
    Row("clCE, topological", ClCELoss, {"skeleton": "topological", "beta": 0.0}, asymmetric=THINNING,
        gradcheck="the skeleton of the prediction is piecewise constant"),
    Row("MIP", MIPLoss, axes=(3,)),
    Row("MIP, slabs and the mean of the highest", MIPLoss, {"slab": 4, "top_k": 3}, axes=(3,)),
    Row("cbDice", CbDiceLoss, asymmetric=THINNING, gradcheck="its weights are piecewise constant"),
    Row("TopoLoss", TopoLoss, gradcheck={"normalised": False}),
    Row("Warping", WarpingLoss, asymmetric="of equally near voxels it takes the first in the order of the axes"),
]


class OfLogits(nn.Module):
    """Any loss as a function of foreground logits; a transform of these as cross-entropy and Dice of the outcome."""

    def __init__(self, loss: Any) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, logits, target, valid=None):
        if getattr(self.loss, "transforms_logits", False):
            return ce_and_dice(self.loss(logits, target, valid), target, valid)
        if getattr(self.loss, "takes_logits", False):
            return self.loss(logits, target, valid)
        return self.loss(logits.sigmoid(), target, valid)


def ce_and_dice(logits, target, valid):
    target = target.to(logits.dtype)
    weight = torch.ones_like(target) if valid is None else valid.expand_as(target).to(logits.dtype)
    space = tuple(range(2, logits.ndim))
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, weight, reduction="none").mean()
    p = logits.sigmoid() * weight
    dice = (2 * (p * target).sum(space) + 1e-5) / (p.sum(space) + (target * weight).sum(space) + 1e-5)
    return cross_entropy + 1 - dice.mean()


def every(rows: list[Row]):
    """Each row in each of its dimensions."""
    cases = [pytest.param(row, axes, id=f"{row.name}, {axes}D") for row in rows for axes in row.axes]
    return pytest.mark.parametrize(("row", "axes"), cases)


def flat(axes: int, *box: slice) -> tuple[slice, ...]:
    """A box of a plane; in 3D three slices thick."""
    return (slice(4, 7), *box) if axes == 3 else box


def scene(axes: int) -> torch.Tensor:
    """(1, 2, *S): a loop, and two parallel vessels, three voxels thick."""
    target = torch.zeros(1, 2, *((11, 20, 44) if axes == 3 else (20, 44)), dtype=torch.bool)
    target[(0, 0, *flat(axes, slice(2, 17), slice(3, 18)))] = True
    target[(0, 0, *flat(axes, slice(5, 14), slice(6, 15)))] = False
    for row in (3, 12):
        target[(0, 1, *flat(axes, slice(row, row + 3), slice(22, 42)))] = True
    return target


def broken(axes: int) -> dict[str, torch.Tensor]:
    target = scene(axes)
    cut, merged, filled = target.clone(), target.clone(), target.clone()
    cut[(0, 1, *flat(axes, slice(3, 6), slice(30, 34)))] = False
    merged[(0, 1, *flat(axes, slice(3, 15), slice(30, 33)))] = True
    filled[(0, 0, *flat(axes, slice(2, 17), slice(3, 18)))] = True
    return {"cut": cut, "merged": merged, "filled": filled, "shifted": target.roll(4, -2),
            "empty": torch.zeros_like(target), "full": torch.ones_like(target)}


def certain(mask: torch.Tensor) -> torch.Tensor:
    return torch.where(mask, 60.0, -60.0)


def uncertain(target: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return 1.5 * torch.randn(target.shape, generator=torch.Generator().manual_seed(seed)) + 2.0 * target - 1


def batch(axes: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, targets and valid voxels of two different samples."""
    target = torch.cat([scene(axes), scene(axes).flip(-1).roll(2, -2)])
    valid = torch.rand(2, 1, *target.shape[2:], generator=torch.Generator().manual_seed(1)) > 0.2
    return uncertain(target), target, valid


def gradient(loss: nn.Module, logits: torch.Tensor, *arguments: Any) -> tuple[torch.Tensor, torch.Tensor]:
    logits = logits.clone().requires_grad_()
    value = loss(logits, *arguments)
    value.backward()
    return value.detach(), logits.grad


@every(ROWS)
def test_a_perfect_prediction_costs_nothing_and_less_than_any_broken_one(row, axes):
    loss, target = row.build(), scene(axes)
    assert loss(certain(target), target).item() == pytest.approx(0, abs=1e-5)
    costs = {name: loss(certain(mask), target).item() for name, mask in broken(axes).items()}
    assert set(row.free) <= set(costs)
    assert {name for name, cost in costs.items() if cost <= 1e-3} == set(row.free), costs


@every(ROWS)
def test_a_prediction_that_is_uncertain_costs_something(row, axes):
    target = scene(axes)
    value, slope = gradient(row.build(), uncertain(target), target)
    assert value.item() > 1e-3 and torch.isfinite(slope).all() and (slope != 0).any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("has_regions", [False, True], ids=["classes", "regions"])
@every(ROWS)
def test_extreme_logits_under_autocast_have_a_finite_value_and_gradient(row, axes, has_regions, dtype):
    _, target, valid = batch(axes)
    if has_regions:
        labels = torch.cat([target, ~valid], 1)
    else:
        labels = torch.where(valid, target[:, :1] + 2 * target[:, 1:], 3)
    channels = 2 if has_regions else 3
    logits = 2e4 * torch.randn(2, channels, *target.shape[2:], generator=torch.Generator().manual_seed(2))
    logits = logits.clamp(-6e4, 6e4).to(dtype).requires_grad_()
    base = nnunets_loss(has_regions) if getattr(row.loss, "transforms_logits", False) else Nothing()
    compound = CompoundLoss(base, {"term": Term(row.loss, options=row.options)}, level_weights=[1.0],
                            has_regions=has_regions, ignore_label=3)
    with torch.autocast("cpu", dtype=dtype):
        value = compound(logits, labels)
    value.backward()
    assert value.dtype == torch.float32 and torch.isfinite(value) and compound.take_means()["term"] > 0
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[(~valid).expand_as(logits)] == 0).all()


class Nothing(nn.Module):
    def forward(self, output, target):
        return output.float().sum() * 0


def nnunets_loss(has_regions: bool) -> nn.Module:
    dice = {"batch_dice": True, "smooth": 1e-5, "ddp": False}
    if has_regions:
        return DC_and_BCE_loss({}, {**dice, "do_bg": True}, use_ignore_label=True,
                               dice_class=MemoryEfficientSoftDiceLoss)
    return DC_and_CE_loss({**dice, "do_bg": False}, {}, ignore_label=3, dice_class=MemoryEfficientSoftDiceLoss)


@every(ROWS)
def test_ignored_voxels_have_no_say_and_exactly_zero_gradient(row, axes):
    loss, (logits, target, valid) = row.build(), batch(axes)
    value, slope = gradient(loss, logits, target, valid)
    hidden = (~valid).expand_as(target)
    assert (slope[hidden] == 0).all() and (slope[~hidden] != 0).any()
    other = torch.where(hidden, uncertain(target, seed=3), logits)
    assert loss(other, torch.where(hidden, ~target, target), valid).item() == pytest.approx(value.item(), rel=1e-6)


@every(ROWS)
def test_a_patch_that_is_ignored_as_a_whole_is_finite_without_gradient(row, axes):
    logits, target, valid = batch(axes)
    value, slope = gradient(row.build(), logits, target, torch.zeros_like(valid))
    assert torch.isfinite(value) and (slope == 0).all()


@every(ROWS)
def test_absent_classes_are_finite_and_connected(row, axes):
    loss, (logits, target, _) = row.build(), batch(axes)
    target[0, 1] = False
    value, slope = gradient(loss, logits, target)
    assert torch.isfinite(value) and torch.isfinite(slope).all() and (slope[1] != 0).any()
    assert loss(certain(target), target).item() == pytest.approx(0, abs=1e-5)
    value, slope = gradient(loss, logits, torch.zeros_like(target))
    assert value.item() >= 0 and torch.isfinite(slope).all()


@every([row for row in ROWS if row.batch_is_mean])
def test_a_batch_is_the_mean_of_its_samples(row, axes):
    loss, (logits, target, valid) = row.build(), batch(axes)
    singles = [loss(logits[i : i + 1], target[i : i + 1], valid[i : i + 1]).item() for i in range(2)]
    assert singles[0] != pytest.approx(singles[1], rel=1e-4)
    assert loss(logits, target, valid).item() == pytest.approx(sum(singles) / 2, rel=1e-5)


@every([row for row in ROWS if not row.asymmetric])
def test_permuting_the_axes_permutes_the_gradient(row, axes):
    loss, (logits, target, _) = row.build(), batch(axes)
    value, slope = gradient(loss, logits, target)
    for order in itertools.permutations(range(2, 2 + axes)):
        permuted = [tensor.permute(0, 1, *order) for tensor in (logits, target)]
        value_there, slope_there = gradient(loss, *permuted)
        assert value_there.item() == pytest.approx(value.item(), rel=1e-5)
        torch.testing.assert_close(slope_there, slope.permute(0, 1, *order), rtol=1e-4, atol=1e-7)


@every([row for row in ROWS if not isinstance(row.gradcheck, str)])
def test_the_gradient_is_the_derivative(row, axes):
    shape = (5, 6) if axes == 2 else (3, 4, 4)
    generator = torch.Generator().manual_seed(4)
    target = torch.rand(1, 2, *shape, generator=generator) > 0.5
    logits = torch.randn(target.shape, generator=generator, dtype=torch.float64, requires_grad=True)
    loss = row.build(**row.gradcheck)
    assert torch.autograd.gradcheck(lambda z: loss(z, target), logits)


@every(ROWS)
def test_half_precision_is_raised_and_the_value_is_float32_under_autocast(row, axes):
    loss, (logits, target, valid) = row.build().loss, batch(axes)
    handed = logits.bfloat16() if takes_logits(row) else logits.sigmoid().bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = loss(handed, target, valid)
    assert result.dtype == torch.float32
    assert torch.equal(result, loss(handed.float(), target, valid))


@every(ROWS)
def test_integers_and_masks_are_taken_as_numbers(row, axes):
    loss, target = row.build().loss, scene(axes)
    for prediction in (broken(axes)["cut"].long(), broken(axes)["cut"]):
        assert torch.equal(loss(prediction, target), loss(prediction.float(), target))
    logits = uncertain(target)
    handed = logits if takes_logits(row) else logits.sigmoid()
    assert torch.allclose(loss(handed, target.float()), loss(handed, target))


@every(ROWS)
def test_wrong_shapes_get_a_sentence(row, axes):
    loss, (logits, target, valid) = row.build().loss, batch(axes)
    what = "logits" if takes_logits(row) else "probabilities"
    handed = logits if takes_logits(row) else logits.sigmoid()
    for arguments, sentence in (
        ((handed[0, 0], target[0, 0]), rf"needs {what} of shape \(B, C, \*S\)"),
        ((handed, target[:, :1]), f"needs a target of the {what}' shape"),
        ((handed, target, valid[:1]), "needs valid as a bool mask of shape"),
        ((handed, target, valid.float()), "needs valid as a bool mask of shape"),
    ):
        with pytest.raises(ValueError, match=sentence):
            loss(*arguments)


def takes_logits(row: Row) -> bool:
    return bool(getattr(row.loss, "takes_logits", False) or getattr(row.loss, "transforms_logits", False))
