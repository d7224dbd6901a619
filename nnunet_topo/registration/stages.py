"""Coarse to fine: which similarity at which scale, for each name that ``by`` may have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813  its customary name
import torch
from torch import Tensor

from nnunet_topo.registration import similarities
from nnunet_topo.registration.optimiser import Loss
from nnunet_topo.registration.shapes import Shape
from nnunet_topo.registration.similarities import Motion
from nnunet_topo.registration.volumes import Grid, Volume

THICKEST_OFFSET_MM = 3.0  # by which one modality may be thinner than the other, all around
_EDGE_MM = 14.0  # around the bone, for overlap and intensities
_SAMPLES = 12_000


@dataclass(frozen=True)
class Stage:
    """One minimisation: terms (name, weight), scale in mm, points of each direction, most iterations, tolerance."""

    terms: tuple[tuple[str, float], ...]
    scale_mm: float
    points: int = 4000
    iterations: int = 60
    tolerance: float = 1e-6


def _ladder(terms: dict[str, float], *steps: tuple[float, int]) -> tuple[Stage, ...]:
    return tuple(Stage(tuple(terms.items()), scale, points, 30 if scale > 4 else 60, 1e-4 if scale > 4 else 1e-6)
                 for scale, points in steps)


SIMILARITIES: dict[str, tuple[Stage, ...]] = {
    "combined": (*_ladder({"ridge": 1}, (20, 800), (8, 1500)), *_ladder({"surface": 1}, (3, 2000), (1.2, 4000))),
    "skeleton": _ladder({"ridge": 0.5, "skeleton": 0.5}, (20, 800), (8, 1500), (3, 3000)),
    "mask": _ladder({"mask": 1}, (6, 0), (3, 0), (1.5, 0)),
    "surface": _ladder({"surface": 1}, (20, 800), (8, 1500), (3, 2000), (1.2, 4000)),
    "intensity": _ladder({"intensity": 1}, (6, 0), (3, 0), (1.5, 0)),
}
FINE: dict[str, tuple[Stage, ...]] = {  # from a start that is already good, as similarity and affine are
    name: stages[-2:] for name, stages in SIMILARITIES.items()
}


class Pair:
    """Two shapes, their images if given, and the losses between them."""

    def __init__(
        self, fixed: Shape, moving: Shape, fixed_image: sitk.Image | None = None, moving_image: sitk.Image | None = None
    ) -> None:
        self.fixed, self.moving = fixed, moving
        self._images = (fixed_image, moving_image)
        self._kept: dict[tuple[str, float], tuple] = {}

    def loss(self, motion: Motion, stage: Stage) -> Loss:
        """Of the motion's parameters with, as the last one, the offset of thickness in mm."""

        def of(parameters: Tensor) -> Tensor:
            terms = [weight * self._term(name, motion, parameters, stage) for name, weight in stage.terms]
            return torch.stack(terms).sum()

        return of

    def _term(self, name: str, motion: Motion, parameters: Tensor, stage: Stage) -> Tensor:
        both = (motion, parameters[:-1], self.fixed, self.moving)
        if name == "surface":
            return similarities.surface_offset(*both, scale=stage.scale_mm, points=stage.points, offset=parameters[-1])
        if name in ("ridge", "skeleton"):
            chamfer = similarities.medial_ridge if name == "ridge" else similarities.curve_skeleton
            return chamfer(*both, scale=stage.scale_mm, points=stage.points)
        term = self._once(name, stage.scale_mm, {"mask": self._mask, "intensity": self._intensity}[name])
        return term(motion, parameters[:-1])

    def _once(self, name: str, scale: float, make: Callable[[float], Callable]) -> Callable:
        if (name, scale) not in self._kept:
            self._kept[name, scale] = (make(scale),)
        return self._kept[name, scale][0]

    def _mask(self, scale: float) -> Callable[[Motion, Tensor], Tensor]:
        one, two = self.fixed.blurred(scale), self.moving.blurred(scale)
        points = self._around_fixed(max(_EDGE_MM, 2 * scale))

        def term(motion: Motion, parameters: Tensor) -> Tensor:
            return similarities.soft_dice(motion, parameters, self.moving, fixed_blurred=one, moving_blurred=two,
                                          points=points)

        return term

    def _intensity(self, scale: float) -> Callable[[Motion, Tensor], Tensor]:
        if None in self._images:
            raise ValueError("by='intensity' compares the images themselves; give fixed_image and moving_image "
                             "(-fixed_image, -moving_image), or another similarity.")
        one, two = (self._smoothed(image, scale) for image in self._images if image is not None)
        points = self._around_fixed(_EDGE_MM)
        points = points[self.fixed.view.depth_mm(points) > 0]
        values = one.sample(points)

        def term(motion: Motion, parameters: Tensor) -> Tensor:
            return similarities.mutual_information(motion, parameters, self.moving, fixed_values=values,
                                                   moving_image=two, points=points)

        return term

    def _around_fixed(self, reach_mm: float) -> Tensor:
        """Voxels (N, 3) of the fixed coarse grid within a distance of the bone; a seeded sample of them."""
        grid = self.fixed.ridge_distance.grid
        points = torch.as_tensor(grid.all_points(), dtype=self.fixed.surface.dtype, device=self.fixed.surface.device)
        near = points[self.fixed.distance.sample_distance(points) < reach_mm]
        order = np.random.default_rng(self.fixed.seed).permutation(len(near))[:_SAMPLES]
        return near[torch.as_tensor(order, device=near.device)]

    def _smoothed(self, image: sitk.Image, scale: float) -> Volume:
        """An image with the values from its 1st to its 99th percentile as 0 to 1, smoothed and thinned out."""
        smooth = sitk.SmoothingRecursiveGaussian(sitk.Cast(image, sitk.sitkFloat32), scale / 2)
        shrink = [max(1, int(scale / 2 / step)) for step in image.GetSpacing()]
        smooth = sitk.Shrink(smooth, shrink)
        values = sitk.GetArrayFromImage(smooth)
        low, high = np.percentile(values, (1, 99))
        scaled = np.clip((values - low) / max(high - low, 1e-6), 0, 1)
        return Volume(scaled, Grid.of(smooth), self.fixed.surface.device, self.fixed.surface.dtype)
