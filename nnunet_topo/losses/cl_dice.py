"""clDice: overlap of the skeletons of prediction and target with the other's mask.

S. Shit et al., "clDice - a novel topology-preserving loss function for tubular structure segmentation", CVPR 2021.
With V_P, V_L the prediction and the target (label), S_P, S_L their skeletons and s a smoothing constant:

    tprec = (sum S_P V_L + s) / (sum S_P + s)      tsens = (sum S_L V_P + s) / (sum S_L + s)
    loss  = 1 - 2 tprec tsens / (tprec + tsens)
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from nnunet_topo.losses._common import check_arguments, masked, mean_over_present, over_processes
from nnunet_topo.losses._ranges import Factor, Samples, Smoothing, Steps
from nnunet_topo.losses._skeletons import Skeletons
from nnunet_topo.losses.contract import TopologyLoss


def cl_dice_loss(
    probabilities: Tensor,
    target: Tensor,
    skeleton: Tensor,
    true_skeleton: Tensor,
    valid: Tensor | None = None,
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
    check_arguments("clDice", probabilities, target, valid)
    if valid is not None:
        probabilities, target = masked(probabilities, target, valid)
        skeleton, true_skeleton = masked(skeleton, true_skeleton, valid)
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


class ClDiceLoss(TopologyLoss):
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

    name = "cl_dice"
    from_labels = staticmethod(Skeletons.from_labels)

    def __init__(
        self,
        *,
        skeleton: Literal["soft", "topological"] = "soft",
        iterations: Steps | None = None,
        smooth: Smoothing = 1.0,
        batch_wise: bool = False,
        class_wise: bool = True,
        skip_absent: bool = True,
        epsilon: Factor = 0.0,
        beta: Factor = 0.33,
        samples: Samples = 1,
    ) -> None:
        super().__init__()
        if smooth <= 0:
            raise ValueError(f"smooth must be greater than 0, or an empty skeleton divides by 0; got {smooth}.")
        if epsilon < 0:
            raise ValueError(f"epsilon must be at least 0, got {epsilon}.")
        self.skeletons = Skeletons("ClDiceLoss", skeleton, iterations, beta, samples)
        self.prepares = skeleton == "topological"
        self.smooth = smooth
        self.batch_wise = batch_wise
        self.class_wise = class_wise
        self.skip_absent = skip_absent
        self.epsilon = epsilon

    @classmethod
    def reference(cls, **options: Any) -> ClDiceLoss:
        """The authors' ``soft_cldice``: one ratio for all, smooth 1, and the 10 iterations that it always takes."""
        authors: dict[str, Any] = {"iterations": 10, "batch_wise": True, "class_wise": False, "skip_absent": False}
        return cls(**authors | options)

    @classmethod
    def monai(cls, iterations: int = 3) -> ClDiceLoss:
        """MONAI's ``SoftclDiceLoss`` (1.6): one ratio a sample over its channels, 1e-4 in the denominator."""
        return cls(iterations=iterations, class_wise=False, skip_absent=False, epsilon=1e-4)

    def prepare(self, target: Tensor, ignore_label: int | None = None) -> Tensor:
        """The topological skeletons of integer label maps (B, 1, *S), or of bool channels, in the same form."""
        return self.skeletons.prepare(target, ignore_label)

    def notices(self) -> list[str]:
        """Targets that were too thick for the iterations, if there were any since the last time."""
        return self.skeletons.notices()

    def forward(
        self, probabilities: Tensor, target: Tensor, valid: Tensor | None = None, prepared: Tensor | None = None
    ) -> Tensor:
        check_arguments("clDice", probabilities, target, valid, prepared)
        probabilities, target = masked(probabilities, target, valid)
        skeleton, true_skeleton = self.skeletons(probabilities, target, prepared)
        return cl_dice_loss(probabilities, target, skeleton, true_skeleton, smooth=self.smooth,
                            batch_wise=self.batch_wise, class_wise=self.class_wise,
                            skip_absent=self.skip_absent, epsilon=self.epsilon)

    def extra_repr(self) -> str:
        return (f"smooth={self.smooth}, batch_wise={self.batch_wise}, class_wise={self.class_wise}, "
                f"skip_absent={self.skip_absent}, epsilon={self.epsilon}")
