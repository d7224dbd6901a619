"""The differentiable topological skeleton of the moved probability map against that of the fixed bone.

The way of M. Menten et al., "A skeletonization algorithm for gradient-based optimization", ICCV 2023: the map is moved,
thinned, and compared, and the gradient goes back through the thinning into the motion. A deformation may change the
skeleton itself, which a skeleton computed once and moved along does not see.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nnunet_topo.registration.shapes import Shape
from nnunet_topo.registration.similarities import FLOOR, Motion
from nnunet_topo.registration.volumes import Grid
from nnunet_topo.skeletons import TopologicalSkeleton

_STEP_MM = 1.6


class MovedSkeleton:
    """One minus the soft Dice of two blurred skeletons on a grid of 1.6 mm around the fixed bone.

    ``blur_mm`` is the standard deviation, about how far skeletons feel each other. The thinning is without noise, so
    that the same motion gives the same value; its gradient is the straight-through one of
    :class:`nnunet_topo.skeletons.TopologicalSkeleton`, not the derivative of that value, which is a step function.
    """

    def __init__(self, fixed: Shape, moving: Shape, *, blur_mm: float = 3.2) -> None:
        self.moving = moving
        fine = fixed.occupancy.grid
        size = tuple(int(n * fine.spacing[0] / _STEP_MM) + 1 for n in fine.size)
        self.grid = Grid(size, np.full(3, _STEP_MM), fine.origin, fine.direction)
        like = fixed.surface
        self.points = torch.as_tensor(self.grid.all_points(), dtype=like.dtype, device=like.device)
        self.skeleton = TopologicalSkeleton(beta=0)
        reach = int(np.ceil(2.5 * blur_mm / _STEP_MM))
        kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) * _STEP_MM / blur_mm) ** 2).to(like)
        self.kernel = kernel / kernel.sum()
        with torch.no_grad():
            occupancy = fixed.occupancy.sample(self.points).view(1, 1, *size[::-1])
            self.fixed = self._blurred(self.skeleton(occupancy.clamp(0, 1)).to(like))

    def __call__(self, motion: Motion, parameters: Tensor) -> Tensor:
        places = motion.forward(parameters, self.points)
        weight = self.moving.view.weight(places, FLOOR).view(self.fixed.shape).detach()
        moved = self.moving.occupancy.sample(places).view(self.fixed.shape).clamp(0, 1)
        two = self._blurred(self.skeleton(moved))
        both = (weight * (self.fixed.square() + two.square())).sum()
        return 1 - 2 * (weight * self.fixed * two).sum() / both.clamp_min(1e-6)

    def _blurred(self, values: Tensor) -> Tensor:
        for axis in (2, 3, 4):
            shape = [1] * 5
            shape[axis] = len(self.kernel)
            padding = [0, 0, 0]
            padding[axis - 2] = len(self.kernel) // 2
            values = F.conv3d(values, self.kernel.view(shape), padding=padding)
        return values
