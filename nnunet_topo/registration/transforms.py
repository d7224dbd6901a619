"""Motions of points from the fixed into the moving space, as functions of a vector of parameters in mm.

All parameters are lengths: a rotation by r is the vector of r * ARM_MM, so that a step means about the same for each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813  its customary name
import torch
from numpy.typing import NDArray
from torch import Tensor

ARM_MM = 40.0  # about how far the bone reaches from its centre
LINEAR = {"rigid": 6, "similarity": 7, "affine": 12}  # number of parameters


class LinearMotion:
    """x -> A (x - fixed centre) + moving centre + t: rigid, similarity or affine, around a start.

    ``start`` (3, 3) is the rotation where all parameters are 0. Parameters: rotation vector (3) and translation (3);
    then the logarithm of the scale (1), or for affine (12) the nine entries of A against the start instead of rotation.
    """

    def __init__(
        self, kind: str, start: NDArray[np.floating], fixed_centre: NDArray[np.floating],
        moving_centre: NDArray[np.floating], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32,
    ) -> None:
        self.kind, self.count = kind, LINEAR[kind]
        self.start = torch.as_tensor(start, device=device, dtype=dtype)
        self.fixed_centre = torch.as_tensor(fixed_centre, device=device, dtype=dtype)
        self.moving_centre = torch.as_tensor(moving_centre, device=device, dtype=dtype)

    def matrix(self, parameters: Tensor) -> Tensor:
        """A (3, 3)."""
        if self.kind == "affine":
            eye = torch.eye(3, dtype=parameters.dtype, device=parameters.device)
            return (eye + parameters[3:12].view(3, 3) / ARM_MM) @ self.start
        matrix = rotation_matrix(parameters[3:6] / ARM_MM) @ self.start
        return matrix * torch.exp(parameters[6] / ARM_MM) if self.kind == "similarity" else matrix

    def forward(self, parameters: Tensor, points: Tensor) -> Tensor:
        """Fixed points (N, 3) to the moving space."""
        return (points - self.fixed_centre) @ self.matrix(parameters).T + self.moving_centre + parameters[:3]

    def backward(self, parameters: Tensor, points: Tensor) -> Tensor:
        """Moving points (N, 3) to the fixed space."""
        matrix = self.matrix(parameters)
        inverse = matrix.T if self.kind == "rigid" else torch.linalg.inv(matrix)
        return (points - self.moving_centre - parameters[:3]) @ inverse.T + self.fixed_centre

    def to_sitk(self, parameters: NDArray[np.floating]) -> sitk.Transform:
        """The transform that ITK and 3D Slicer read: fixed to moving points."""
        double = LinearMotion(self.kind, self.start.cpu().double().numpy(), self.fixed_centre.cpu().double().numpy(),
                              self.moving_centre.cpu().double().numpy(), dtype=torch.float64)
        vector = torch.as_tensor(parameters, dtype=torch.float64)
        matrix = double.matrix(vector).numpy()
        if self.kind == "rigid":  # the start came in single precision
            left, _, right = np.linalg.svd(matrix)
            matrix = left @ right
        made: dict[str, Any] = {"rigid": sitk.VersorRigid3DTransform, "similarity": sitk.Similarity3DTransform,
                                "affine": lambda: sitk.AffineTransform(3)}
        transform = made[self.kind]()
        if self.kind == "similarity":
            scale = float(np.cbrt(np.linalg.det(matrix)))
            left, _, right = np.linalg.svd(matrix)
            matrix = scale * left @ right
        transform.SetCenter(double.fixed_centre.tolist())
        transform.SetMatrix(matrix.ravel().tolist())
        shift = double.moving_centre + vector[:3] - double.fixed_centre
        transform.SetTranslation(shift.tolist())
        return transform

    def restarted(self, parameters: NDArray[np.floating], kind: str) -> LinearMotion:
        """Another kind of motion whose parameters of 0 are this one's ``parameters``."""
        vector = torch.as_tensor(parameters, dtype=self.start.dtype, device=self.start.device)
        matrix = self.matrix(vector)
        return LinearMotion(kind, matrix.detach().cpu().numpy(), self.fixed_centre.cpu().numpy(),
                            (self.moving_centre + vector[:3]).detach().cpu().numpy(), matrix.device, matrix.dtype)


def rotation_matrix(vector: Tensor) -> Tensor:
    """Rodrigues' formula: the rotation (3, 3) around a vector by its length."""
    squared = vector.square().sum() + 1e-12
    angle = squared.sqrt()
    x, y, z = vector
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).view(3, 3)
    eye = torch.eye(3, dtype=vector.dtype, device=vector.device)
    return eye + torch.sin(angle) / angle * cross + (1 - torch.cos(angle)) / squared * cross @ cross


def starting_rotations(
    fixed_axes: NDArray[np.floating], moving_axes: NDArray[np.floating]
) -> list[NDArray[np.float64]]:
    """No rotation, and the four that bring principal axes (columns) onto each other, as axes have no sign."""
    signs = ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1))
    return [np.eye(3), *(moving_axes @ np.diag(sign) @ fixed_axes.T for sign in signs)]
