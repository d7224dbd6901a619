"""Grids of synthetic scans, a function sampled on them, and the intensities that CT and MR might show."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk  # noqa: N813  its customary name
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Floats = NDArray[np.float64]

_FAR = 30.0  # mm, where the implicit function is not known
_CORTEX = 1.8  # mm


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


def on_grid(function: sitk.Image, grid: sitk.Image, transform: sitk.Transform) -> NDArray[np.float32]:
    """A function in the bone's own space, seen on a grid whose points the transform maps into that space."""
    return sitk.GetArrayFromImage(sitk.Resample(function, grid, transform, sitk.sitkLinear, _FAR))


def ct_image(bone: sitk.Image, grid: sitk.Image, transform: sitk.Transform, rng: np.random.Generator) -> sitk.Image:
    """Hounsfield units: bright cortex, darker spongiosa, soft tissue, noise."""
    depth = -on_grid(bone, grid, transform)
    tissue = 50 + 25 * _texture(depth.shape, grid, rng)
    return _image(_mixed(depth, tissue, cortex=1300, inner=450) + 40 * rng.standard_normal(depth.shape), grid)


def mr_image(bone: sitk.Image, grid: sitk.Image, transform: sitk.Transform, rng: np.random.Generator) -> sitk.Image:
    """Dark cortex, bright marrow, soft tissue, a coil's slow shading, noise."""
    depth = -on_grid(bone, grid, transform)
    tissue = 210 + 45 * _texture(depth.shape, grid, rng)
    shading = 1 + 0.15 * np.cos(np.arange(depth.shape[1]) / depth.shape[1] * np.pi)[:, None]
    image = shading * _mixed(depth, tissue, cortex=40, inner=320)
    return _image(np.abs(image + 15 * rng.standard_normal(depth.shape)), grid)


def _mixed(depth: NDArray[np.float32], tissue: Floats, cortex: float, inner: float) -> Floats:
    """Tissue outside, a layer of cortex, and the inner bone; borders as wide as partial volume makes them."""
    outside = 1 / (1 + np.exp(np.clip(depth / 0.3, -30, 30)))
    deep = 1 / (1 + np.exp(np.clip(-(depth - _CORTEX) / 0.3, -30, 30)))
    return outside * tissue + (1 - outside) * ((1 - deep) * cortex + deep * inner)


def _texture(shape: tuple[int, ...], grid: sitk.Image, rng: np.random.Generator) -> Floats:
    spacing = np.array(grid.GetSpacing())[::-1]
    texture = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), 4 / spacing, truncate=2.5)
    return texture / texture.std()


def _image(values: Floats, grid: sitk.Image) -> sitk.Image:
    image = sitk.GetImageFromArray(values.astype(np.float32))
    image.CopyInformation(grid)
    return image
