"""Poses on their way to the best one: what they are, how they are refined, which of them are different."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from nnunet_topo.registration.optimiser import minimise
from nnunet_topo.registration.stages import THICKEST_OFFSET_MM, Pair, Stage
from nnunet_topo.registration.transforms import LinearMotion

OTHER_MM = 5.0  # poses further apart than this, as a mean over the surface, are different answers
HOPELESS = 1.5  # a pose whose shapes fit worse than the best one's by this factor is not followed further


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
        with torch.no_grad():
            points = self.motion.forward(pair.fixed.tensor(self.parameters[:-1]), pair.fixed.surface[:200])
        return points.cpu().double().numpy()


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


def different(
    pair: Pair, candidates: Iterable[Candidate], apart_mm: float, most: int | None = None
) -> list[Candidate]:
    """The best one of each group of poses that are nearer to each other than a distance, in order of their losses."""
    kept: list[Candidate] = []
    places: list[NDArray[np.float64]] = []
    for candidate in sorted(candidates, key=lambda one: one.loss):
        if most is not None and len(kept) == most:
            break
        points = candidate.points(pair)
        if not places or np.linalg.norm(np.array(places) - points, axis=2).mean(axis=1).min() > apart_mm:
            kept.append(candidate)
            places.append(points)
    return kept


def hopeful(candidates: list[Candidate]) -> list[Candidate]:
    """Those whose loss, of shapes, is not far above the lowest one."""
    lowest = min(candidate.loss for candidate in candidates)
    return [candidate for candidate in candidates if candidate.loss <= HOPELESS * lowest]


def _offset(pair: Pair, candidate: Candidate) -> float:
    """The median by which the moving surface lies within the fixed one."""
    vector = pair.fixed.tensor(candidate.parameters[:-1])
    forth = pair.moving.distance.sample_distance(candidate.motion.forward(vector, pair.fixed.surface[:2000]))
    back = pair.fixed.distance.sample_distance(candidate.motion.backward(vector, pair.moving.surface[:2000]))
    return float(torch.cat([forth, -back]).median().clamp(-THICKEST_OFFSET_MM, THICKEST_OFFSET_MM))
