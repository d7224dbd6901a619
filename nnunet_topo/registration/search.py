"""The search from several starts: all of them are refined to the finest scale, and the best one is kept.

A start must not be dropped at a coarse scale: of a mandible cut by its field of view, a skeleton that is turned over
may fit better there, and only the fine surface tells. Starts that have met are refined once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from tqdm import tqdm

from nnunet_topo.registration.candidates import OTHER_MM, Candidate, different, hopeful, refine
from nnunet_topo.registration.exploration import elsewhere, slid
from nnunet_topo.registration.quality import inlier_share
from nnunet_topo.registration.stages import SIMILARITIES, Pair, stages_of
from nnunet_topo.registration.transforms import LinearMotion, starting_rotations

_SAME_MM = 1.0  # poses nearer than this, as a mean over the surface, have met
_DOUBTFUL_INLIERS, _DOUBTFUL_GAP = 0.85, 0.3  # stricter than what makes a result not sure; see quality.py


def search(pair: Pair, by: str, progress: bool) -> list[Candidate]:
    """All different rigid poses that the starts lead to, the best one first.

    For "combined" the pose that the shapes give is looked at before the images refine it: where it fits badly or a
    different one fits nearly as well, others are tried all over the place.
    """
    device, dtype = pair.fixed.surface.device, pair.fixed.surface.dtype
    starts = [LinearMotion("rigid", rotation, pair.fixed.centre, pair.moving.centre, device, dtype)
              for rotation in starting_rotations(pair.fixed.axes, pair.moving.axes)]
    candidates = [Candidate(start, np.zeros(7)) for start in starts]
    stages = stages_of(by, pair.has_images)
    last_of_shapes = SIMILARITIES[by][-1] if by == "combined" else None
    with tqdm(total=len(stages), desc="Registering", unit="scale", disable=not progress) as bar:
        for stage in stages:
            for candidate in candidates:
                refine(pair, candidate, stage)
            if stage is last_of_shapes and _doubtful(pair, candidates):
                found = elsewhere(pair, starts)
                for candidate in found:
                    refine(pair, candidate, stage)
                candidates += found
            candidates = different(pair, candidates, _SAME_MM)
            if stage is last_of_shapes:
                candidates = hopeful(candidates)
            bar.update()
            bar.set_postfix_str(f"{len(candidates)} pose(s), loss {candidates[0].loss:.3f}")
    if last_of_shapes is not None and pair.has_images:
        better = slid(pair, candidates[0], last_of_shapes, stages[-1])
        candidates += [better] if better else []
    return different(pair, candidates, OTHER_MM)


def _doubtful(pair: Pair, candidates: Sequence[Candidate]) -> bool:
    poses = different(pair, candidates, OTHER_MM)
    best = poses[0]
    vector = pair.fixed.tensor(best.parameters)
    inliers = inlier_share(best.motion, vector[:-1], pair.fixed, pair.moving, float(vector[-1]))
    return inliers < _DOUBTFUL_INLIERS or runner_up_gap(pair, poses) < _DOUBTFUL_GAP


def runner_up_gap(pair: Pair, poses: Sequence[Candidate]) -> float:
    """By which share of the first pose's misfit the second one's loss is higher; inf where there is one pose.

    Of mutual information, which is not a misfit and whose loss stays near 1: by which share the second one shares less.
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
        misfit = float(pair.loss(best.motion, replace(best.stage, terms=misfits))(pair.fixed.tensor(best.parameters)))
    return (second.loss - best.loss) / max(misfit, 1e-9)

