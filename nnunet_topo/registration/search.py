"""The search from several starts: all of them are refined to the finest scale, and the best one is kept.

A start must not be dropped at a coarse scale: of a mandible cut by its field of view, a skeleton that is turned over
may fit better there, and only the fine surface tells. Starts that have met are refined once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from nnunet_topo.registration.optimiser import minimise
from nnunet_topo.registration.stages import THICKEST_OFFSET_MM, Pair, Stage
from nnunet_topo.registration.transforms import LinearMotion, starting_rotations

_SAME_MM = 1.0  # poses nearer than this, as a mean over the surface, have met
_OTHER_MM = 5.0  # poses further than this are different answers


@dataclass
class Candidate:
    """A pose: motion with parameters, the last of which is the offset; its loss at a stage and how it came there."""

    motion: LinearMotion
    parameters: NDArray[np.float64]
    loss: float = np.inf
    converged: bool = True
    stage: Stage | None = None
    history: list[tuple[str, float]] = field(default_factory=list)

    def points(self, pair: Pair) -> NDArray[np.float64]:
        """Where some of the fixed surface goes, to compare poses."""
        return self.motion.forward(_vector(pair, self.parameters[:-1]), pair.fixed.surface[:200]).cpu().double().numpy()


def search(pair: Pair, stages: Sequence[Stage], progress: bool) -> list[Candidate]:
    """All different rigid poses that the starts lead to, the best one first."""
    device, dtype = pair.fixed.surface.device, pair.fixed.surface.dtype
    candidates = [
        Candidate(LinearMotion("rigid", rotation, pair.fixed.centre, pair.moving.centre, device, dtype), np.zeros(7))
        for rotation in starting_rotations(pair.fixed.axes, pair.moving.axes)
    ]
    with tqdm(total=len(stages), desc="Registering", unit="scale", disable=not progress) as bar:
        for stage in stages:
            for candidate in candidates:
                refine(pair, candidate, stage)
            candidates = _different(pair, candidates, _SAME_MM)
            bar.update()
            bar.set_postfix_str(f"{len(candidates)} pose(s), loss {candidates[0].loss:.3f}")
    return _different(pair, candidates, _OTHER_MM)


def refine(pair: Pair, candidate: Candidate, stage: Stage) -> None:
    """Minimise one stage from where the candidate is."""
    if stage.terms[0][0] == "surface":
        candidate.parameters[-1] = _offset(pair, candidate)
    device, dtype = pair.fixed.surface.device, pair.fixed.surface.dtype
    found = minimise(pair.loss(candidate.motion, stage), candidate.parameters, iterations=stage.iterations,
                     tolerance=stage.tolerance, device=device, dtype=dtype)
    candidate.parameters, candidate.loss, candidate.converged = found.parameters, found.loss, found.converged
    candidate.stage = stage
    name = f"{'+'.join(term for term, _ in stage.terms)} {stage.scale_mm:g} mm"
    candidate.history += [(name, loss) for loss in found.history]


def runner_up_gap(pair: Pair, poses: Sequence[Candidate]) -> float:
    """By which share of the first pose's misfit the second one's loss is higher; inf where there is one pose.

    Of mutual information, which is no misfit and whose loss stays near 1: by which share the second one shares less.
    Where both are in the loss, the misfit is the first pose's without the mutual information.
    """
    if len(poses) < 2:
        return float(np.inf)
    best, second = poses[:2]
    assert best.stage is not None
    misfits = tuple(term for term in best.stage.terms if term[0] != "intensity")
    if not misfits:
        return (1 - best.loss) / max(1 - second.loss, 1e-9) - 1
    with torch.no_grad():
        misfit = float(pair.loss(best.motion, replace(best.stage, terms=misfits))(_vector(pair, best.parameters)))
    return (second.loss - best.loss) / max(misfit, 1e-9)


def _offset(pair: Pair, candidate: Candidate) -> float:
    """The median by which the moving surface lies within the fixed one."""
    vector = _vector(pair, candidate.parameters[:-1])
    forth = pair.moving.distance.sample_distance(candidate.motion.forward(vector, pair.fixed.surface[:2000]))
    back = pair.fixed.distance.sample_distance(candidate.motion.backward(vector, pair.moving.surface[:2000]))
    return float(torch.cat([forth, -back]).median().clamp(-THICKEST_OFFSET_MM, THICKEST_OFFSET_MM))


def _different(pair: Pair, candidates: list[Candidate], apart_mm: float) -> list[Candidate]:
    """The best one of each group of poses that are nearer to each other than a distance, in order of their losses."""
    kept: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda one: one.loss):
        points = candidate.points(pair)
        if all(np.linalg.norm(points - other.points(pair), axis=1).mean() > apart_mm for other in kept):
            kept.append(candidate)
    return kept


def _vector(pair: Pair, parameters: NDArray[np.float64]) -> torch.Tensor:
    like = pair.fixed.surface
    return torch.as_tensor(parameters, dtype=like.dtype, device=like.device)
