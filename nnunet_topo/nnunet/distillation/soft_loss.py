"""nnU-Net's own loss with probabilities as its target, for self-distillation.

In the letters of the code, with the probabilities t of the previous round in place of the one-hot label::

    cross-entropy  sum over valid voxels of -sum_c t_c log softmax(z)_c, over their number
    Dice           nnU-Net's soft Dice, 2 sum(p t) / (sum(p) + sum(t)), for the classes that nnU-Net counts
    with regions   binary cross-entropy and soft Dice of each region

Where t is one-hot, both equal nnU-Net's loss of the label. Soft Dice is not at its best at p = t where t is soft: it
rewards predictions that are more certain than their target, as does the published code's.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.robust_ce_loss import RobustCrossEntropyLoss
from torch import Tensor, nn


class SoftTargetLoss(nn.Module):
    """nnU-Net's loss of one output, which also takes probabilities.

    Args:
        loss: what nnU-Net built for softmax (``DC_and_CE_loss``) or regions (``DC_and_BCE_loss``).
        trainer: its name, for the sentence of an error.

    Raises:
        NotImplementedError: for any other loss.
    """

    def __init__(self, loss: nn.Module, trainer: str) -> None:
        super().__init__()
        part: Any = getattr(loss, "ce", None)
        # not isinstance: a top-k loss is a subclass of the cross-entropy
        softmax = type(loss) is DC_and_CE_loss and type(part) is RobustCrossEntropyLoss and part.reduction == "mean"
        regions = type(loss) is DC_and_BCE_loss and type(part) is nn.BCEWithLogitsLoss
        if not (softmax or regions):
            kind = type(loss).__name__ + ("" if part is None else f" of {type(part).__name__}")
            raise NotImplementedError(
                f"{trainer}: self-distillation trains on probabilities, which nnU-Net's own losses take (Dice with "
                f"cross-entropy, or with binary cross-entropy for regions), but this trainer's loss is {kind}. Combine "
                "self-distillation with a trainer that keeps nnU-Net's own loss; topology terms are added to it."
            )
        self.loss: Any = loss

    def forward(self, output: Tensor, target: Tensor, soft: Tensor | None = None) -> Tensor:
        """The loss, a scalar.

        Args:
            output: logits (B, K, *S).
            target: nnU-Net's target; where ``soft`` is there, only its ignore label counts.
            soft: probabilities (B, K, *S) of all heads, or None for nnU-Net's loss of ``target``.
        """
        if soft is None:
            result: Tensor = self.loss(output, target)
        elif isinstance(self.loss, DC_and_BCE_loss):
            # it takes soft channels as they are, and expects the ignored voxels' behind them
            ignored = [target[:, -1:].to(soft.dtype)] if self.loss.use_ignore_label else []
            result = self.loss(output, torch.cat([soft, *ignored], 1))
        else:
            label = self.loss.ignore_label
            valid = None if label is None else target != label
            result = self.loss.weight_ce * _soft_cross_entropy(output, soft, valid, self.loss.ce)
            if self.loss.weight_dice != 0:
                result = result + self.loss.weight_dice * self.loss.dc(output, soft, loss_mask=valid)
        return result


class HandsSoftTargets(nn.Module):
    """Hands the soft targets of a batch to a base loss that is called with outputs and labels.

    ``soft`` is set for the length of a training step: probabilities of all heads (B, K, *S), in a list under deep
    supervision; without them, as in validation, the loss is nnU-Net's.
    """

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.soft: Tensor | list[Tensor] | None = None

    def forward(self, output: Any, target: Any) -> Tensor:
        handed = () if self.soft is None else (self.soft,)
        loss: Tensor = self.base(output, target, *handed)
        return loss


def with_soft_targets(base: nn.Module, trainer: str) -> HandsSoftTargets:
    """nnU-Net's loss, with or without deep supervision, made to take soft targets too."""
    if isinstance(base, DeepSupervisionWrapper):  # which passes on as many lists as it is given
        base.loss = SoftTargetLoss(base.loss, trainer)
        return HandsSoftTargets(base)
    return HandsSoftTargets(SoftTargetLoss(base, trainer))


def _soft_cross_entropy(output: Tensor, soft: Tensor, valid: Tensor | None, settings: nn.CrossEntropyLoss) -> Tensor:
    """Mean over valid voxels; torch's, of probabilities, has no ignore label and divides by no class weights."""
    values = F.cross_entropy(output, soft, weight=settings.weight, reduction="none",
                             label_smoothing=settings.label_smoothing)[:, None]
    weights = soft if settings.weight is None else soft * settings.weight.view(1, -1, *[1] * (soft.ndim - 2))
    counts = weights.sum(1, keepdim=True)
    if valid is not None:
        values, counts = values * valid, counts * valid
    return values.sum() / counts.sum().clamp(min=1e-8)

