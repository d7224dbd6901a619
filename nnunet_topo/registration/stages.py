"""Coarse to fine: which similarity at which scale, for each name that ``by`` may have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import SimpleITK as sitk  # noqa: N813  its customary name
import torch
from torch import Tensor

from nnunet_topo.registration import similarities
from nnunet_topo.registration.intensities import EDGE_MM, Intensities
from nnunet_topo.registration.optimiser import Loss
from nnunet_topo.registration.shapes import Shape, around
from nnunet_topo.registration.similarities import Motion
from nnunet_topo.registration.volumes import Volume

THICKEST_OFFSET_MM = 3.0  # by which one modality may be thinner than the other, all around


@dataclass(frozen=True)
class Stage:
    """One minimisation: terms (name, weight), scale in mm, points of each direction, most iterations, tolerance.

    Masks and intensities, which are smoother, are sampled at three voxels for every two points.
    """

    terms: tuple[tuple[str, float], ...]
    scale_mm: float
    points: int = 4000
    iterations: int = 60
    tolerance: float = 1e-6


def _ladder(terms: dict[str, float], *steps: tuple[float, int]) -> tuple[Stage, ...]:
    return tuple(Stage(tuple(terms.items()), scale, points, 30 if scale > 4 else 60, 1e-4 if scale > 4 else 1e-6)
                 for scale, points in steps)


SIMILARITIES: Mapping[str, tuple[Stage, ...]] = MappingProxyType({
    "combined": (*_ladder({"ridge": 1}, (20, 800), (8, 1500)), *_ladder({"surface": 1}, (3, 2000), (1.2, 4000))),
    "skeleton": _ladder({"ridge": 0.5, "skeleton": 0.5}, (20, 800), (8, 1500), (3, 3000)),
    "mask": _ladder({"mask": 1}, (6, 8000), (3, 8000), (1.5, 8000)),
    "surface": _ladder({"surface": 1}, (20, 800), (8, 1500), (3, 2000), (1.2, 4000)),
    "intensity": _ladder({"intensity": 1}, (6, 8000), (3, 8000), (1.5, 4000)),
})
_WITH_IMAGES = Stage((("surface", 1), ("intensity", 2)), 1.2)  # the last one of "combined"


def stages_of(by: str, images: bool, fine: bool = False) -> tuple[Stage, ...]:
    """The stages of a similarity; "combined" ends with both images where they are there.

    ``fine`` leaves out what comes from far away, for a start that is already good, as similarity and affine have.
    """
    stages = SIMILARITIES[by][-2 if fine else 0:]
    return (*stages, _WITH_IMAGES) if by == "combined" and images else stages


class Pair:
    """Two shapes, their images if given, and the losses between them."""

    def __init__(
        self, fixed: Shape, moving: Shape, fixed_image: sitk.Image | None = None, moving_image: sitk.Image | None = None
    ) -> None:
        self.fixed, self.moving = fixed, moving
        self._images = [image for image in (fixed_image, moving_image) if image is not None]
        self._kept: dict[tuple[str, float, int], Callable[[Motion, Tensor], Tensor]] = {}
        self._sampled: dict[float, list[tuple[Volume, Tensor]]] = {}

    @property
    def has_images(self) -> bool:
        """Whether both images were given."""
        return len(self._images) == 2

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
        key = (name, stage.scale_mm, 3 * stage.points // 2)
        if key not in self._kept:
            self._kept[key] = {"mask": self._mask, "intensity": self._intensity}[name](*key[1:])
        return self._kept[key](motion, parameters[:-1])

    def _mask(self, scale: float, voxels: int) -> Callable[[Motion, Tensor], Tensor]:
        one, two = self.fixed.blurred(scale), self.moving.blurred(scale)
        points = around(self.fixed, max(EDGE_MM, 2 * scale))[:voxels]

        def term(motion: Motion, parameters: Tensor) -> Tensor:
            return similarities.soft_dice(motion, parameters, self.moving, fixed_blurred=one, moving_blurred=two,
                                          points=points)

        return term

    @cached_property
    def _intensities(self) -> list[Intensities]:
        return [Intensities(image, shape) for image, shape in zip(self._images, (self.fixed, self.moving), strict=True)]

    def _intensity(self, scale: float, voxels: int) -> Callable[[Motion, Tensor], Tensor]:
        if not self.has_images:
            raise ValueError("by='intensity' compares the images themselves; give fixed_image and moving_image "
                             "(-fixed_image, -moving_image), or another similarity.")
        if scale not in self._sampled:
            self._sampled[scale] = [(image.smoothed(scale), image.points(scale)) for image in self._intensities]
        (one, here), (two, there) = self._sampled[scale]
        here, there = here[:voxels], there[:voxels]
        values, other_values = one.sample(here), two.sample(there)

        def term(motion: Motion, parameters: Tensor) -> Tensor:
            forth, back = motion.forward(parameters, here), motion.backward(parameters, there)
            return (similarities.mutual_information(values, two, forth, self.moving)
                    + similarities.mutual_information(other_values, one, back, self.fixed)) / 2

        return term
