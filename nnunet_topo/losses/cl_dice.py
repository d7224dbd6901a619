"""clDice: overlap of the skeletons of prediction and target with the other's mask.

S. Shit et al., "clDice - a novel topology-preserving loss function for tubular structure segmentation", CVPR 2021.
With V_P, V_L the prediction and the target (label), S_P, S_L their skeletons and s a smoothing constant:

    tprec = (sum S_P V_L + s) / (sum S_P + s)      tsens = (sum S_L V_P + s) / (sum S_L + s)
    loss  = 1 - 2 tprec tsens / (tprec + tsens)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nnunet_topo.losses._common import (
    ThickTargets,
    check_arguments,
    masked,
    mean_over_present,
    over_processes,
    without_autocast,
)
from nnunet_topo.skeletons import (
    TopologicalSkeleton,
    soft_skeleton,
    soft_skeleton_iterations,
    soft_skeleton_of_mask,
    tubed_skeleton,
)


def cl_dice_loss(
    probabilities: Tensor,
    target: Tensor,
    skeleton: Tensor,
    true_skeleton: Tensor,
    *,
    smooth: float = 1.0,
    batch_wise: bool = False,
    class_wise: bool = True,
    skip_absent: bool = True,
    epsilon: float = 0.0,
) -> Tensor:
    """clDice loss in [0, 1], a scalar; 0 for a perfect prediction.

    ``skeleton`` and ``true_skeleton`` (B, C, *S) are those of the probabilities and of the target. The other arguments
    are those of :class:`ClDiceLoss`, which also says what happens for empty targets.
    """
    check_arguments("clDice", probabilities, target, None)
    with without_autocast(probabilities):
        space, dtype = tuple(range(2, target.ndim)), probabilities.dtype
        # each (B, C); products with bool keep a byte a voxel for the backward pass
        parts = torch.stack([(skeleton * target).sum(space), skeleton.sum(space),
                             (true_skeleton * probabilities).sum(space), true_skeleton.sum(space, dtype=dtype),
                             target.sum(space, dtype=dtype)])
        if not class_wise:
            parts = parts.sum(2, keepdim=True)
        if batch_wise:
            parts = over_processes(parts.sum(1, keepdim=True))
        precision = (parts[0] + smooth) / (parts[1] + smooth)
        sensitivity = (parts[2] + smooth) / (parts[3] + smooth)
        losses = 1 - 2 * precision * sensitivity / (precision + sensitivity + epsilon)
        return mean_over_present(losses, parts[4] > 0) if skip_absent else losses.mean()


class ClDiceLoss(nn.Module):
    """clDice loss, called as ``term(probabilities, target, valid=None)``.

    Args of a call:
        probabilities: (B, C, *S) in [0, 1], foreground channels only, 2D or 3D.
        target: (B, C, *S), bool, or float in [0, 1].
        valid: (B, 1, *S) bool, or None; voxels where it is False count as background in both, and have no gradient.

    Args:
        skeleton: "soft", the authors' morphological one, or "topological", whose pieces hang together as those of what
            it is the skeleton of (:class:`nnunet_topo.skeletons.TopologicalSkeleton`).
        iterations: of the skeleton. Soft: erosions; None leaves them to an nnU-Net trainer, which takes them from the
            training labels. Too few make the loss blind for thick structures, see
            :func:`nnunet_topo.skeletons.soft_skeleton_iterations`. Topological: of the thinning, None until it ends.
        smooth: s above; a class that is empty in target and prediction costs 0 thanks to it.
        batch_wise: sum over the batch (and over all processes of a distributed training) before the ratios.
        class_wise: one pair of ratios a class, then their mean; otherwise the sums run over the classes.
        skip_absent: leave out the classes that a sample's target does not hold, whose loss would be a constant near 1
            with hardly any gradient; a sample (``batch_wise``: a batch) without any class costs 0.
        epsilon: added to tprec + tsens in the denominator.
        beta: topological only: strength of the noise with which the prediction is binarised, 0 for none. The target has
            none. With noise even a perfect prediction, if it is not sharp, costs a little.
        samples: topological only: number of noisy samples whose skeletons are averaged.

    The defaults differ from the authors' code (:meth:`reference`) in that every sample and class counts by itself, so
    that a thin class beside a thick one is heard and a sample's loss does not depend on the rest of its batch.
    """

    def __init__(
        self,
        *,
        skeleton: Literal["soft", "topological"] = "soft",
        iterations: int | None = None,
        smooth: float = 1.0,
        batch_wise: bool = False,
        class_wise: bool = True,
        skip_absent: bool = True,
        epsilon: float = 0.0,
        beta: float = 0.33,
        samples: int = 1,
    ) -> None:
        super().__init__()
        if skeleton not in ("soft", "topological"):
            raise ValueError(f"skeleton must be 'soft' or 'topological', got {skeleton!r}.")
        if iterations is not None and iterations < 0:
            raise ValueError(f"iterations must be at least 0, or None, got {iterations}.")
        if smooth <= 0:
            raise ValueError(f"smooth must be greater than 0, or an empty skeleton divides by 0; got {smooth}.")
        if epsilon < 0:
            raise ValueError(f"epsilon must be at least 0, got {epsilon}.")
        self.skeleton = skeleton
        self.iterations = iterations
        self.smooth = smooth
        self.batch_wise = batch_wise
        self.class_wise = class_wise
        self.skip_absent = skip_absent
        self.epsilon = epsilon
        self.topological = TopologicalSkeleton(iterations, beta, samples=samples)
        self.prepares = skeleton == "topological"  # see nnunet_topo.nnunet.prepared_targets
        self._thick = ThickTargets("ClDiceLoss")

    @staticmethod
    def from_labels(settings: Mapping[str, Any]) -> dict[str, tuple[Callable[..., int], int, int]]:
        """Settings that the training labels decide where they are None.

        Each with a function of one class's mask, whose largest value over the labels is taken, and its bounds.
        """
        return {"iterations": (soft_skeleton_iterations, 3, 25)} if settings["skeleton"] == "soft" else {}

    @classmethod
    def reference(cls) -> ClDiceLoss:
        """The authors' ``soft_cldice``: one ratio for all, smooth 1, and the 10 iterations that it always takes."""
        return cls(iterations=10, batch_wise=True, class_wise=False, skip_absent=False)

    @classmethod
    def monai(cls, iterations: int = 3) -> ClDiceLoss:
        """MONAI's ``SoftclDiceLoss`` (1.6): one ratio a sample over its channels, 1e-4 in the denominator."""
        return cls(iterations=iterations, class_wise=False, skip_absent=False, epsilon=1e-4)

    def prepare(self, target: Tensor, ignore_label: int | None = None) -> Tensor:
        """The topological skeletons of integer label maps (B, 1, *S), or of bool channels, in the same form."""
        return tubed_skeleton(target, 0, ignore_label=ignore_label, iterations=self.iterations)

    def forward(
        self, probabilities: Tensor, target: Tensor, valid: Tensor | None = None, prepared: Tensor | None = None
    ) -> Tensor:
        check_arguments("clDice", probabilities, target, valid)
        with without_autocast(probabilities):
            probabilities, target = masked(probabilities, target, valid)
            if self.skeleton == "topological":
                skeleton = self.topological(probabilities)
                true_skeleton = self.prepare(_binary(target)) if prepared is None else prepared
            else:
                skeleton, true_skeleton = self._soft(probabilities, target)
            return cl_dice_loss(probabilities, target, skeleton, true_skeleton, smooth=self.smooth,
                                batch_wise=self.batch_wise, class_wise=self.class_wise,
                                skip_absent=self.skip_absent, epsilon=self.epsilon)

    def _soft(self, probabilities: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        if self.iterations is None:
            raise ValueError("ClDiceLoss needs the number of skeleton iterations: pass iterations=..., e.g. the "
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
        return (f"skeleton={self.skeleton!r}, iterations={self.iterations}, smooth={self.smooth}, "
                f"batch_wise={self.batch_wise}, class_wise={self.class_wise}, skip_absent={self.skip_absent}, "
                f"epsilon={self.epsilon}")


def _binary(target: Tensor) -> Tensor:
    return target if target.dtype == torch.bool else target > 0.5
