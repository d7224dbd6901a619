"""The gradient of the published skeleton under autograd, in closed form.

The published code sets every voxel v of a subfield to min(v, 1 - s (1 - e)), with s = 1 for a simple point and e = 1
for an end point. Where both arguments are equal autograd halves the gradient: for foreground that stays and, each time,
for background that passes the test for deletion. Foreground that is deleted has none. The Boolean test has no gradient
of its own. The Euler test has one by rounding: it counts background voxels as their average times 27, which float32
makes 15 + 2^-20 for 15 of them, and only there its clipped difference has a slope. The gradient then runs to those
background neighbours n of a voxel c that share a cell of background with it: kappa(c) times the Euler number of these
cells.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from nnunet_topo.skeletons.simple_points import background_cells
from nnunet_topo.skeletons.thinning import thin_tensor

Pullback = Callable[[Tensor], Tensor]
# kappa by the number of background neighbours and the Euler number of the background cells around the voxel
_KAPPA = {(14, 1): 1.0, (15, 1): -1.0, (15, 0): 0.5, (14, 2): -0.5}


class _Step(NamedTuple):
    """What one subfield's turn does to the gradient."""

    place: tuple[slice, ...]
    factor: Tensor
    slopes: tuple[Tensor, Tensor, Tensor] | None  # voxels (K, 4), kappa (K), Euler numbers of the neighbours (K, 26)


def thin_with_reference_gradient(
    sample: Tensor, iterations: int, simple_points: str, border: str
) -> tuple[Tensor, Pullback]:
    """The skeleton, and the map from its gradient to that of the sample, both (B, C, *S)."""
    steps: list[_Step] = []
    euler = simple_points == "euler"

    def observe(place: tuple[slice, ...], voxels: Tensor, movable: Tensor, deletable: Tensor, codes: Tensor) -> None:
        tie = torch.where(voxels, ~deletable, movable if euler else deletable)
        factor = torch.where(tie, 0.5, 1.0).masked_fill_(voxels & deletable, 0.0)
        # the two planes of padding around a 2D image are more than 15 background neighbours
        slopes = _slopes(place, voxels & movable, codes) if euler and sample.ndim == 5 else None
        steps.append(_Step(place, factor, slopes))

    skeleton = thin_tensor(sample, iterations, simple_points, border, observe)

    def pullback(gradient: Tensor) -> Tensor:
        result = gradient.flatten(0, 1).clone()
        for step in reversed(steps):
            to_neighbours = None if step.slopes is None else _spread(result, *step.slopes)
            result[step.place] *= step.factor
            if to_neighbours is not None:
                result += to_neighbours
        return result.view(gradient.shape)

    return skeleton, pullback


def _slopes(place: tuple[slice, ...], candidates: Tensor, codes: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    masks, signs = (torch.tensor(numbers, device=codes.device) for numbers in background_cells())
    voxels = candidates.nonzero()
    empty = ~codes[candidates].long() & (1 << 26) - 1
    bits = empty[:, None] >> torch.arange(26, device=codes.device) & 1
    number = bits.sum(1)
    rare = (number == 14) | (number == 15)
    voxels, empty, number = voxels[rare], empty[rare], number[rare]
    present = ((empty[:, None] & masks) == masks) * signs  # (K, cells), +1, -1 or 0
    euler_number = present.sum(1)
    kappa = torch.zeros(len(voxels), device=codes.device)
    for (count, around), value in _KAPPA.items():
        kappa[(number == count) & (euler_number == around)] = value
    kept = kappa != 0
    if not bool(kept.any()):
        return None
    members = (masks[:, None] >> torch.arange(26, device=codes.device) & 1).float()  # (cells, neighbours)
    start = torch.tensor([0, *(s.start for s in place[1:])], device=codes.device)
    step = torch.tensor([1] + [2] * (voxels.shape[1] - 1), device=codes.device)
    return voxels[kept] * step + start, kappa[kept], present[kept].float() @ members


def _spread(gradient: Tensor, voxels: Tensor, kappa: Tensor, euler_numbers: Tensor) -> Tensor:
    padded = gradient.new_zeros(len(gradient), *(size + 2 for size in gradient.shape[1:]))
    ones = [torch.arange(3, device=gradient.device)] * 3
    offsets = torch.cartesian_prod(*ones)[[i for i in range(27) if i != 13]]  # into the padded image
    z, y, x = (voxels[:, None, 1:] + offsets).unbind(-1)
    values = (kappa * gradient[tuple(voxels.T)])[:, None] * euler_numbers
    padded.index_put_((voxels[:, :1].expand_as(z), z, y, x), values.to(gradient.dtype), accumulate=True)
    return padded[:, 1:-1, 1:-1, 1:-1]
