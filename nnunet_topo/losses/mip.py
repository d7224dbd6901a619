"""MIP loss: maximum intensity projections of prediction and target, compared by focal Tversky.

C. Radhakrishna et al., "SPOCKMIP: Segmentation of Vessels in MRAs with Enhanced Continuity using Maximum Intensity
Projection as Loss", arXiv 2407.08655. With P and L the projections of the prediction and of the target (label) along
the same axis, a vessel that breaks in the volume breaks in them::

    TI   = (sum P L + s) / (sum P L + alpha sum (1 - P) L + (1 - alpha) sum P (1 - L) + s)
    loss = (1 - TI)^gamma, over the axes
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from annotated_types import MinLen
from torch import Tensor

from nnunet_topo.losses._common import check_arguments, masked, mean_over_present
from nnunet_topo.losses._ranges import Axis, Exponent, Share, Smoothing, Steps
from nnunet_topo.losses.contract import TopologyLoss

_STRAIGHT = 1e-4  # 1 - TI up to which the power is replaced by its chord


def mip_loss(
    probabilities: Tensor,
    target: Tensor,
    valid: Tensor | None = None,
    *,
    axes: Sequence[int] = (0, 1, 2),
    slab: int | None = None,
    top_k: int = 1,
    alpha: float = 0.7,
    gamma: float = 0.75,
    smooth: float = 1.0,
    sum_axes: bool = False,
    skip_absent: bool = True,
) -> Tensor:
    """MIP loss, a scalar; 0 for a perfect prediction, at most 1 (with ``sum_axes``, the number of axes).

    The arguments are those of :class:`MIPLoss`.
    """
    check_arguments("The MIP loss", probabilities, target, valid)
    if probabilities.ndim != 5:
        raise ValueError("The MIP loss projects volumes and needs probabilities (B, C, X, Y, Z) with three spatial "
                         f"axes, got {tuple(probabilities.shape)}. For images of two axes use another loss.")
    probabilities, target = masked(probabilities, target, valid)
    losses = torch.stack([
        focal_tversky(*projections(probabilities, target, valid, axis=axis, slab=slab, top_k=top_k),
                      alpha=alpha, gamma=gamma, smooth=smooth)
        for axis in axes
    ])
    losses = losses.sum(0) if sum_axes else losses.mean(0)
    present = target.flatten(2).amax(2) > 0
    return mean_over_present(losses, present) if skip_absent else losses.mean()


def projections(
    probabilities: Tensor, target: Tensor, valid: Tensor | None, *, axis: int, slab: int | None = None, top_k: int = 1
) -> tuple[Tensor, Tensor]:
    """Maximum intensity projections along a spatial axis, (B, C, *S) without it, or with its number of slabs instead.

    Args:
        probabilities, target: (B, C, *S), 0 where not valid.
        valid: (B, 1, *S) bool, or None.
        axis: 0, 1 or 2.
        slab, top_k: as for :class:`MIPLoss`.
    """
    rays, true_rays = (_slabs(tensor, 2 + axis, slab) for tensor in (probabilities, target))
    along = 3 + axis
    projection = true_rays.amax(along).to(probabilities.dtype)
    if top_k == 1:
        return rays.amax(along), projection
    # as many voxels as the target has on the ray, so that a perfect prediction has the target's projection
    foreground = (true_rays > 0.5).sum(along, keepdim=True)
    if valid is None:
        valid = torch.ones_like(probabilities[:1, :1], dtype=torch.bool)
    all_valid = _slabs(valid, 2 + axis, slab).sum(along, keepdim=True)
    count = torch.where(foreground > 0, foreground, all_valid).clamp(1, top_k)
    highest = rays.topk(min(top_k, rays.shape[along]), along).values
    rank = torch.arange(highest.shape[along], device=rays.device).view(-1, *[1] * (highest.ndim - along - 1))
    return (torch.where(rank < count, highest, 0.0) / count).sum(along), projection


def focal_tversky(prediction: Tensor, target: Tensor, *, alpha: float, gamma: float, smooth: float) -> Tensor:
    """(1 - TI)^gamma of each sample and class, (B, C), of a prediction and a target (B, C, *S) in [0, 1].

    With gamma < 1 its slope is infinite at TI = 1. Where 1 - TI is below 1e-4, the chord of the power takes its place,
    so that the slope is at most 10 (for gamma = 0.75); at 0 and above 1e-4 the value is the formula's.
    """
    space = tuple(range(2, target.ndim))
    overlap = (prediction * target).sum(space)
    wrong = alpha * ((1 - prediction) * target).sum(space) + (1 - alpha) * (prediction * (1 - target)).sum(space)
    rest = wrong / (overlap + wrong + smooth)  # 1 - TI, without cancellation
    return torch.where(rest < _STRAIGHT, rest * _STRAIGHT ** (gamma - 1), rest.clamp(min=_STRAIGHT) ** gamma)


def _slabs(tensor: Tensor, dim: int, slab: int | None) -> Tensor:
    """The axis ``dim`` as two: slabs, and voxels within a slab; the last slab is filled up with 0."""
    length = tensor.shape[dim]
    if slab is None or slab >= length:
        return tensor.unsqueeze(dim)
    tensor = F.pad(tensor, [0, 0] * (tensor.ndim - dim - 1) + [0, -length % slab])
    return tensor.unflatten(dim, (-1, slab))


class MIPLoss(TopologyLoss):
    """MIP loss, called as ``term(probabilities, target, valid=None)``; 3D only.

    The target's projection is that of the same patch along the same axis. (The published code compares projections
    along different axes, and the patch's with the whole volume's; see the tests.)

    Args of a call:
        probabilities: (B, C, *S) in [0, 1], foreground channels only, 3D, of any size.
        target: (B, C, *S), bool, or float in [0, 1].
        valid: (B, 1, *S) bool, or None; voxels where it is False take no part in a maximum and have no gradient, and a
            ray of only such voxels takes no part in the comparison.

    Args:
        axes: spatial axes to project along, of 0, 1 and 2. In nnU-Net these are the patch's, after its transposition,
            which puts the axis of the largest spacing first.
        slab: project this many slices at a time, the last slab may have fewer; None projects the whole axis. In a
            thick patch that is full of vessels, a full projection is foreground nearly everywhere and says little.
        top_k: 1 is the maximum, which gives a gradient to one voxel of each ray, equal maxima sharing it. Above, the
            prediction's projection is the mean of the ray's ``top_k`` largest values, but not of more than the ray has
            voxels of foreground in the target, if it has any. The target's projection is the maximum.
        alpha: weight of what the prediction misses; 1 - alpha is that of what it adds.
        gamma: below 1, small errors count more.
        smooth: s above, in voxels of the projection.
        sum_axes: sum the losses of the axes, as the authors do, instead of their mean.
        skip_absent: leave out the classes that a sample's target does not hold; a sample without any class costs 0.

    The defaults differ from the authors' code (:meth:`reference`) in ``sum_axes`` and ``skip_absent``.
    """

    name = "mip"
    spatial_axes = (3,)  # numbers of axes that it works on; see nnunet_topo.nnunet.training.checks

    def __init__(
        self,
        *,
        axes: Annotated[tuple[Axis, ...], MinLen(1)] = (0, 1, 2),
        slab: Steps | None = None,
        top_k: Steps = 1,
        alpha: Share = 0.7,
        gamma: Exponent = 0.75,
        smooth: Smoothing = 1.0,
        sum_axes: bool = False,
        skip_absent: bool = True,
    ) -> None:
        super().__init__()
        if not axes or any(axis not in (0, 1, 2) for axis in axes) or len(set(axes)) < len(axes):
            raise ValueError(f"axes must be one or more of 0, 1 and 2, each once, e.g. (0,); got {axes!r}.")
        if slab is not None and slab < 1:
            raise ValueError(f"slab must be at least 1 slice, or None for a projection of all slices, got {slab}.")
        if top_k < 1:
            raise ValueError(f"top_k must be at least 1, the maximum, got {top_k}.")
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must lie between 0 and 1, got {alpha}.")
        if gamma <= 0:
            raise ValueError(f"gamma must be greater than 0, got {gamma}.")
        if smooth <= 0:
            raise ValueError(f"smooth must be greater than 0, or two empty projections divide by 0; got {smooth}.")
        self.axes = tuple(axes)
        self.slab = slab
        self.top_k = top_k
        self.alpha = alpha
        self.gamma = gamma
        self.smooth = smooth
        self.sum_axes = sum_axes
        self.skip_absent = skip_absent

    @classmethod
    def reference(cls, **options: Any) -> MIPLoss:
        """The authors' form for one deep-supervision output, without the offsets of 0.001 that they start sums from."""
        authors: dict[str, Any] = {"sum_axes": True, "skip_absent": False}
        return cls(**authors | options)

    def forward(self, probabilities: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
        return mip_loss(probabilities, target, valid, axes=self.axes, slab=self.slab, top_k=self.top_k,
                        alpha=self.alpha, gamma=self.gamma, smooth=self.smooth, sum_axes=self.sum_axes,
                        skip_absent=self.skip_absent)

    def extra_repr(self) -> str:
        names = ("axes", "slab", "top_k", "alpha", "gamma", "smooth", "sum_axes", "skip_absent")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
