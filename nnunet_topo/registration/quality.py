"""How good a registration is, as far as the two segmentations can tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813  its customary name
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnunet_topo.registration.shapes import Shape
from nnunet_topo.registration.similarities import Motion

INLIER_MM = 1.5  # surface within this of the other one, after the offset
SKELETON_MM = 2.0  # ridge within this of the other one
LEAST_GAP = 0.15  # the next best pose must be worse by this share
LEAST_INLIERS = 0.8  # right poses have above 0.9, with a condyle and teeth missing; wrong ones up to 0.75
LEAST_CURVATURE = 0.015  # of the flattest direction against the steepest
LEAST_VISIBLE = 0.1
SEEN = 0.5  # weight above which a point is within the other's field of view


@dataclass(frozen=True)
class Quality:
    """What can be said without knowing the truth, and the target registration error where landmarks are given.

    Attributes:
        thickness_offset_mm: by how much the moving bone is thinner all around; None where it was not estimated.
        visible_share: share of both surfaces within the other's field of view; what follows is about that part.
        inlier_share: share of surface within 1.5 mm of the other one, after the offset.
        mask_dice, skeleton_overlap: overlap of masks; share of either medial ridge within 2 mm of the other.
        skeleton_distance_mm, surface_distance_mm: mean distances in both directions, without the offset.
        target_registration_error_mm: mean over common landmarks; each of them in ``landmark_errors_mm``.
        runner_up_gap: by which share the next best, different pose fits worse; inf if there is none, for "combined"
            none within half as much again. See :func:`nnunet_topo.registration.search.runner_up_gap`.
        conditioning: curvature of the loss along its flattest direction against the steepest; near 0 it slides.
        smallest_jacobian: 1 for rigid; at most 0 where a deformation folds.
        rotation_degrees: of the linear part.
        warnings: why the result is not sure, in sentences; empty if it is.
    """

    thickness_offset_mm: float | None
    visible_share: float
    inlier_share: float
    mask_dice: float
    skeleton_overlap: float
    skeleton_distance_mm: float
    surface_distance_mm: float
    runner_up_gap: float
    conditioning: float
    smallest_jacobian: float
    rotation_degrees: float
    converged: bool
    target_registration_error_mm: float | None
    landmark_errors_mm: dict[str, float]
    warnings: list[str]

    def as_dict(self) -> dict[str, object]:
        """For JSON, where infinity is written as null."""
        return {key: None if isinstance(value, float) and not np.isfinite(value) else value
                for key, value in asdict(self).items()}


@dataclass(frozen=True)
class Fit:
    """Distances of what each bone has in the other's field of view."""

    visible_share: float
    inlier_share: float
    mask_dice: float
    skeleton_overlap: float
    skeleton_distance_mm: float
    surface_distance_mm: float


def fit(motion: Motion, parameters: Tensor, fixed: Shape, moving: Shape, offset: float) -> Fit:
    """Measure a pose on up to 8000 points of each surface and ridge."""
    with torch.no_grad():
        apart, visible_share = _surface_distances(motion, parameters, fixed, moving)
        ridge = []
        for points, other in ((motion.forward(parameters, fixed.ridge[:8000]), moving),
                              (motion.backward(parameters, moving.ridge[:8000]), fixed)):
            ridge.append(other.ridge_distance.sample_distance(points)[other.view.depth_mm(points) > 0])
        dice = _dice(motion, parameters, fixed, moving)
    medial = torch.cat(ridge)
    if not len(apart) or not len(medial):
        return Fit(visible_share, 0.0, dice, 0.0, np.inf, np.inf)
    return Fit(visible_share, _inlier_share(apart, offset), dice, float((medial < SKELETON_MM).float().mean()),
               float(medial.mean()), float(apart.abs().mean()))


def inlier_share(motion: Motion, parameters: Tensor, fixed: Shape, moving: Shape, offset: float) -> float:
    """That of :class:`Fit` alone; 0 where nothing is visible."""
    with torch.no_grad():
        apart, _ = _surface_distances(motion, parameters, fixed, moving)
    return _inlier_share(apart, offset) if len(apart) else 0.0


def _surface_distances(motion: Motion, parameters: Tensor, fixed: Shape, moving: Shape) -> tuple[Tensor, float]:
    """By how much the moving surface lies within the fixed one, where the other image sees it, and that share."""
    apart, seen = [], []
    for points, other, sign in ((motion.forward(parameters, fixed.surface[:8000]), moving, 1),
                                (motion.backward(parameters, moving.surface[:8000]), fixed, -1)):
        visible = other.view.depth_mm(points) > 0
        seen.append(visible.float().mean())
        apart.append(sign * other.distance.sample_distance(points)[visible])
    return torch.cat(apart), float(torch.stack(seen).mean())


def _inlier_share(apart: Tensor, offset: float) -> float:
    return float(((apart - offset).abs() < INLIER_MM).float().mean())


def _dice(motion: Motion, parameters: Tensor, fixed: Shape, moving: Shape) -> float:
    """Of voxels of the fixed grid that the moving field of view sees."""
    grid = fixed.occupancy.grid
    points = torch.as_tensor(grid.all_points()[::4], dtype=fixed.surface.dtype, device=fixed.surface.device)
    places = motion.forward(parameters, points)
    seen = (moving.view.depth_mm(places) > 0) & (fixed.view.depth_mm(points) > 0)
    one = fixed.occupancy.sample(points[seen]) > 0.5
    two = moving.occupancy.sample(places[seen]) > 0.5
    return float(2 * (one & two).sum() / (one.sum() + two.sum()).clamp_min(1))


def landmark_errors(
    transform: sitk.Transform, fixed: Mapping[str, NDArray[np.floating]] | None,
    moving: Mapping[str, NDArray[np.floating]] | None,
) -> dict[str, float]:
    """Distance in mm between each moved fixed landmark and the moving one of the same name."""
    if fixed is None or moving is None:
        return {}
    return {name: float(np.linalg.norm(np.array(transform.TransformPoint([float(x) for x in place])) - moving[name]))
            for name, place in fixed.items() if name in moving}


def doubts(quality: Fit, gap: float, conditioning: float, jacobian: float, converged: bool) -> list[str]:
    """Why a result is not sure; empty if it is."""
    reasons = []
    if not converged:
        reasons.append("The search did not come to rest within its iterations.")
    if gap < LEAST_GAP:
        reasons.append(f"A different pose fits nearly as well (its loss is higher by {100 * gap:.0f} % only), so the "
                       "right one cannot be told from the shapes. Look at both, or give more of the bone.")
    if quality.inlier_share < LEAST_INLIERS:
        reasons.append(f"Only {100 * quality.inlier_share:.0f} % of the surfaces fit each other. Perhaps they are not "
                       "the same bone, or not the same part of it, or a segmentation is poor.")
    if conditioning < LEAST_CURVATURE:
        reasons.append("The shapes hardly hold the bone in one direction or around one axis, so that it slides there. "
                       "Give a larger field of view.")
    if jacobian <= 0:
        reasons.append(f"The deformation folds (smallest Jacobian {jacobian:.2f}). Use a stiffer one, or affine.")
    return reasons
