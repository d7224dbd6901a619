"""How well a moved bone fits another: terms that are 0 for a perfect fit and send gradients to the motion.

Each takes a motion with its parameters, the two shapes and a scale in mm, and returns a scalar. Distances go through
the robust function of S. Geman and D. McClure (1987), r^2 / (r^2 + s^2), so that what has no counterpart (a missing
condyle, teeth) stops pulling. A point that leaves the other's field of view counts by ``FLOOR`` instead of 1: with 0,
moving everything out of sight would be a perfect fit.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from nnunet_topo.registration.shapes import Shape
from nnunet_topo.registration.volumes import Volume

FLOOR = 0.12


class Motion(Protocol):
    """Maps points (N, 3) between the two spaces."""

    def forward(self, parameters: Tensor, points: Tensor) -> Tensor:
        """Fixed to moving."""

    def backward(self, parameters: Tensor, points: Tensor) -> Tensor:
        """Moving to fixed."""


def geman_mcclure(residual: Tensor, scale: float) -> Tensor:
    """r^2 / (r^2 + s^2), from 0 to 1."""
    squared = residual.square()
    return squared / (squared + scale**2)


def surface_offset(
    motion: Motion, parameters: Tensor, fixed: Shape, moving: Shape, *, scale: float, points: int, offset: Tensor
) -> Tensor:
    """Distance between the surfaces in both directions, where the moving bone is thinner by ``offset`` mm all around.

    A fixed surface point then lies ``offset`` outside of the moving bone, and a moving one as deep in the fixed bone.
    """
    forth, forth_weight = _moved(motion.forward(parameters, fixed.surface[:points]), moving)
    back, back_weight = _moved(motion.backward(parameters, moving.surface[:points]), fixed)
    return (_mean(geman_mcclure(moving.distance.sample_distance(forth) - offset, scale), forth_weight)
            + _mean(geman_mcclure(fixed.distance.sample_distance(back) + offset, scale), back_weight)) / 2


def medial_ridge(
    motion: Motion, parameters: Tensor, fixed: Shape, moving: Shape, *, scale: float, points: int
) -> Tensor:
    """Chamfer distance between the medial ridges in both directions, whatever the bones' thickness."""
    return _chamfer(motion, parameters, (fixed, fixed.ridge[:points], fixed.ridge_distance),
                    (moving, moving.ridge[:points], moving.ridge_distance), scale)


def curve_skeleton(
    motion: Motion, parameters: Tensor, fixed: Shape, moving: Shape, *, scale: float, points: int
) -> Tensor:
    """The same between the curve skeletons by thinning."""
    return _chamfer(motion, parameters, (fixed, fixed.skeleton[:points], fixed.skeleton_distance),
                    (moving, moving.skeleton[:points], moving.skeleton_distance), scale)


def soft_dice(
    motion: Motion, parameters: Tensor, moving: Shape, *, fixed_blurred: Volume, moving_blurred: Volume, points: Tensor
) -> Tensor:
    """One minus the soft Dice of blurred masks at fixed ``points`` (N, 3), weighted by what the moving image sees."""
    places, weight = _moved(motion.forward(parameters, points), moving)
    one, two = fixed_blurred.sample(points), moving_blurred.sample(places)
    both = (weight * (one * one + two * two)).sum()
    return 1 - 2 * (weight * one * two).sum() / both.clamp_min(1e-6)


def mutual_information(values: Tensor, image: Volume, places: Tensor, other: Shape, *, bins: int = 32) -> Tensor:
    """Two minus the normalised mutual information (1 to 2) of ``values`` (N,) and the other image at ``places`` (N, 3).

    Both are scaled to 0 to 1. The joint histogram is by linear windows (F. Maes et al., IEEE TMI 16, 1997; C. Studholme
    et al., Pattern Recognition 32, 1999), weighted by the other field of view.
    """
    weight = other.view.weight(places, FLOOR)
    joint = _windows(values, bins, torch.ones_like(values)).T @ _windows(image.sample(places), bins, weight)
    joint = joint / joint.sum() + 1e-10
    entropy = -(joint * joint.log()).sum()
    one, two = joint.sum(1), joint.sum(0)
    return 2 - (-(one * one.log()).sum() - (two * two.log()).sum()) / entropy


def _windows(values: Tensor, bins: int, weight: Tensor) -> Tensor:
    """The weight (N,) of each value, shared by the two bins on either side of it: (N, bins)."""
    place = values.clamp(0, 1) * (bins - 1)
    below = place.detach().long().clamp_max(bins - 2)
    share = place - below
    return weight.new_zeros(len(values), bins).scatter(
        1, torch.stack([below, below + 1], 1), torch.stack([weight * (1 - share), weight * share], 1))


def _chamfer(
    motion: Motion, parameters: Tensor, fixed: tuple[Shape, Tensor, Volume], moving: tuple[Shape, Tensor, Volume],
    scale: float,
) -> Tensor:
    forth, forth_weight = _moved(motion.forward(parameters, fixed[1]), moving[0])
    back, back_weight = _moved(motion.backward(parameters, moving[1]), fixed[0])
    return (_mean(geman_mcclure(moving[2].sample_distance(forth), scale), forth_weight)
            + _mean(geman_mcclure(fixed[2].sample_distance(back), scale), back_weight)) / 2


def _moved(points: Tensor, other: Shape) -> tuple[Tensor, Tensor]:
    return points, other.view.weight(points, FLOOR)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum()
