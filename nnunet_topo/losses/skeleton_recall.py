"""Skeleton Recall: how much of the target's tubed skeleton the prediction covers.

Y. Kirchhoff et al., "Skeleton Recall Loss for Connectivity Conserving and Resource Efficient Segmentation of Thin
Tubular Structures", ECCV 2024. With V_P the prediction, T_L the tubed skeleton of the target (label) and s a smoothing
constant:

    recall = (sum V_P T_L + s) / (sum T_L + s)      loss = 1 - recall
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nnunet_topo.losses._common import check_arguments, masked, mean_over_present, over_processes
from nnunet_topo.losses._ranges import Smoothing, Voxels
from nnunet_topo.losses.contract import TopologyLoss
from nnunet_topo.skeletons import tubed_skeleton


def skeleton_recall_loss(
    probabilities: Tensor,
    tubes: Tensor,
    valid: Tensor | None = None,
    *,
    smooth: float = 1e-5,
    batch_wise: bool = False,
    skip_absent: bool = True,
) -> Tensor:
    """Skeleton Recall loss in [0, 1], a scalar; ``tubes`` (B, C, *S) are the target's tubed skeletons.

    The other arguments are those of :class:`SkeletonRecallLoss`.
    """
    check_arguments("Skeleton Recall", probabilities, tubes, valid)
    probabilities, tubes = masked(probabilities, tubes, valid)
    space = tuple(range(2, tubes.ndim))
    parts = torch.stack([(probabilities * tubes).sum(space), tubes.sum(space, dtype=probabilities.dtype)])
    if batch_wise:
        parts = over_processes(parts.sum(1, keepdim=True))
    losses = 1 - (parts[0] + smooth) / (parts[1] + smooth)
    return mean_over_present(losses, parts[1] > 0) if skip_absent else losses.mean()


class SkeletonRecallLoss(TopologyLoss):
    """Skeleton Recall loss, called as ``term(probabilities, target, valid=None)``.

    It rewards recall only: alone, or with a large weight, it over-segments. Objects narrower than the tube are their
    own tube, for which this is plain recall.

    Args of a call:
        probabilities: (B, C, *S) in [0, 1], foreground channels only, 2D or 3D.
        target: (B, C, *S), bool, or float, of which values above 1/2 count.
        valid: (B, 1, *S) bool, or None; voxels where it is False do not count and have no gradient.
        prepared: (B, C, *S) bool, the tubed skeletons where they are at hand, as from nnU-Net's data loader; otherwise
            they are made from the target.

    Args:
        radius: of the tubes around the skeleton, in voxels, see :func:`nnunet_topo.skeletons.tubed_skeleton`.
        union: one skeleton for the union of all classes, as the authors have it, instead of one a class.
        smooth: s above.
        batch_wise: sum over the batch (and over all processes of a distributed training) before the ratio.
        skip_absent: leave out the classes that a sample's target does not hold, whose loss is a constant 0; a sample
            without any class costs 0.

    The defaults differ from the authors' code (:meth:`reference`) in ``union``, in ``skip_absent``, and in the
    thinning, which keeps the topology of the target and reaches the patch's border.
    """

    name = "skeleton_recall"
    prepares = True

    def __init__(
        self,
        *,
        radius: Voxels = 2,
        union: bool = False,
        smooth: Smoothing = 1e-5,
        batch_wise: bool = False,
        skip_absent: bool = True,
    ) -> None:
        super().__init__()
        if radius < 0:
            raise ValueError(f"radius must be at least 0 voxels, got {radius}.")
        if smooth <= 0:
            raise ValueError(f"smooth must be greater than 0, or an absent class divides by 0; got {smooth}.")
        self.radius = radius
        self.union = union
        self.smooth = smooth
        self.batch_wise = batch_wise
        self.skip_absent = skip_absent

    @classmethod
    def reference(cls, **options: Any) -> SkeletonRecallLoss:
        """The authors' trainer's form, plus the constant 1 that makes a perfect prediction cost 0.

        The authors' batches are summed (``batch_wise``) if the plans say so for Dice.
        """
        authors: dict[str, Any] = {"union": True, "skip_absent": False}
        return cls(**authors | options)

    def prepare(self, target: Tensor, ignore_label: int | None = None) -> Tensor:
        """The tubed skeletons of integer label maps (B, 1, *S), or of bool channels (B, C, *S), in the same form."""
        if target.dtype == torch.bool and self.union:
            return tubed_skeleton(target.any(1, keepdim=True), self.radius) & target
        return tubed_skeleton(target, self.radius, union=self.union, ignore_label=ignore_label)

    def forward(
        self, probabilities: Tensor, target: Tensor, valid: Tensor | None = None, prepared: Tensor | None = None
    ) -> Tensor:
        check_arguments("Skeleton Recall", probabilities, target, valid, prepared)
        if prepared is None:
            target = target if target.dtype == torch.bool else target > 0.5
            prepared = self.prepare(target if valid is None else target & valid)
        return skeleton_recall_loss(probabilities, prepared, valid, smooth=self.smooth, batch_wise=self.batch_wise,
                                    skip_absent=self.skip_absent)

    def extra_repr(self) -> str:
        return (f"radius={self.radius}, union={self.union}, smooth={self.smooth}, batch_wise={self.batch_wise}, "
                f"skip_absent={self.skip_absent}")
