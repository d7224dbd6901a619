"""Smooth deformations that do not fold: the flow of a stationary velocity field of cubic B-splines.

V. Arsigny et al., "A log-Euclidean framework for statistics on diffeomorphisms", MICCAI 2006: the flow exp(v) by
scaling and squaring, its inverse exp(-v).
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk  # noqa: N813  its customary name
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from nnunet_topo.registration.transforms import LinearMotion
from nnunet_topo.registration.volumes import Box, Grid

SQUARINGS = 5


class VelocityMotion:
    """x -> linear(x + u(x)), where x + u is the flow of v for unit time in the fixed space; u is 0 beyond its grid.

    Parameters: control velocities (3, Z, Y, X) in mm, flat. ``knots_mm`` is the distance of control points, and
    ``step_mm`` that of the nodes on which the flow is computed and written, linear in between, as ITK reads it.
    """

    def __init__(
        self, linear: LinearMotion, parameters: Tensor, around: Grid, *, knots_mm: float, step_mm: float
    ) -> None:
        self.linear, self.linear_parameters = linear, parameters.detach()
        margin = 2 * knots_mm  # a cubic B-spline reaches as far, so that the velocity ends within the grid
        low = around.points(np.full((1, 3), -margin) / around.spacing)[0]
        extent = (np.array(around.size) - 1) * around.spacing + 2 * margin
        self.grid = Grid(tuple(int(n) for n in np.ceil(extent / step_mm).astype(int) + 1), np.full(3, step_mm), low,
                         around.direction)
        self.box = Box(self.grid, parameters.device, parameters.dtype)
        bases = [_basis(size, step_mm, knots_mm) for size in self.grid.size[::-1]]
        self.bases = [torch.as_tensor(basis, device=parameters.device, dtype=parameters.dtype) for basis in bases]
        self.shape = (3, *(basis.shape[1] for basis in self.bases))
        self.count = int(np.prod(self.shape))
        self._axes = torch.as_tensor(around.direction, device=parameters.device, dtype=parameters.dtype)
        z, y, x = torch.meshgrid(*(torch.linspace(-1, 1, n, dtype=parameters.dtype, device=parameters.device)
                                   for n in self.grid.size[::-1]), indexing="ij")
        self._nodes = torch.stack([x, y, z], -1)[None]
        self._flows: dict[int, tuple[Tensor, Tensor]] = {}

    def velocity(self, parameters: Tensor) -> Tensor:
        """(1, 3, Z, Y, X) in mm along the grid's axes x, y, z."""
        control = parameters.view(self.shape)
        return torch.einsum("czyx,az,by,dx->cabd", control, *self.bases)[None]

    def displacement(self, parameters: Tensor, sign: int = 1) -> Tensor:
        """The displacement u of the flow (sign 1) or of its inverse (-1) on the nodes, along the grid's axes, in mm."""
        kept = self._flows.get(sign)
        if kept is not None and kept[0] is parameters:
            return kept[1]
        field = sign * self.velocity(parameters) / 2**SQUARINGS
        half = self.box.half.view(1, 1, 1, 1, 3)
        for _ in range(SQUARINGS):
            places = self._nodes + field.permute(0, 2, 3, 4, 1) / half
            field = field + F.grid_sample(field, places, padding_mode="border", align_corners=True)
        self._flows[sign] = (parameters, field)
        return field

    def forward(self, parameters: Tensor, points: Tensor) -> Tensor:
        """Fixed points (N, 3) to the moving space."""
        return self.linear.forward(self.linear_parameters, self._flow(parameters, points, 1))

    def backward(self, parameters: Tensor, points: Tensor) -> Tensor:
        """Moving points (N, 3) to the fixed space."""
        return self._flow(parameters, self.linear.backward(self.linear_parameters, points), -1)

    def roughness(self, parameters: Tensor) -> Tensor:
        """Mean squared second differences and a little of first differences between control velocities, in mm^2."""
        control = parameters.view(self.shape)
        bending = torch.stack([control.diff(n=2, dim=axis).square().mean() for axis in (1, 2, 3)]).sum()
        stretching = torch.stack([control.diff(dim=axis).square().mean() for axis in (1, 2, 3)]).sum()
        return bending + 0.1 * stretching

    def smallest_jacobian(self, parameters: Tensor) -> float:
        """The least determinant of the flow's derivative over the corners of all cells of its grid."""
        field = self.displacement(parameters).detach()[0].cpu().double()
        step = float(self.grid.spacing[0])
        least = np.inf
        for ends in np.ndindex(2, 2, 2):
            columns = []
            for axis in (3, 2, 1):  # x, y, z
                change = field.diff(dim=axis) / step
                for other in (1, 2, 3):
                    if other != axis:
                        change = change.narrow(other, ends[other - 1], change.shape[other] - 1)
                columns.append(change)
            matrix = torch.stack(columns, -1).permute(1, 2, 3, 0, 4) + torch.eye(3, dtype=torch.float64)
            least = min(least, float(torch.linalg.det(matrix).min()))
        return least

    def to_sitk(self, parameters: NDArray[np.floating]) -> sitk.Transform:
        """A composite of the linear transform after a displacement field, as ITK and 3D Slicer read it."""
        vector = torch.as_tensor(parameters, dtype=self.linear_parameters.dtype, device=self.linear_parameters.device)
        along = self.displacement(vector).detach()[0].permute(1, 2, 3, 0).cpu().double().numpy()
        image = sitk.GetImageFromArray(along @ self.grid.direction.T, isVector=True)
        for setter, value in ((image.SetSpacing, self.grid.spacing), (image.SetOrigin, self.grid.origin),
                              (image.SetDirection, self.grid.direction.ravel())):
            setter(value.tolist())
        linear = self.linear.to_sitk(self.linear_parameters.cpu().double().numpy())
        return sitk.CompositeTransform([linear, sitk.DisplacementFieldTransform(image)])

    def _flow(self, parameters: Tensor, points: Tensor, sign: int) -> Tensor:
        unit = self.box.unit(points)
        field = F.grid_sample(self.displacement(parameters, sign), unit[None, None, None], padding_mode="border",
                              align_corners=True)
        return points + field.view(3, -1).T @ self._axes.T


def _basis(nodes: int, step_mm: float, knots_mm: float) -> NDArray[np.float64]:
    """Values (nodes, knots) of the cubic B-splines that end within the nodes."""
    places = np.arange(nodes) * step_mm
    first, last = 2 * knots_mm, places[-1] - 2 * knots_mm
    count = max(int(np.floor((last - first) / knots_mm)) + 1, 1)
    centres = (places[-1] - (count - 1) * knots_mm) / 2 + knots_mm * np.arange(count)
    x = np.abs(places[:, None] - centres) / knots_mm
    return np.where(x < 1, 2 / 3 - x**2 + x**3 / 2, np.where(x < 2, (2 - x) ** 3 / 6, 0))
