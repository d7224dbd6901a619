"""The table of all losses, and scenes and batches for them. It needs no nnU-Net, so that a bare GPU can run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nnunet_topo.losses import (
    BettiMatchingLoss,
    CbDiceLoss,
    ClCELoss,
    ClDiceLoss,
    CriticalComponentsLoss,
    MIPLoss,
    SCNPLoss,
    SkeletonRecallLoss,
    TopographLoss,
    TopologicalInteractionLoss,
    TopologyLoss,
    TopoLoss,
    WarpingLoss,
)


@dataclass(frozen=True)
class Row:
    """A loss and what is particular about it; every field but the first two says where it may differ, and why.

    Whether it takes logits, or transforms them, it says itself (``takes_logits``, ``transforms_logits``).
    """

    name: str
    loss: type[TopologyLoss]
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
    Row("Topograph", TopographLoss),
    Row("topological interaction", TopologicalInteractionLoss, {"apart": ((1, 2),)},
        free=dict.fromkeys(("cut", "merged", "filled", "shifted", "empty", "full"), "no two classes touch")),
    Row("critical components", CriticalComponentsLoss, free={"filled": "it sees components, no holes"}),
]


class OfLogits(nn.Module):
    """Any loss as a function of foreground logits; a transform of these as cross-entropy and Dice of the outcome."""

    def __init__(self, loss: Any) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, logits, target, valid=None):
        if self.loss.transforms_logits:
            return ce_and_dice(self.loss(logits, target, valid), target, valid)
        if self.loss.takes_logits:
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
