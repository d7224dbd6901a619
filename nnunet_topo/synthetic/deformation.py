"""Known smooth deformations, for tests of what recovers them."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk  # noqa: N813  its customary name
from numpy.typing import NDArray

_NODES_MM = 3.0


def smooth_deformation(
    around: sitk.Image, *, seed: int, rms_mm: float = 2.0, wave_mm: float = 90.0, waves: int = 4
) -> sitk.DisplacementFieldTransform:
    """y -> y + d(y), d a sum of a few waves of about a length, on nodes that cover an image and 30 mm around it."""
    rng = np.random.default_rng((seed, 7))
    size, spacing = np.array(around.GetSize()), np.array(around.GetSpacing())
    direction = np.array(around.GetDirection()).reshape(3, 3)
    count = np.ceil((size * spacing + 60) / _NODES_MM).astype(int)
    origin = np.array(around.GetOrigin()) - direction @ np.full(3, 30.0)
    z, y, x = np.indices(tuple(count)[::-1])
    points = origin + (np.stack([x, y, z], -1) * _NODES_MM) @ direction.T
    field = np.zeros_like(points)
    for _ in range(waves):
        vector = rng.standard_normal(3)
        vector *= 2 * np.pi / wave_mm / np.linalg.norm(vector)
        field += np.cos(points @ vector + rng.uniform(0, 2 * np.pi))[..., None] * rng.standard_normal(3)
    field *= rms_mm / np.sqrt((field**2).sum(-1).mean())
    image = sitk.GetImageFromArray(field, isVector=True)
    image.SetSpacing([_NODES_MM] * 3)
    image.SetOrigin(origin.tolist())
    image.SetDirection(around.GetDirection())
    return sitk.DisplacementFieldTransform(image)


def deformed_label(label: sitk.Image, deformation: sitk.Transform) -> sitk.Image:
    """A mask M as M(y + d(y)), its border where the linear interpolation is one half."""
    soft = sitk.Resample(sitk.Cast(label, sitk.sitkFloat32), label, deformation, sitk.sitkLinear, 0.0)
    return sitk.Cast(soft > 0.5, sitk.sitkUInt8)


def deformed_points(points: NDArray[np.floating], deformation: sitk.Transform) -> NDArray[np.float64]:
    """Where points (N, 3) of the undeformed mask are in the deformed one: y with y + d(y) = point."""
    places = np.array(points, float)
    for _ in range(30):
        moved = np.array([deformation.TransformPoint(place) for place in places.tolist()])
        places += points - moved
    return places
