"""The choice among settings that were tried on the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.postprocessing.candidates import Scores
from nnunet_topo.postprocessing.settings import Operations
from nnunet_topo.statistics import mean

Table = Mapping[Operations, Sequence[Scores]]


@dataclass(frozen=True)
class Tolerances:
    """By how much the mean Dice and the mean clDice may fall for a lower topological error."""

    dice: float = 0.002
    cl_dice: float = 0.01


def choose(table: Table, tolerances: Tolerances, images: Sequence[int]) -> Operations:
    """The gentlest settings whose mean error on some images is as good as the best, by the one-standard-error rule.

    Settings count whose mean Dice and clDice are not below the prediction's by more than the tolerances. Of these the
    best is the one of the lowest mean error. As good are those whose mean is higher by no more than the standard error
    of the best one's mean over the images. The gentlest is the one that changes the fewest voxels.
    """
    allowed = [operations for operations in table if within(table, operations, tolerances, images)]
    errors = {operations: _errors(table[operations], images) for operations in allowed}
    changed = {operations: float(np.mean([table[operations][image].changed for image in images]))
               for operations in allowed}
    best = min(allowed, key=lambda operations: (errors[operations].mean(), changed[operations]))
    enough = errors[best].mean() + _standard_error(errors[best]) + 1e-12
    return min((operations for operations in allowed if errors[operations].mean() <= enough),
               key=lambda operations: (changed[operations], errors[operations].mean()))


def within(table: Table, operations: Operations, tolerances: Tolerances, images: Sequence[int]) -> bool:
    """Whether settings lower mean Dice and mean clDice by no more than the tolerances."""
    raw, here = table[Operations()], table[operations]
    # not a number, where both masks are empty in all images, is not a loss
    return not any(mean([getattr(raw[image], name) for image in images])
                   - mean([getattr(here[image], name) for image in images]) > getattr(tolerances, name) + 1e-12
               for name in ("dice", "cl_dice"))  # fmt: skip


def leave_one_out(table: Table, tolerances: Tolerances) -> list[Operations]:
    """For each image the settings that are chosen on all others; with a single image nothing is chosen."""
    count = len(table[Operations()])
    return [choose(table, tolerances, [other for other in range(count) if other != image]) if count > 1
            else Operations() for image in range(count)]  # fmt: skip


def _errors(scores: Sequence[Scores], images: Sequence[int]) -> NDArray[np.float64]:
    return np.array([scores[image].error for image in images], float)


def _standard_error(errors: NDArray[np.float64]) -> float:
    """Of the mean; 0 for a single image."""
    return float(errors.std(ddof=1) / np.sqrt(len(errors))) if len(errors) > 1 else 0.0

