"""Grids of synthetic scans, and a function sampled on them."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk  # noqa: N813  its customary name
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_FAR = 30.0  # mm, where the implicit function is not known


def grid_around(points: Floats, spacing: Floats, axes: Floats, margins: Floats) -> sitk.Image:
    """An empty image with the given axes (3, 3 in columns) around points (N, 3), by margins (2, 3: before, after)."""
    along = points @ axes
    low, high = along.min(axis=0) - margins[0], along.max(axis=0) + margins[1]
    size = np.maximum(np.ceil((high - low) / spacing).astype(int), 16)
    grid = sitk.Image(size.tolist(), sitk.sitkUInt8)
    grid.SetSpacing(spacing.tolist())
    grid.SetDirection(axes.ravel().tolist())
    grid.SetOrigin((axes @ low).tolist())
    return grid


def on_grid(
    function: sitk.Image, grid: sitk.Image, transform: sitk.Transform, beyond: float = _FAR
) -> NDArray[np.float32]:
    """A function in the bone's own space, seen on a grid whose points the transform maps into that space."""
    return sitk.GetArrayFromImage(sitk.Resample(function, grid, transform, sitk.sitkLinear, beyond))
