"""What CT and MR might show of a synthetic mandible and around it, much of which does not move along with the bone.

So that intensities do not make a registration easy, fat and muscle look different in both and have shifted by some
millimetres in MR, the upper jaw stands otherwise in MR (the mouth is more open), the cortex is dark in MR as air is,
marrow is displaced by the chemical shift, voxels average over their extent, and a coil shades the image. Real MR also
distorts the bone itself, blurs by motion and has artefacts of metal, all of which is missing here.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk  # noqa: N813  its customary name
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.spatial.transform import Rotation

from nnunet_topo.synthetic.mandible_scans import Floats, on_grid
from nnunet_topo.synthetic.mandible_shape import Mandible, implicit_function

_COARSE = 2.0  # mm, of the grid on which soft tissue is drawn
_AROUND = 45.0  # mm of that grid around the bone
_CORTEX = 1.8  # mm, half more or less from place to place
_EDGE = 0.25  # mm, of all borders
_VOXEL = 0.45  # standard deviation, in voxels, of what a voxel averages over
_SOFT_SHIFT = 3.0  # mm, root mean square, by which soft tissue lies otherwise in MR

Array = NDArray[np.float32]


class Anatomy:
    """Fields in the bone's own space: the bone with and without teeth, cortex, fat, air, and the upper jaw."""

    def __init__(self, bone: Mandible, full: sitk.Image, rng: np.random.Generator) -> None:
        self.full, self.bare = full, implicit_function(bone, with_teeth=False)
        self._low = bone.points.min(axis=0) - _AROUND
        extent = bone.points.max(axis=0) + _AROUND - self._low
        self._shape = tuple(np.ceil(extent / _COARSE).astype(int)[::-1])
        self.fat = self._field(self._noise(rng, 8))  # above 0 is fat
        self.air = self._field(self._noise(rng, 10) - 1.3)  # above 0 is air
        self.cortex = self._field(_CORTEX * (1 + 0.25 * self._noise(rng, 12)).clip(0.5, 1.5))
        self.upper = self._field(self._upper_jaw(bone))
        self.soft_shift = self._displacement(rng)
        self.opening = sitk.Euler3DTransform()  # of the mouth, around the condyles, from MR to the place in CT
        hinge = (bone.landmarks["left lateral pole"] + bone.landmarks["right lateral pole"]) / 2
        self.opening.SetCenter(hinge.tolist())
        turn = Rotation.from_rotvec([np.radians(rng.uniform(1, 8)), 0, 0]).as_matrix()
        self.opening.SetMatrix(turn.ravel().tolist())

    def _noise(self, rng: np.random.Generator, millimetres: float) -> Array:
        noise = gaussian_filter(rng.standard_normal(self._shape, dtype=np.float32), millimetres / _COARSE)
        return noise / noise.std()

    def _field(self, values: NDArray[np.floating], vector: bool = False) -> sitk.Image:
        image = sitk.GetImageFromArray(values if vector else values.astype(np.float32), isVector=vector)
        image.SetSpacing([_COARSE] * 3)
        image.SetOrigin(self._low.tolist())
        return image

    def _displacement(self, rng: np.random.Generator) -> sitk.DisplacementFieldTransform:
        field = np.stack([self._noise(rng, 14) for _ in range(3)], -1) * _SOFT_SHIFT / np.sqrt(3)
        return sitk.DisplacementFieldTransform(self._field(field.astype(np.float64), vector=True))

    def _upper_jaw(self, bone: Mandible) -> Array:
        """About the signed distance to an arch above the lower teeth, in mm."""
        angle = np.linspace(-np.radians(80), np.radians(80), 400)
        top = bone.landmarks["infradentale"]
        arch = top + np.stack([42 * np.sin(angle), 60 * (1 - np.cos(angle)), 17 + 0 * angle], -1)
        away = np.ones(self._shape, bool)
        index = np.rint((arch - self._low) / _COARSE).astype(int)
        away[tuple(index.T[::-1])] = False
        return distance_transform_edt(away, sampling=_COARSE) - 6.0


def ct_image(anatomy: Anatomy, grid: sitk.Image, transform: sitk.Transform, rng: np.random.Generator) -> sitk.Image:
    """Hounsfield units: bright cortex and teeth, spongiosa, fat and muscle, air, noise."""
    soft = _blend(on_grid(anatomy.fat, grid, transform), 60.0, -90.0, width=0.2)
    soft = _blend(on_grid(anatomy.air, grid, transform, -1), soft, -900.0, width=0.1)
    cortex = on_grid(anatomy.cortex, grid, transform, _CORTEX)
    image = _bone(-on_grid(anatomy.upper, grid, transform), soft, cortex, 1300.0, 500.0)
    bare = on_grid(anatomy.bare, grid, transform)
    image = _bone(-bare, image, cortex, 1300.0, 450.0)
    image = _blend(_crowns(on_grid(anatomy.full, grid, transform), bare), image, 1900.0)
    image = gaussian_filter(image, _VOXEL, truncate=4)
    return _image(image + 60 * rng.standard_normal(image.shape, dtype=np.float32), grid)


def mr_image(anatomy: Anatomy, grid: sitk.Image, transform: sitk.Transform, rng: np.random.Generator) -> sitk.Image:
    """Dark cortex, teeth and air, bright marrow and fat with their chemical shift, muscle, a coil's shading, noise."""
    moved = sitk.CompositeTransform([anatomy.soft_shift, transform])
    shifted = sitk.TranslationTransform(3, _along_first_axis(grid, rng.uniform(0.2, 0.8)))
    fat = on_grid(anatomy.fat, grid, sitk.CompositeTransform([moved, shifted]))
    soft = _blend(fat, 110.0, 300.0, width=0.2)
    soft = _blend(on_grid(anatomy.air, grid, moved, -1), soft, 5.0, width=0.1)
    cortex = on_grid(anatomy.cortex, grid, transform, _CORTEX)
    opened = sitk.CompositeTransform([anatomy.opening, transform])
    image = _bone(-on_grid(anatomy.upper, grid, opened), soft, cortex, 30.0, 250.0)
    bare = on_grid(anatomy.bare, grid, transform)
    image = _blend(-bare, image, 30.0)
    marrow = -on_grid(anatomy.bare, grid, sitk.CompositeTransform([transform, shifted])) - cortex
    image = image + 250.0 * _step(marrow)
    image = _blend(_crowns(on_grid(anatomy.full, grid, transform), bare), image, 15.0)
    image = gaussian_filter(image, _VOXEL, truncate=4)
    for axis in range(3):
        wave = np.cos(rng.uniform(0, np.pi) + np.linspace(0, rng.uniform(1, np.pi), image.shape[axis]))
        image *= 1 + 0.15 * np.expand_dims(wave.astype(np.float32), [k for k in range(3) if k != axis])
    real, imaginary = (18 * rng.standard_normal(image.shape, dtype=np.float32) for _ in range(2))
    return _image(np.hypot(image + real, imaginary), grid)


def _crowns(full: Array, bare: Array) -> Array:
    """How deep within a tooth, where it stands out of the bone, in mm."""
    return np.where(full < bare - 0.3, -full, -30)


def _bone(depth: Array, around: Array, cortex: Array, outer: float, inner: float) -> Array:
    return _blend(depth - cortex, _blend(depth, around, outer), inner)


def _blend(depth: Array, outside: Array | float, inside: Array | float, width: float = _EDGE) -> Array:
    share = _step(depth, width)
    return (1 - share) * outside + share * inside


def _step(depth: Array, width: float = _EDGE) -> Array:
    """From 0 to 1 within some widths around depth 0."""
    return 1 / (1 + np.exp(np.clip(-depth / width, -30, 30)))


def _along_first_axis(grid: sitk.Image, voxels: float) -> Floats:
    return np.array(grid.GetDirection()).reshape(3, 3)[:, 0] * grid.GetSpacing()[0] * voxels


def _image(values: Array, grid: sitk.Image) -> sitk.Image:
    image = sitk.GetImageFromArray(values.astype(np.float32))
    image.CopyInformation(grid)
    return image
