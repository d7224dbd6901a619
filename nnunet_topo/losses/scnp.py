"""Same-class neighbour penalisation (SCNP): every voxel is judged by the worst of its neighbours of the same class.

J. M. Valverde, D. P. Papadopoulos, R. Larsen, A. B. Dahl, "Towards High-Quality Image Segmentation: Improving Topology
Accuracy by Penalizing Neighbor Pixels", CVPR 2026, arXiv 2603.18671. With z the logits of a channel, y its
target, and N(v) the neighbourhood of a voxel v, a box of ``receptive_field`` voxels around it:

    z'(v) = min of z(u) over u in N(v) with y(u) = 1      where y(v) = 1
    z'(v) = max of z(u) over u in N(v) with y(u) = 0      where y(v) = 0

The loss that one has, cross-entropy and Dice say, is taken of z' in place of z. A gap in a vessel is then paid for by
all of the vessel's voxels beside it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nnunet_topo.losses._common import check_arguments
from nnunet_topo.losses._ranges import Steps
from nnunet_topo.losses.contract import TopologyLoss


def scnp_logits(
    logits: Tensor, target: Tensor, valid: Tensor | None = None, *, receptive_field: int = 3
) -> Tensor:
    """z' above, (B, C, *S) in float32 (float64 stays); the arguments are those of :class:`SCNPLoss`.

    Each voxel's gradient goes to the voxel that its value is from: itself, where no neighbour is worse. The number of
    this voxel is kept for the backward pass, four bytes a voxel and channel.
    """
    check_arguments("SCNP", logits, target, valid, what="logits", channels="a class, the background's too, or a region")
    _check_receptive_field(receptive_field)
    if logits.dtype != torch.float64:
        logits = logits.float()
    target = target if target.dtype == torch.bool else target > 0.5
    if logits.numel() == 0:
        return logits.clone()
    valids = [None] * len(logits) if valid is None else valid
    sources = torch.stack([_sources(*sample, receptive_field)
                           for sample in zip(logits.detach(), target, valids, strict=True)])
    return _Taken.apply(logits, sources)


class SCNPLoss(TopologyLoss):
    """The transform of the logits, called as ``term(logits, target, valid=None)``: returns logits, not a loss.

    In an nnU-Net trainer, nnU-Net's own loss sees what it returns, at every deep-supervision output that the term asks
    for (``levels=None``: all). In code of your own::

        loss = cross_entropy_and_dice(SCNPLoss()(logits, one_hot), labels)

    Only for the loss: at prediction there is no target, and none is needed.

    Args of a call:
        logits: (B, C, *S), 2D or 3D; all channels of a softmax, the background's too, or sigmoid channels. Each is
            treated by itself. Half precision is raised to float32.
        target: (B, C, *S), bool, or float, of which values above 1/2 count; one-hot of the same channels.
        valid: (B, 1, *S) bool, or None; voxels where it is False are nobody's neighbours, and stay as they are.

    Args:
        receptive_field: side of the neighbourhood in voxels, odd; the authors use 3 and 5. Larger than the structures
            it brings nothing, for only neighbours of the same class are looked at, but costs time.

    The defaults are the authors'; their code has no ignore label.
    """

    name = "scnp"
    transforms_logits = True

    def __init__(self, *, receptive_field: Steps = 3) -> None:
        super().__init__()
        _check_receptive_field(receptive_field)
        self.receptive_field = receptive_field

    @classmethod
    def reference(cls, **options: Any) -> SCNPLoss:
        """The authors' form."""
        return cls(**options)

    def forward(self, logits: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
        return scnp_logits(logits, target, valid, receptive_field=self.receptive_field)

    def extra_repr(self) -> str:
        return f"receptive_field={self.receptive_field}"


class _Taken(torch.autograd.Function):
    """Values of the voxels of given numbers, per channel."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, sources: Tensor) -> Tensor:
        ctx.save_for_backward(sources)
        return logits.flatten(2).gather(2, sources.flatten(2).long()).view(logits.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (sources,) = ctx.saved_tensors
        result = torch.zeros_like(gradient, memory_format=torch.contiguous_format).flatten(2)
        result.scatter_add_(2, sources.flatten(2).long(), gradient.flatten(2))
        return result.view(gradient.shape), None


def _sources(logits: Tensor, target: Tensor, valid: Tensor | None, size: int) -> Tensor:
    """The number of the voxel that each value of a sample (C, *S) is from."""
    inside = target if valid is None else target & valid
    outside = ~target if valid is None else ~target & valid
    worst_inside = _place_of_maximum(-logits, inside, size)
    sources = torch.where(target, worst_inside, _place_of_maximum(logits, outside, size))
    if valid is not None:
        own = torch.arange(logits[0].numel(), dtype=torch.int32, device=logits.device).view(logits.shape[1:])
        sources = torch.where(valid, sources, own)
    return sources


def _place_of_maximum(values: Tensor, mask: Tensor, size: int) -> Tensor:
    """Number of the largest voxel of the mask in each box; anything where a box holds none of them.

    Maximum pooling along one axis after the other, which carries the voxel's number along; several times faster than
    torch's pooling over boxes.
    """
    values = values.masked_fill(~mask, -torch.inf)
    places = torch.arange(values[0].numel(), dtype=torch.int32, device=values.device)
    places = places.view(1, *values.shape[1:]).expand(values.shape)
    for axis in range(1, values.ndim):
        largest, at = values.clone(), places.clone()
        length = values.shape[axis]
        for step in range(1, min(size // 2, length - 1) + 1):
            for here, there in ((0, step), (step, 0)):
                here_values, here_places = (x.narrow(axis, here, length - step) for x in (largest, at))
                there_values, there_places = (x.narrow(axis, there, length - step) for x in (values, places))
                better = there_values > here_values
                torch.where(better, there_places, here_places, out=here_places)
                torch.maximum(here_values, there_values, out=here_values)
        values, places = largest, at
    return places


def _check_receptive_field(size: int) -> None:
    if isinstance(size, bool) or not isinstance(size, int) or size < 1 or size % 2 == 0:
        raise ValueError(f"receptive_field must be an odd number of voxels of at least 1, e.g. 3 or 5, got {size!r}.")
