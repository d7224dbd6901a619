"""The choice among settings that were tried on the same images."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.postprocessing.candidates import Scores
from nnunet_topo.postprocessing.settings import Operations

Table = Mapping[Operations, Sequence[Scores]]  # holds what does nothing
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Tolerances:
    """By how much the mean Dice and the mean clDice may fall for a lower topological error."""

    dice: float = 0.002
    cl_dice: float = 0.01


def choose(table: Table, tolerances: Tolerances, images: Sequence[int]) -> Operations:
    """The gentlest settings whose mean error on some images is as good as the best, by the one-standard-error rule.

    Settings count whose mean Dice and clDice are not below the prediction's by more than the tolerances. Of these the
    best is the one of the lowest mean error. As good are those whose mean is higher by no more than one standard error
    of this difference, which is taken image by image: how hard an image is counts on both sides and cancels. The
    gentlest is the one that changes the fewest voxels.
    """
    return _Scored(table).choose(tolerances, images)


def leave_one_out(table: Table, tolerances: Tolerances) -> list[Operations]:
    """For each image the settings that are chosen on all others; with a single image nothing is chosen."""
    count = len(table[Operations()])
    if count == 1:
        return [Operations()]
    scored = _Scored(table)
    return [scored.choose(tolerances, [other for other in range(count) if other != image]) for image in range(count)]


def best(table: Table, tolerances: Tolerances, count: int) -> list[Operations]:
    """The settings of the lowest mean errors within the tolerances, gentler ones first, no two of the same scores."""
    scored = _Scored(table)
    images = list(range(len(table[Operations()])))
    different: dict[tuple[Scores, ...], Operations] = {}
    for place in scored.ranked(images):
        if len(different) < count and scored.within(tolerances, images)[place]:
            different.setdefault(tuple(table[scored.operations[place]]), scored.operations[place])
    return list(different.values())


class _Scored:
    """A table as arrays (settings, images)."""

    def __init__(self, table: Table) -> None:
        self.operations = list(table)
        self.nothing = self.operations.index(Operations())
        self.errors, self.dice, self.cl_dice, self.changed = (
            np.array([[getattr(score, name) for score in scores] for scores in table.values()], float)
            for name in ("error", "dice", "cl_dice", "changed"))  # fmt: skip

    def choose(self, tolerances: Tolerances, images: Sequence[int]) -> Operations:
        within = self.within(tolerances, images)
        place = next(place for place in self.ranked(images) if within[place])
        more = self.errors[:, images] - self.errors[place, images]
        as_good = within & (more.mean(1) <= _standard_error(more) + _ROUNDING)
        gentlest = np.lexsort((self.errors[:, images].mean(1), self.changed[:, images].mean(1), ~as_good))[0]
        return self.operations[gentlest]

    def within(self, tolerances: Tolerances, images: Sequence[int]) -> NDArray[np.bool_]:
        """Which settings lower mean Dice and mean clDice by no more than the tolerances."""
        result = np.ones(len(self.operations), np.bool_)
        for shares, tolerance in ((self.dice, tolerances.dice), (self.cl_dice, tolerances.cl_dice)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # both masks are empty in all images
                means = np.nanmean(shares[:, images], axis=1)
            result &= ~(means[self.nothing] - means > tolerance + _ROUNDING)  # not a number is not a loss
        return result

    def ranked(self, images: Sequence[int]) -> NDArray[np.int64]:
        """Places of the settings, those of lower errors first, of equal ones those that change fewer voxels."""
        return np.lexsort((self.changed[:, images].mean(1), self.errors[:, images].mean(1)))


def _standard_error(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the mean of each row; 0 for a single image."""
    count = values.shape[1]
    return values.std(axis=1, ddof=1) / np.sqrt(count) if count > 1 else np.zeros(len(values))
