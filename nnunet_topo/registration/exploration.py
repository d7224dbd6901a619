"""Where else the right pose may be: looked for where what the starts led to is in doubt.

Two things go wrong where the field of view cuts deep into the bone. Moments say nothing about the pose, so that no
start leads there; then poses all over the place are tried. Or the bone slides along itself, and the shapes stop it at a
wrong place; then the images are asked a few mm further along.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from nnunet_topo.registration.candidates import OTHER_MM, Candidate, different, hopeful, refine
from nnunet_topo.registration.optimiser import curvature
from nnunet_topo.registration.stages import Pair, Stage
from nnunet_topo.registration.transforms import ARM_MM, LinearMotion

_TRIED = 4000  # poses
_PLAIN_SHARE = 0.6  # of them around no rotation, as scanners agree on the axes; the others around turned ones
_TURN = np.radians(15)  # standard deviation of their rotation around each axis
_SURFACE = (("surface", 1.0),)
# scales, points and iterations grow as the poses become fewer
_GLANCE = Stage(_SURFACE, 3, 150)
_STEPS = ((16, Stage(_SURFACE, 3, 500, 20, 1e-3)), (6, Stage(_SURFACE, 1.2, 1000, 20, 1e-3)))
_FLAT = 0.02  # of the steepest curvature; less than this may slide
_SLIDES_MM = (-12.0, -8.0, -4.0, 4.0, 8.0, 12.0)


def elsewhere(pair: Pair, motions: Sequence[LinearMotion]) -> list[Candidate]:
    """The best of some thousand poses around the starting motions, the first of which is the one without rotation.

    A pose lays one point of the moving medial ridge onto one of the fixed one, so that the bones meet; it is judged by
    the surfaces.
    """
    rng = np.random.default_rng(pair.fixed.seed)
    turned = round((1 - _PLAIN_SHARE) * _TRIED / max(len(motions) - 1, 1))
    candidates = []
    for motion in motions:
        count = _TRIED - turned * (len(motions) - 1) if motion is motions[0] else turned
        poses = _drawn(pair, motion, count, rng)
        with torch.no_grad():
            losses = torch.vmap(pair.loss(motion, _GLANCE), chunk_size=64)(pair.fixed.tensor(poses)).cpu().numpy()
        candidates += [Candidate(motion, poses[i], float(losses[i])) for i in np.argsort(losses)[:200]]
    for count, stage in _STEPS:
        candidates = different(pair, candidates, OTHER_MM, count)
        for candidate in candidates:
            refine(pair, candidate, stage)
    return hopeful(candidates)


def slid(pair: Pair, best: Candidate, shapes: Stage, images: Stage) -> Candidate | None:
    """A better pose, by shapes and images, along the direction in which the shapes are flattest; None without one."""
    surface = pair.fixed.surface
    bend = curvature(pair.loss(best.motion, shapes), best.parameters, step=0.3, device=surface.device,
                     dtype=surface.dtype)[:6, :6]
    stiffness, directions = np.linalg.eigh(bend)
    if stiffness[0] >= _FLAT * stiffness[-1]:
        return None
    quick = replace(images, points=1000, iterations=15, tolerance=1e-4)
    with torch.no_grad():
        lowest = float(pair.loss(best.motion, quick)(pair.fixed.tensor(best.parameters)))
    found = None
    for way in _SLIDES_MM:
        parameters = best.parameters + np.append(way * directions[:, 0], 0)
        candidate = Candidate(best.motion, parameters, history=best.history[:])
        refine(pair, candidate, quick)
        if candidate.loss < lowest:
            found, lowest = candidate, candidate.loss
    if found is not None:  # its way may still be long
        refine(pair, found, replace(images, iterations=2 * images.iterations))
    return found


def _drawn(pair: Pair, motion: LinearMotion, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Parameters (count, 7) of random poses."""
    poses = np.zeros((count, 7))
    poses[:, 3:6] = ARM_MM * rng.normal(0, _TURN, (count, 3))
    here, there = (ridge[torch.as_tensor(rng.integers(len(ridge), size=count), device=ridge.device)]
                   for ridge in (pair.fixed.ridge, pair.moving.ridge))
    moved = torch.vmap(lambda parameters, point: motion.forward(parameters, point[None])[0])
    poses[:, :3] = (there - moved(pair.fixed.tensor(poses[:, :6]), here)).cpu().double().numpy()
    return poses
