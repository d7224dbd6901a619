"""Values on a grid in physical space, sampled at points so that gradients reach the points; boxes of what was seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813  its customary name
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Grid:
    """Where voxels lie: ``size`` along x, y, z; ``spacing`` and ``origin`` in mm; ``direction`` (3, 3), as in ITK."""

    size: tuple[int, ...]
    spacing: Floats
    origin: Floats
    direction: Floats

    @classmethod
    def of(cls, image: sitk.Image) -> Grid:
        """The grid of an image."""
        direction = np.array(image.GetDirection()).reshape(3, 3)
        return cls(image.GetSize(), np.array(image.GetSpacing()), np.array(image.GetOrigin()), direction)

    def points(self, index: Floats) -> Floats:
        """Physical points (N, 3) of continuous indices (N, 3), both ordered x, y, z."""
        return self.origin + (index * self.spacing) @ self.direction.T

    def like(self) -> sitk.Image:
        """An empty image on this grid."""
        image = sitk.Image([int(size) for size in self.size], sitk.sitkUInt8)
        image.SetSpacing(self.spacing.tolist())
        image.SetOrigin(self.origin.tolist())
        image.SetDirection(self.direction.ravel().tolist())
        return image

    def all_points(self) -> Floats:
        """The physical points (N, 3) of all voxels, in the order of an array (z, y, x)."""
        x, y, z = (np.arange(self.size[k])[:, None] * self.spacing[k] * self.direction[:, k] for k in range(3))
        return (self.origin + x + y[:, None] + z[:, None, None]).reshape(-1, 3)


class Box:
    """The space that a grid covers, in coordinates from -1 to 1 along its axes."""

    def __init__(self, grid: Grid, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        self.grid = grid
        size = np.array(grid.size)
        half = np.maximum(size - 1, 1) / 2 * grid.spacing
        centre = grid.points((size[None] - 1) / 2)[0]
        self.half = torch.as_tensor(half, device=device, dtype=dtype)
        self.centre = torch.as_tensor(centre, device=device, dtype=dtype)
        self.to_unit = torch.as_tensor(grid.direction / half, device=device, dtype=dtype)

    def unit(self, points: Tensor) -> Tensor:
        """Coordinates (N, 3) in the box."""
        return (points - self.centre) @ self.to_unit

    def depth_mm(self, points: Tensor) -> Tensor:
        """How far points (N, 3) are inside of the nearest face; negative outside."""
        return ((1 - self.unit(points).abs()) * self.half).amin(-1)

    def weight(self, points: Tensor, floor: float, ramp_mm: float = 2.0) -> Tensor:
        """1 within the box, ``floor`` outside of it, and a ramp between."""
        return (self.depth_mm(points) / ramp_mm).clamp(0, 1) * (1 - floor) + floor


class Volume:
    """Values on a grid, between whose voxels they are linear, and beyond which they are those of the border."""

    def __init__(
        self, values: NDArray[np.generic] | Tensor, grid: Grid, device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.grid = grid
        self.box = Box(grid, device, dtype)
        self.values = torch.as_tensor(values, device=device, dtype=dtype)[None, None]

    def sample(self, points: Tensor) -> Tensor:
        """Values (N,) at physical points (N, 3)."""
        places = self.box.unit(points)[None, None, None]
        return F.grid_sample(self.values, places, padding_mode="border", align_corners=True).view(-1)

    def sample_distance(self, points: Tensor) -> Tensor:
        """The same for a distance in mm, which beyond the grid grows by the distance from the grid."""
        unit = self.box.unit(points)
        values = F.grid_sample(self.values, unit[None, None, None], padding_mode="border", align_corners=True)
        beyond = ((unit.abs() - 1).clamp_min(0) * self.box.half).square().sum(-1)
        return values.view(-1) + (beyond + 1e-8).sqrt() - 1e-4

    def to(self, dtype: torch.dtype) -> Volume:
        """The same in another precision."""
        return Volume(self.values[0, 0], self.grid, self.values.device, dtype)
