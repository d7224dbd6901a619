"""What one label or region of a case becomes by many settings, and how well it then fits the reference."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.metrics import betti_error, betti_matching_error
from nnunet_topo.metrics.masks import even_box
from nnunet_topo.postprocessing.components import Mask
from nnunet_topo.postprocessing.operations import close_gaps, fill_holes
from nnunet_topo.postprocessing.parts import Parts, Reference
from nnunet_topo.postprocessing.settings import Operations

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
    """One label or region of a case. Settings that differ in sizes only are scored by one table of parts."""

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
        self.mask, self.spacing = mask[box], spacing
        self.probabilities = None if probabilities is None else probabilities[box]
        self.allowed = None if allowed is None else allowed[box]
        self.scored = None if ignore is None or not ignore[box].any() else ~ignore[box]
        self.reference = Reference(reference[box] if self.scored is None else reference[box] & self.scored)
        self._whole = self._parts_of(self.mask)
        self._latest: tuple[tuple[float, bytes], Parts] | None = None
        self._scored_parts: dict[bytes, Parts] = {}

    def all_scores(self, candidates: Sequence[Operations], metric: str) -> list[Scores]:
        """The scores of each of the settings; those of the same gaps are scored together."""
        order = sorted(range(len(candidates)), key=lambda place: (
            candidates[place].gaps_tau, candidates[place].order, candidates[place].specks_smaller_than))
        scores = {place: self.scores(candidates[place], metric) for place in order}
        return [scores[place] for place in range(len(candidates))]

    def scores(self, operations: Operations, metric: str) -> Scores:
        """The scores of the mask that the operations make."""
        parts, kept = self._processed(operations)
        if self.scored is None:
            fit, changed = parts.fit(kept), parts.changed(kept)
        else:
            mask = parts.mask_of(kept)
            scored = self._parts_of_scored(mask & self.scored)
            fit, changed = scored.fit(scored.foreground), int(np.count_nonzero(mask ^ self.mask))
        voxels = int(self._whole.voxels[self._whole.foreground].sum())
        return Scores(fit.errors[metric], fit.dice, fit.cl_dice, changed / max(voxels, 1))

    def processed(self, operations: Operations) -> Mask:
        """As :func:`nnunet_topo.postprocessing.postprocess_labels` makes it where this label alone has settings."""
        parts, kept = self._processed(operations)
        return parts.mask_of(kept)

    def _processed(self, operations: Operations) -> tuple[Parts, Mask]:
        """The parts of the mask after gaps are closed, or tunnels, and which of them the result has."""
        parts, kept = self._whole, self._whole.foreground
        if operations.order == "specks_first":
            kept = self._without_specks(parts, operations)
        if operations.gaps_tau < 0.5:
            parts = self._with_gaps_closed(kept, operations.gaps_tau)
            kept = parts.foreground
        if operations.order == "gaps_first":
            kept = self._without_specks(parts, operations)
        kept = parts.without_holes(kept, self.spacing, operations.holes_smaller_than)
        if operations.tunnels_smaller_than > 0:
            mask = fill_holes(parts.mask_of(kept), self.spacing, allowed=self.allowed,
                              tunnels_smaller_than=operations.tunnels_smaller_than)  # fmt: skip
            parts = self._parts_of(mask)
            kept = parts.foreground
        return parts, parts.largest(kept, operations.pieces)

    def _parts_of(self, mask: Mask) -> Parts:
        return Parts(mask, self.mask, self.reference, self.allowed)

    def _parts_of_scored(self, mask: Mask) -> Parts:
        """The ignore label cuts parts, so that each mask has its own."""
        key = hashlib.sha1(np.packbits(mask).tobytes()).digest()
        if key not in self._scored_parts:
            self._scored_parts = {key: self._parts_of(mask)}
        return self._scored_parts[key]

    def _with_gaps_closed(self, kept: Mask, tau: float) -> Parts:
        key = tau, np.packbits(kept).tobytes()
        if self._latest is None or self._latest[0] != key:
            assert self.probabilities is not None
            mask = close_gaps(self._whole.mask_of(kept), self.probabilities, self.spacing, tau=tau,
                              allowed=self.allowed)  # fmt: skip
            self._latest = key, self._parts_of(mask)
        return self._latest[1]

    def _without_specks(self, parts: Parts, operations: Operations) -> Mask:
        return parts.without_specks(self.spacing, operations.specks_smaller_than, operations.specks_peak_below,
                                    self.probabilities)  # fmt: skip
