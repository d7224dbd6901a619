"""What one label or region of a case becomes by many settings, and how well it then fits the reference."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.metrics import betti_error, betti_matching_error, dice
from nnunet_topo.metrics.centreline_dice import cl_dice_of_skeletons
from nnunet_topo.metrics.masks import even_box
from nnunet_topo.postprocessing.components import Mask, components, smaller, voxel_counts
from nnunet_topo.postprocessing.operations import close_gaps, drop_specks, fill_holes, keep_pieces
from nnunet_topo.postprocessing.settings import Operations
from nnunet_topo.skeletons import thin

METRICS: dict[str, Callable[[Mask, Mask], tuple[int, ...]]] = {
    "betti_matching_error": betti_matching_error,
    "betti_error": betti_error,
}  # of an 8- or 26-connected foreground: at the other connectivity a thin bridge is not one where it runs diagonally
DEFAULT_METRIC = "betti_matching_error"


class Scores(NamedTuple):
    """How well a mask fits the reference.

    Attributes:
        errors: the metric in each dimension.
        dice: not a number where both masks are empty.
        cl_dice: likewise.
        changed: voxels that differ from the prediction, as a share of the prediction's.
    """

    errors: tuple[int, ...]
    dice: float
    cl_dice: float
    changed: float

    @property
    def error(self) -> int:
        """The sum over dimensions, which the search lowers."""
        return sum(self.errors)


class RegionCase:
    """One label or region of a case. What several settings share is computed once: thinning once for each tau."""

    def __init__(
        self,
        mask: Mask,
        reference: Mask,
        spacing: Sequence[float],
        *,
        probabilities: NDArray[np.floating[Any]] | None = None,
        allowed: Mask | None = None,
        ignore: Mask | None = None,
        lowest_tau: float = 0.5,
    ) -> None:
        """Masks (*S) and the probabilities of the label; ``allowed`` is what it may gain, ``ignore`` is not scored."""
        reach = mask | reference if probabilities is None else mask | reference | (probabilities > lowest_tau)
        box = even_box(reach)  # beyond which no setting and no metric looks
        self.mask, self.reference, self.spacing = mask[box], reference[box], spacing
        self.probabilities = None if probabilities is None else probabilities[box]
        self.allowed = None if allowed is None else allowed[box]
        self.scored = None if ignore is None or not ignore[box].any() else ~ignore[box]
        if self.scored is not None:
            self.reference = self.reference & self.scored
        self._gapless: dict[tuple[float, float, float], Mask] = {}
        self._pieces: dict[tuple[float, float, float], tuple[NDArray[Any], NDArray[np.int64]]] = {}
        self._scores: dict[tuple[str, bytes], Scores] = {}

    def scores(self, operations: Operations, metric: str) -> Scores:
        """The scores of the mask that the operations make; equal masks are scored once."""
        mask = self.processed(operations)
        key = metric, hashlib.sha1(np.packbits(mask).tobytes()).digest()
        if key not in self._scores:
            changed = int(np.count_nonzero(mask ^ self.mask)) / max(int(np.count_nonzero(self.mask)), 1)
            scored = mask if self.scored is None else mask & self.scored
            centreline = cl_dice_of_skeletons(scored, self.reference, thin(scored), self._reference_skeleton)
            self._scores[key] = Scores(METRICS[metric](scored, self.reference), dice(scored, self.reference),
                                       centreline.cl_dice, changed)
        return self._scores[key]

    def processed(self, operations: Operations) -> Mask:
        """As :func:`nnunet_topo.postprocessing.postprocess_labels` makes it where this label alone has settings."""
        specks = operations.specks_smaller_than, operations.specks_peak_below
        first = specks if operations.order == "specks_first" else (0.0, 0.0)
        mask = self._without_gaps(operations.gaps_tau, *first)
        if operations.order == "gaps_first":
            mask = self._without_specks((operations.gaps_tau, *first), mask, *specks)
        mask = fill_holes(mask, self.spacing, smaller_than=operations.holes_smaller_than,
                          tunnels_smaller_than=operations.tunnels_smaller_than, allowed=self.allowed)
        return keep_pieces(mask, pieces=operations.pieces)

    @cached_property
    def _reference_skeleton(self) -> Mask:
        return thin(self.reference)

    def _without_gaps(self, tau: float, size: float, peak: float) -> Mask:
        key = tau, size, peak
        if key not in self._gapless:
            mask = self._without_specks((0.5, 0.0, 0.0), self.mask, size, peak)
            if tau < 0.5:
                assert self.probabilities is not None
                mask = close_gaps(mask, self.probabilities, self.spacing, tau=tau, allowed=self.allowed)
            self._gapless[key] = mask
        return self._gapless[key]

    def _without_specks(self, key: tuple[float, float, float], mask: Mask, size: float, peak: float) -> Mask:
        if size == 0 and peak == 0:
            return mask
        if peak > 0:
            return drop_specks(mask, self.spacing, smaller_than=size, peak_below=peak,
                               probabilities=self.probabilities)
        if key not in self._pieces:
            labels, count = components(mask)
            self._pieces[key] = labels, voxel_counts(labels, count)
        labels, counts = self._pieces[key]
        stays = ~smaller(counts, size, self.spacing)
        stays[0] = False
        return stays[labels]
