"""What nnU-Net's outputs and targets mean to a topology term: a channel for each class or region, and where they count.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor


@dataclass(frozen=True)
class Head:
    """The kind of a network's output.

    Args:
        has_regions: sigmoid channels, one per region, instead of softmax with a background channel.
        ignore_label: value of the ignore label in the target (with regions: the last target channel), or None.
    """

    has_regions: bool
    ignore_label: int | None

    def probabilities(self, logits: Tensor) -> Tensor:
        """Foreground probabilities (B, C, *S) in float32."""
        logits = logits.float()
        return torch.sigmoid(logits) if self.has_regions else torch.softmax(logits, 1)[:, 1:]

    def foreground_logits(self, logits: Tensor) -> Tensor:
        """Logits (B, C, *S) in float32 of the same channels, the sigmoid of which are the probabilities."""
        return logits.float() if self.has_regions else one_against_rest(logits.float())[:, 1:]

    def foreground(self, target: Tensor, channels: int) -> Tensor:
        """One bool channel per class or region."""
        return target[:, :channels].bool() if self.has_regions else _one_hot(target, 1, channels)

    def every_channel(self, target: Tensor, channels: int) -> Tensor:
        """One bool channel for each of the network's output channels, a background channel among them."""
        return target[:, :channels].bool() if self.has_regions else _one_hot(target, 0, channels)

    def valid(self, target: Tensor) -> Tensor | None:
        """Where the target is not the ignore label, (B, 1, *S)."""
        if self.ignore_label is None:
            return None
        return ~target[:, -1:].bool() if self.has_regions else target != self.ignore_label


def one_against_rest(logits: Tensor) -> Tensor:
    """log(p / (1 - p)) of the softmax p over axis 1, for each channel: z_c - logsumexp of the other channels.

    Exact, with finite gradients, however far the logits lie apart: 1 - p, which rounds to 0, is never formed.
    """
    channels = logits.unbind(1)
    # logsumexp of the channels before each but the first, and after each but the last
    before = list(accumulate(channels[:-1], torch.logaddexp))
    after = list(accumulate(channels[:0:-1], torch.logaddexp))[::-1]
    between = [torch.logaddexp(*pair) for pair in zip(before[:-1], after[1:], strict=True)]
    return logits - torch.stack([after[0], *between, before[-1]], 1)


def _one_hot(target: Tensor, first: int, channels: int) -> Tensor:
    classes = torch.arange(first, first + channels, device=target.device).view(1, -1, *[1] * (target.ndim - 2))
    return target == classes
