"""A smooth deformation after the affine fit, along the surfaces, optionally with the skeleton of the moved map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813  its customary name
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnunet_topo.registration.moved_skeleton import MovedSkeleton
from nnunet_topo.registration.optimiser import descend, minimise
from nnunet_topo.registration.search import Candidate
from nnunet_topo.registration.stages import Pair, Stage
from nnunet_topo.registration.velocity import VelocityMotion

KNOTS_MM = 16.0
STEP_MM = 4.0
STIFFNESS = 0.02  # of the roughness in mm^2, against a surface term of 0 to 1
STAGES = (Stage((("surface", 1),), 3, 2000, 60, 1e-5), Stage((("surface", 1),), 1.2, 4000, 120, 1e-6))


@dataclass(frozen=True)
class Deformed:
    """The deformation: motion and parameters (the last one the offset of thickness), transform, folding, losses."""

    motion: VelocityMotion
    parameters: NDArray[np.float64]
    transform: sitk.Transform
    smallest_jacobian: float
    history: list[tuple[str, float]]


def deform(
    pair: Pair, start: Candidate, *, moved_skeleton: float = 0.0, skeleton_once: float = 0.0,
    stiffness: float = STIFFNESS, progress: bool = False,
) -> Deformed:
    """Minimise surface distance and roughness; then, by a weight, also the moved map's differentiable skeleton.

    ``skeleton_once`` is the weight of the medial ridge that is computed once and moved along, to compare with. A
    stage that would fold is repeated with ten times the stiffness.
    """
    device, dtype = pair.fixed.surface.device, pair.fixed.surface.dtype
    linear = torch.as_tensor(start.parameters[:-1], dtype=dtype, device=device)
    motion = VelocityMotion(start.motion, linear, pair.fixed.occupancy.grid, knots_mm=KNOTS_MM, step_mm=STEP_MM)
    parameters = np.append(np.zeros(motion.count), start.parameters[-1])
    history: list[tuple[str, float]] = []
    for stage in STAGES:
        terms = (*stage.terms, ("ridge", skeleton_once)) if skeleton_once else stage.terms
        data = pair.loss(motion, Stage(terms, stage.scale_mm, stage.points))
        for factor in (1, 10, 100):
            def smooth(vector: Tensor, data=data, weight=stiffness * factor) -> Tensor:
                return data(vector) + weight * motion.roughness(vector[:-1])

            found = minimise(smooth, parameters, iterations=stage.iterations, tolerance=stage.tolerance, device=device,
                             dtype=dtype)
            if _jacobian(motion, found.parameters, linear) > 0:
                break
        parameters = found.parameters
        history += [(f"deformable surface {stage.scale_mm:g} mm", loss) for loss in found.history]
    if moved_skeleton:
        skeleton = MovedSkeleton(pair.fixed, pair.moving)
        finest = smooth

        def both(vector: Tensor) -> Tensor:
            return finest(vector) + moved_skeleton * skeleton(motion, vector[:-1])

        found = descend(both, parameters, iterations=40, rate_mm=0.1, device=device, dtype=dtype, progress=progress)
        parameters = found.parameters
        history += [("deformable skeleton of the moved map", loss) for loss in found.history]
    return Deformed(motion, parameters, motion.to_sitk(parameters[:-1]), _jacobian(motion, parameters, linear), history)


def _jacobian(motion: VelocityMotion, parameters: NDArray[np.float64], like: Tensor) -> float:
    return motion.smallest_jacobian(torch.as_tensor(parameters[:-1], dtype=like.dtype, device=like.device))
