"""The skeletons of prediction and target, of either kind of the package, for the losses that compare along them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nnunet_topo.losses._common import ThickTargets
from nnunet_topo.skeletons import (
    TopologicalSkeleton,
    soft_skeleton,
    soft_skeleton_iterations,
    soft_skeleton_of_mask,
    tubed_skeleton,
)


class Skeletons(nn.Module):
    """Called as ``skeletons(probabilities, target, prepared=None)``: the skeletons of both, (B, C, *S) each.

    That of the target is bool where the target is binary, and without gradient.

    Args:
        loss: name of the loss, for messages.
        skeleton, iterations, beta, samples: as in :class:`nnunet_topo.losses.ClDiceLoss`.
    """

    def __init__(self, loss: str, skeleton: str, iterations: int | None, beta: float, samples: int) -> None:
        super().__init__()
        if skeleton not in ("soft", "topological"):
            raise ValueError(f"skeleton must be 'soft' or 'topological', got {skeleton!r}.")
        if iterations is not None and iterations < 0:
            raise ValueError(f"iterations must be at least 0, or None, got {iterations}.")
        self.loss = loss
        self.skeleton = skeleton
        self.iterations = iterations
        topological = TopologicalSkeleton(iterations, beta, samples=samples)
        self.topological = topological if skeleton == "topological" else None
        self._thick = ThickTargets(loss)

    @staticmethod
    def from_labels(settings: Mapping[str, Any]) -> dict[str, tuple[Callable[..., int], int, int]]:
        """Settings that the training labels decide where they are None.

        Each with a function of one class's mask, whose largest value over the labels is taken, and its bounds.
        """
        return {"iterations": (soft_skeleton_iterations, 3, 25)} if settings["skeleton"] == "soft" else {}

    def prepare(self, target: Tensor, ignore_label: int | None = None) -> Tensor:
        """The topological skeletons of integer label maps (B, 1, *S), or of bool channels, in the same form."""
        return tubed_skeleton(target, 0, ignore_label=ignore_label, iterations=self.iterations)

    def forward(self, probabilities: Tensor, target: Tensor, prepared: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if self.topological is not None:
            return self.topological(probabilities), self.prepare(_binary(target)) if prepared is None else prepared
        if self.iterations is None:
            raise ValueError(f"{self.loss} needs the number of skeleton iterations: pass iterations=..., e.g. the "
                             "largest soft_skeleton_iterations(mask) of the training labels. nnU-Net trainers do so "
                             "themselves.")
        skeleton = soft_skeleton(probabilities, self.iterations)
        if target.dtype != torch.bool and not bool(((target == 0) | (target == 1)).all()):
            return skeleton, soft_skeleton(target.detach(), self.iterations)  # a soft target has no depth
        true_skeleton, too_deep = soft_skeleton_of_mask(_binary(target), self.iterations)
        self._thick.see(too_deep, self.iterations)
        return skeleton, true_skeleton

    def notices(self) -> list[str]:
        """What the user should know of the calls since the last time: targets too thick for the iterations."""
        return self._thick.notices()

    def extra_repr(self) -> str:
        return f"skeleton={self.skeleton!r}, iterations={self.iterations}"


def _binary(target: Tensor) -> Tensor:
    return target if target.dtype == torch.bool else target > 0.5

