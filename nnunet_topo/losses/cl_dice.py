"""clDice: overlap of the skeletons of prediction and target with the other's mask.

S. Shit et al., "clDice - a novel topology-preserving loss function for tubular structure segmentation", CVPR 2021.
With V_P, V_L the prediction and the target (label), S_P, S_L their soft skeletons and s a smoothing constant:

    tprec = (sum S_P V_L + s) / (sum S_P + s)      tsens = (sum S_L V_P + s) / (sum S_L + s)
    loss  = 1 - 2 tprec tsens / (tprec + tsens)
"""

from __future__ import annotations

import warnings
from contextlib import nullcontext

import torch
import torch.distributed
from torch import Tensor, nn

from nnunet_topo.skeletons import soft_skeleton, soft_skeleton_iterations, soft_skeleton_of_mask


def cl_dice_loss(
    probabilities: Tensor,
    target: Tensor,
    valid: Tensor | None = None,
    *,
    iterations: int,
    smooth: float = 1.0,
    batch_wise: bool = False,
    class_wise: bool = True,
    skip_absent: bool = True,
    epsilon: float = 0.0,
) -> Tensor:
    """clDice loss in [0, 1], a scalar; 0 for a perfect prediction.

    The arguments are those of :class:`ClDiceLoss`, which also says what happens for empty targets.
    """
    return _loss_and_depth(probabilities, target, valid, iterations=iterations, smooth=smooth, batch_wise=batch_wise,
                           class_wise=class_wise, skip_absent=skip_absent, epsilon=epsilon)[0]


class ClDiceLoss(nn.Module):
    """clDice loss, called as ``term(probabilities, target, valid=None)``.

    Args of a call:
        probabilities: (B, C, *S) in [0, 1], foreground channels only, 2D or 3D.
        target: (B, C, *S), bool, or float in [0, 1].
        valid: (B, 1, *S) bool, or None; voxels where it is False count as background in both, and have no gradient.

    Args:
        iterations: erosions of the soft skeleton; None leaves them to an nnU-Net trainer, which takes them from the
            training labels. Too few make the loss blind for thick structures, see
            :func:`nnunet_topo.skeletons.soft_skeleton_iterations`.
        smooth: s above; a class that is empty in target and prediction costs 0 thanks to it.
        batch_wise: sum over the batch (and over all processes of a distributed training) before the ratios.
        class_wise: one pair of ratios a class, then their mean; otherwise the sums run over the classes.
        skip_absent: leave out the classes that a sample's target does not hold, whose loss would be a constant near 1
            with hardly any gradient; a sample (``batch_wise``: a batch) without any class costs 0.
        epsilon: added to tprec + tsens in the denominator.

    The defaults differ from the authors' code (:meth:`reference`) in that every sample and class counts by itself, so
    that a thin class beside a thick one is heard and a sample's loss does not depend on the rest of its batch.
    """

    # settings that a data set's labels decide where they are None: function of one class's mask, whose largest value
    # over the training labels is taken, within these bounds
    from_labels = {"iterations": soft_skeleton_iterations}
    bounds_from_labels = {"iterations": (3, 25)}

    def __init__(
        self,
        *,
        iterations: int | None = None,
        smooth: float = 1.0,
        batch_wise: bool = False,
        class_wise: bool = True,
        skip_absent: bool = True,
        epsilon: float = 0.0,
    ) -> None:
        super().__init__()
        if iterations is not None and iterations < 0:
            raise ValueError(f"iterations must be at least 0, or None, got {iterations}.")
        if smooth <= 0:
            raise ValueError(f"smooth must be greater than 0, or an empty skeleton divides by 0; got {smooth}.")
        if epsilon < 0:
            raise ValueError(f"epsilon must be at least 0, got {epsilon}.")
        self.iterations = iterations
        self.smooth = smooth
        self.batch_wise = batch_wise
        self.class_wise = class_wise
        self.skip_absent = skip_absent
        self.epsilon = epsilon
        self._too_deep: Tensor | None = None  # stays on its device, so that a step never waits for it
        self._warned = False

    @classmethod
    def reference(cls) -> ClDiceLoss:
        """The authors' ``soft_cldice``: one ratio for all, smooth 1, and the 10 iterations that it always takes."""
        return cls(iterations=10, batch_wise=True, class_wise=False, skip_absent=False)

    @classmethod
    def monai(cls, iterations: int = 3) -> ClDiceLoss:
        """MONAI's ``SoftclDiceLoss`` (1.6): one ratio a sample over its channels, 1e-4 in the denominator."""
        return cls(iterations=iterations, class_wise=False, skip_absent=False, epsilon=1e-4)

    def forward(self, probabilities: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
        if self.iterations is None:
            raise ValueError("ClDiceLoss needs the number of skeleton iterations: pass iterations=..., e.g. the "
                             "largest soft_skeleton_iterations(mask) of the training labels. nnU-Net trainers do so "
                             "themselves.")
        loss, too_deep = _loss_and_depth(
            probabilities, target, valid, iterations=self.iterations, smooth=self.smooth, batch_wise=self.batch_wise,
            class_wise=self.class_wise, skip_absent=self.skip_absent, epsilon=self.epsilon)
        self._too_deep = too_deep if self._too_deep is None else self._too_deep | too_deep
        if too_deep.device.type == "cpu" and bool(too_deep) and not self._warned:  # elsewhere, looking would wait
            self._warned = True
            warnings.warn("ClDiceLoss: " + _TOO_DEEP.format(self.iterations), stacklevel=2)
        return loss

    def notices(self) -> list[str]:
        """What the user should know of the calls since the last time: targets too thick for the iterations."""
        too_deep, self._too_deep = self._too_deep, None
        return [_TOO_DEEP.format(self.iterations)] if too_deep is not None and bool(too_deep) else []

    def extra_repr(self) -> str:
        return (f"iterations={self.iterations}, smooth={self.smooth}, batch_wise={self.batch_wise}, "
                f"class_wise={self.class_wise}, skip_absent={self.skip_absent}, epsilon={self.epsilon}")


_TOO_DEEP = ("the target of at least one patch is thicker than {} iterations can skeletonise, so the middle of its "
             "thick parts is not scored. Set iterations higher if these parts matter.")


def _loss_and_depth(
    probabilities: Tensor,
    target: Tensor,
    valid: Tensor | None,
    *,
    iterations: int,
    smooth: float,
    batch_wise: bool,
    class_wise: bool,
    skip_absent: bool,
    epsilon: float,
) -> tuple[Tensor, Tensor]:
    """The loss, and whether a target is deeper than the iterations reach."""
    _check_shapes(probabilities, target, valid)
    with torch.autocast(probabilities.device.type, enabled=False) \
            if probabilities.device.type in ("cuda", "cpu") else nullcontext():
        if probabilities.dtype != torch.float64:
            probabilities = probabilities.float()
        if valid is not None:
            probabilities = torch.where(valid, probabilities, 0.0)
            target = torch.where(valid, target, torch.zeros((), dtype=target.dtype, device=target.device))
        true_skeleton, too_deep = _target_skeleton(target, iterations)
        skeleton = soft_skeleton(probabilities, iterations)
        space, dtype = tuple(range(2, target.ndim)), probabilities.dtype
        # each (B, C); products with bool keep a byte a voxel for the backward pass
        parts = torch.stack([(skeleton * target).sum(space), skeleton.sum(space),
                             (true_skeleton * probabilities).sum(space), true_skeleton.sum(space, dtype=dtype),
                             target.sum(space, dtype=dtype)])
        if not class_wise:
            parts = parts.sum(2, keepdim=True)
        if batch_wise:
            parts = _over_processes(parts.sum(1, keepdim=True))
        precision = (parts[0] + smooth) / (parts[1] + smooth)
        sensitivity = (parts[2] + smooth) / (parts[3] + smooth)
        losses = 1 - 2 * precision * sensitivity / (precision + sensitivity + epsilon)
        if not skip_absent:
            return losses.mean(), too_deep
        present = (parts[4] > 0).to(losses.dtype)
        return ((losses * present).sum(1) / present.sum(1).clamp(min=1)).mean(), too_deep


def _target_skeleton(target: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    if target.dtype != torch.bool and bool(((target == 0) | (target == 1)).all()):
        target = target.bool()
    if target.dtype == torch.bool:
        return soft_skeleton_of_mask(target, iterations)
    too_deep = torch.zeros((), dtype=torch.bool, device=target.device)  # a soft target has no depth
    return soft_skeleton(target.detach(), iterations), too_deep


def _over_processes(parts: Tensor) -> Tensor:
    """Sum over the processes of a distributed training, with gradient; each process then has the same loss.

    The backward of the all-reduce adds up the processes' equal gradients, and DistributedDataParallel then averages:
    the result is the gradient of the one loss.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized() \
            and torch.distributed.get_world_size() > 1:
        from torch.distributed.nn.functional import all_reduce

        return all_reduce(parts)
    return parts


def _check_shapes(probabilities: Tensor, target: Tensor, valid: Tensor | None) -> None:
    if probabilities.ndim not in (4, 5):
        raise ValueError(f"clDice needs probabilities of shape (B, C, *S) with two or three spatial axes, got "
                         f"{tuple(probabilities.shape)}.")
    if target.shape != probabilities.shape:
        raise ValueError(f"clDice needs a target of the probabilities' shape, one channel a foreground class; got "
                         f"probabilities {tuple(probabilities.shape)} and target {tuple(target.shape)}. Turn a label "
                         "map into channels first, without the background.")
    expected = (probabilities.shape[0], 1, *probabilities.shape[2:])
    if valid is not None and (valid.dtype != torch.bool or valid.shape != expected):
        raise ValueError(f"clDice needs valid as a bool mask of shape {expected}, got {valid.dtype} of shape "
                         f"{tuple(valid.shape)}.")
