"""Centreline cross-entropy (clCE): the cross-entropy along the centrelines of target and prediction.

C. Acebes, A. H. Moustafa, O. Camara, A. Galdran, "The Centerline-Cross Entropy Loss for Vessel-Like Structure
Segmentation: Better Topology Consistency Without Sacrificing Accuracy", MICCAI 2024. With CE the cross-entropy of each
voxel, and S_P, S_L the skeletons of prediction and target (label):

    loss = mean of CE along S_L  +  mean of CE along S_P

The first is high where the prediction misses a centreline, the second where it draws one that is not there. CE is that
of one class against the rest, which for two classes is the cross-entropy of softmax; it is taken of logits, so that
it is exact where probabilities have long been rounded to 0 or 1.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from nnunet_topo.losses._common import check_arguments, masked, mean_over_present
from nnunet_topo.losses._ranges import Factor, Samples, Smoothing, Steps
from nnunet_topo.losses._skeletons import Skeletons
from nnunet_topo.losses.contract import TopologyLoss


def cl_ce_loss(
    logits: Tensor,
    target: Tensor,
    skeleton: Tensor,
    true_skeleton: Tensor,
    valid: Tensor | None = None,
    *,
    normalised: bool = True,
    smooth: float = 1.0,
    skip_absent: bool = True,
) -> Tensor:
    """Centreline cross-entropy, a scalar of at least 0; 0 for a perfect and certain prediction.

    ``skeleton`` and ``true_skeleton`` (B, C, *S) are those of the probabilities and of the target. The other arguments
    are those of :class:`ClCELoss`.
    """
    check_arguments("clCE", logits, target, valid, what="logits")
    logits, target = masked(logits, target, valid)
    space, dtype = tuple(range(2, target.ndim)), logits.dtype
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target.to(dtype), reduction="none")
    if valid is not None:  # log(2) otherwise: a logit of 0
        cross_entropy = torch.where(valid, cross_entropy, 0.0)
    if normalised:
        weights = sum(part / (part.sum(space, keepdim=True, dtype=dtype) + smooth)
                      for part in (true_skeleton, skeleton))
    else:
        voxels = target[0, 0].numel() if valid is None else valid.sum(space, keepdim=True).clamp(min=1)
        weights = (true_skeleton.to(dtype) + skeleton) / voxels
    losses = (weights * cross_entropy).sum(space)
    return mean_over_present(losses, target.sum(space, dtype=dtype) > 0) if skip_absent else losses.mean()


class ClCELoss(TopologyLoss):
    """Centreline cross-entropy, called as ``term(logits, target, valid=None)``.

    Args of a call:
        logits: (B, C, *S), foreground channels only, 2D or 3D: the sigmoid of a channel is its probability. Those of a
            softmax are z_c - logsumexp of the other channels; an nnU-Net trainer makes them.
        target: (B, C, *S), bool, or float in [0, 1].
        valid: (B, 1, *S) bool, or None; voxels where it is False count as background in both skeletons, have no
            cross-entropy and no gradient.
        prepared: (B, C, *S) bool, topological only: the target's skeletons where they are at hand, as from nnU-Net's
            data loader.

    Args:
        skeleton, iterations, beta, samples: as in :class:`ClDiceLoss`.
        normalised: the means run over the skeletons, those of a sample's class by themselves, so that a thin class
            beside a thick one is heard, and the loss is of the size of cross-entropy. Otherwise over all (valid)
            voxels, as the authors have it: the loss is then smaller by the skeletons' share of the patch, some
            hundredths.
        smooth: in voxels, added to the size of either skeleton, so that an empty one costs 0 (``normalised``).
        skip_absent: leave out the classes that a sample's target does not hold; what the prediction draws of these is
            left to the loss beside this one. A sample without any class costs 0.
        through_skeleton: let the gradient pass through S_P too, as the authors do. Along S_P the loss then also falls
            if the prediction is lowered where it is right but not certain: p * -log(p) has its maximum at p = 0.37, and
            below that draws p to 0. Without it, S_P only says where cross-entropy is looked at.

    The defaults differ from the authors' code (:meth:`reference`) in ``normalised``, in ``skip_absent``, and in
    ``through_skeleton``.
    """

    name = "cl_ce"
    takes_logits = True
    from_labels = staticmethod(Skeletons.from_labels)

    def __init__(
        self,
        *,
        skeleton: Literal["soft", "topological"] = "soft",
        iterations: Steps | None = None,
        normalised: bool = True,
        smooth: Smoothing = 1.0,
        skip_absent: bool = True,
        through_skeleton: bool = False,
        beta: Factor = 0.33,
        samples: Samples = 1,
    ) -> None:
        super().__init__()
        if smooth <= 0:
            raise ValueError(f"smooth must be greater than 0, or an empty skeleton divides by 0; got {smooth}.")
        self.skeletons = Skeletons("ClCELoss", skeleton, iterations, beta, samples)
        self.prepares = skeleton == "topological"
        self.normalised = normalised
        self.smooth = smooth
        self.skip_absent = skip_absent
        self.through_skeleton = through_skeleton

    @classmethod
    def reference(cls, **options: Any) -> ClCELoss:
        """The authors' ``clCELoss``: 3 iterations, means over all voxels, gradient through S_P; for every class."""
        authors: dict[str, Any] = {"iterations": 3, "normalised": False, "skip_absent": False, "through_skeleton": True}
        return cls(**authors | options)

    def prepare(self, target: Tensor, ignore_label: int | None = None) -> Tensor:
        """The topological skeletons of integer label maps (B, 1, *S), or of bool channels, in the same form."""
        return self.skeletons.prepare(target, ignore_label)

    def notices(self) -> list[str]:
        """Targets that were too thick for the iterations, if there were any since the last time."""
        return self.skeletons.notices()

    def forward(
        self, logits: Tensor, target: Tensor, valid: Tensor | None = None, prepared: Tensor | None = None
    ) -> Tensor:
        check_arguments("clCE", logits, target, valid, prepared, what="logits")
        of_skeleton = logits if self.through_skeleton else logits.detach()
        probabilities = torch.sigmoid(of_skeleton if of_skeleton.dtype == torch.float64 else of_skeleton.float())
        skeleton, true_skeleton = self.skeletons(*masked(probabilities, target, valid), prepared)
        return cl_ce_loss(logits, target, skeleton, true_skeleton, valid, normalised=self.normalised,
                          smooth=self.smooth, skip_absent=self.skip_absent)

    def extra_repr(self) -> str:
        return (f"normalised={self.normalised}, smooth={self.smooth}, skip_absent={self.skip_absent}, "
                f"through_skeleton={self.through_skeleton}")
