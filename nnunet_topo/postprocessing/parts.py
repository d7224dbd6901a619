"""The parts that a mask and its background fall into, and what becomes of them.

Dropping specks, filling holes and keeping pieces only move whole parts from one side to the other: components of the
mask and components of its background. So one table of the parts, who touches whom and what of the reference lies in
each, says how any such setting scores, exactly, without an image being looked at again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nnunet_topo.homology import betti_numbers
from nnunet_topo.homology.mask_matching import matched_betti_numbers
from nnunet_topo.metrics.centreline_dice import cl_dice_of_shares
from nnunet_topo.postprocessing.components import Mask, components, enclosed_components, smaller
from nnunet_topo.postprocessing.parts_numba import euler_characteristics
from nnunet_topo.skeletons import thin

Numbers = NDArray[np.int64]
_TABLE = 2**24  # pairs that are marked in a table rather than sorted


class Reference:
    """What scores need of a reference mask, computed once for all settings."""

    def __init__(self, mask: Mask) -> None:
        self.mask = mask
        self.voxels = int(np.count_nonzero(mask))
        self.betti = betti_numbers(mask)
        self.pieces, self.piece_count = components(mask)
        self.cavities, self.cavity_count = enclosed_components(mask)  # 0: the mask and the outside

    @cached_property
    def skeleton(self) -> Mask:
        return thin(self.mask)

    @cached_property
    def pieces_with_loops(self) -> list[int]:
        """Numbers of the pieces of a volume that have tunnels."""
        boxes = find_objects(self.pieces.astype(np.int32, copy=False), self.piece_count)
        return [piece for piece, box in enumerate(boxes, start=1) if betti_numbers(self.pieces[box] == piece)[1]]


@dataclass(frozen=True)
class Fit:
    """How well a mask fits the reference: errors in each dimension by the name of the metric, Dice and clDice."""

    errors: dict[str, tuple[int, ...]]
    dice: float
    cl_dice: float


class Parts:
    """The parts of a mask (*S) and of its background, the foreground's with the higher numbers, beside a reference.

    ``raw`` is the mask from which changes are counted, ``allowed`` the voxels that may be gained.
    """

    def __init__(self, mask: Mask, raw: Mask, reference: Reference, allowed: Mask | None = None) -> None:
        self.mask, self.reference = mask, reference
        framed, count = cc3d.connected_components(
            ~np.pad(mask, 1), connectivity=4 if mask.ndim == 2 else 6, return_N=True)  # type: ignore[call-overload]
        inner = (slice(1, -1),) * mask.ndim
        pieces, piece_count = components(mask)
        self.first = int(count) + 1  # part of the foreground
        self.count = self.first + piece_count
        self._framed = framed.astype(np.min_scalar_type(self.count), copy=False)
        np.add(pieces, self.first - 1, out=self._framed[inner], where=mask, casting="unsafe")
        self.labels = self._framed[inner]
        self.outside = int(self._framed.flat[0])
        self.foreground = np.arange(self.count) >= self.first
        self.voxels = np.bincount(self.labels.ravel(), minlength=self.count)
        self.in_raw = self._in(raw)
        self.in_reference = self._in(reference.mask)
        self.forbidden = np.zeros(self.count, np.bool_)
        if allowed is not None:
            self.forbidden[self.labels[~allowed]] = True
        self.neighbours = self._neighbours()
        self._fits: dict[bytes, Fit] = {}
        self._loops: dict[bytes, int] = {}
        self._skeletons: dict[bytes, tuple[int, int]] = {}

    def mask_of(self, kept: Mask) -> Mask:
        """The mask of the parts that are kept as foreground."""
        return kept[self.labels]

    def without_specks(
        self, spacing: Sequence[float], size: float, peak: float, probabilities: NDArray[np.floating[Any]] | None
    ) -> Mask:
        """As :func:`.drop_specks`; the parts that stay foreground."""
        kept = self.foreground & ~smaller(self.voxels, size, spacing)
        if peak > 0:
            assert probabilities is not None
            high = np.zeros(self.count, np.bool_)
            high[self.labels[self.mask & (probabilities >= peak)]] = True
            kept &= high
        return kept

    def without_holes(self, kept: Mask, spacing: Sequence[float], size: float) -> Mask:
        """As :func:`.fill_holes`, of the mask of the parts that are kept."""
        if size == 0:
            return kept
        groups = self._groups(kept)
        voxels = np.bincount(groups[~kept], self.voxels[~kept], minlength=self.count)
        filled = smaller(voxels.astype(np.int64), size, spacing)
        filled[groups[self.forbidden & ~kept]] = False
        filled[groups[[0, self.outside]]] = False
        return kept | (~kept & filled[groups])

    def largest(self, kept: Mask, pieces: int | None) -> Mask:
        """As :func:`.keep_pieces`, of the mask of the parts that are kept."""
        if pieces is None:
            return kept
        groups = self._groups(kept)
        voxels = np.bincount(groups[kept], self.voxels[kept], minlength=self.count)
        start = np.full(self.count, self.labels.size)
        np.minimum.at(start, groups[kept], self._first_voxels[kept])
        stays = np.zeros(self.count, np.bool_)
        stays[np.lexsort((start, -voxels))[:pieces]] = True
        return kept & stays[groups]

    def changed(self, kept: Mask) -> int:
        """Voxels in which the mask of the parts that are kept differs from ``raw``."""
        return int((self.voxels - self.in_raw)[kept].sum() + self.in_raw[~kept].sum())

    def fit(self, kept: Mask) -> Fit:
        """How well the mask of the parts that are kept fits the reference."""
        key = np.packbits(kept).tobytes()
        if key not in self._fits:
            self._fits[key] = self._fit(kept)
        return self._fits[key]

    def _fit(self, kept: Mask) -> Fit:
        reference = self.reference
        groups = self._groups(kept)
        pieces = len(np.unique(groups[kept]))
        cavities = len(np.unique(groups[1:][~kept[1:]])) - 1
        betti: tuple[int, ...] = (pieces, cavities)
        if self.mask.ndim == 3:
            betti = (pieces, pieces + cavities - int(self._euler[kept].sum()), cavities)
        voxels, shared = int(self.voxels[kept].sum()), int(self.in_reference[kept].sum())
        total = voxels + reference.voxels
        matched = self._matched(kept, betti)
        errors = {"betti_matching_error": tuple(one + other - 2 * both for one, other, both
                                                in zip(betti, reference.betti, matched, strict=True)),
                  "betti_error": tuple(abs(one - other) for one, other in zip(betti, reference.betti, strict=True))}
        return Fit(errors, 2 * shared / total if total else math.nan, self._cl_dice(kept, groups))

    def _matched(self, kept: Mask, betti: tuple[int, ...]) -> tuple[int, ...]:
        """As :func:`nnunet_topo.homology.matched_betti_numbers`, by graphs of parts and of the reference's."""
        reference = self.reference
        if not (kept.any() and reference.voxels):
            return (0,) * self.mask.ndim
        ours, theirs = self._touching
        touch = kept[ours]
        ends = np.concatenate([self._within(kept), [ours[touch], theirs[touch] + self.count]], axis=1)
        parts = _components(ends, self.count + reference.piece_count + 1)
        shared = np.intersect1d(parts[: self.count][kept], parts[self.count + 1 :])
        cavities = 0
        if reference.cavity_count and betti[-1]:
            ours, theirs = self._overlapping
            overlap = ~kept[ours]
            ends = np.concatenate([self._within(~kept), [ours[overlap], theirs[overlap] + self.count]], axis=1)
            hanging = _components(ends, self.count + reference.cavity_count + 1)
            cavities = len(np.unique(hanging[ours[overlap]])) - 1
        if self.mask.ndim == 2:
            return len(shared), cavities
        return len(shared), self._matched_loops(kept, betti, parts), cavities

    def _matched_loops(self, kept: Mask, betti: tuple[int, ...], parts: Numbers) -> int:
        """Only pieces of the union count that hold loops of the reference."""
        reference = self.reference
        if not (betti[1] and reference.betti[1]):
            return 0
        with_loops = parts[self.count :][reference.pieces_with_loops]
        near = kept & np.isin(parts[: self.count], with_loops)
        key = np.packbits(near).tobytes()
        if key not in self._loops:
            there = np.isin(parts[self.count :], with_loops)
            there[0] = False
            self._loops[key] = matched_betti_numbers(near[self.labels], there[reference.pieces])[1]
        return self._loops[key]

    def _cl_dice(self, kept: Mask, groups: Numbers) -> float:
        reference = self.reference
        skeleton = reference.skeleton
        length = int(np.count_nonzero(skeleton))
        covered = int(self._in_their_skeleton[kept].sum())
        on, inside = self._skeleton_voxels(kept, groups)
        return cl_dice_of_shares(inside / on if on else math.nan, covered / length if length else math.nan).cl_dice

    def _skeleton_voxels(self, kept: Mask, groups: Numbers) -> tuple[int, int]:
        """Voxels of the kept parts' skeleton, and how many of them lie in the reference.

        Pieces do not touch, so that each is thinned as if it were alone.
        """
        filled = np.isin(groups, groups[kept & ~self.foreground]) & kept
        alone = kept & ~filled
        on, inside = (int(of_part[alone].sum()) for of_part in self._own_skeleton)
        if filled.any():
            key = np.packbits(filled).tobytes()
            if key not in self._skeletons:
                thinned = thin(filled[self.labels])
                self._skeletons[key] = (int(np.count_nonzero(thinned)),
                                        int(np.count_nonzero(thinned & self.reference.mask)))  # fmt: skip
            on, inside = on + self._skeletons[key][0], inside + self._skeletons[key][1]
        return on, inside

    def _groups(self, kept: Mask) -> Numbers:
        """The component that each part is of, of the foreground if it is kept and else of the background."""
        one, other = self.neighbours
        same = kept[one] == kept[other]
        return _components(self.neighbours[:, same], self.count)

    def _within(self, side: Mask) -> Numbers:
        one, other = self.neighbours
        return self.neighbours[:, side[one] & side[other]]

    def _in(self, mask: Mask) -> Numbers:
        return np.bincount(self.labels[mask], minlength=self.count)

    def _neighbours(self) -> Numbers:
        """Pairs (2, n) of parts that share faces; those of one side never do."""
        pairs = []
        for axis in range(self._framed.ndim):
            along = np.moveaxis(self._framed, axis, 0)
            one, other = along[:-1], along[1:]
            differ = one != other
            pairs.append(_pairs(one[differ], other[differ], self.count, self.count))
        return np.unique(np.concatenate(pairs, axis=1), axis=1)

    @cached_property
    def _touching(self) -> Numbers:
        """Pairs (2, n) of a part and a piece of the reference with voxels that are the same or share a corner."""
        reference = self.reference
        places = np.flatnonzero(np.pad(reference.mask, 1))
        pieces = reference.pieces[reference.mask]
        framed, strides = self._framed.ravel(), np.array(self._framed.strides) // self._framed.itemsize
        pairs = []
        for step in np.ndindex((3,) * self._framed.ndim):
            near = framed[places + int((np.array(step) - 1) @ strides)]
            pairs.append(_pairs(near, pieces, self.count, reference.piece_count + 1))
        return np.unique(np.concatenate(pairs, axis=1), axis=1)

    @cached_property
    def _overlapping(self) -> Numbers:
        """Pairs (2, n) of a part and a cavity of the reference, 0 for its outside, that share voxels."""
        reference = self.reference
        there = reference.cavities > 0
        cavities = _pairs(self.labels[there], reference.cavities[there], self.count, reference.cavity_count + 1)
        beyond = self.voxels - self.in_reference - self._in(there) > 0
        beyond[self.outside] = True
        outside = np.flatnonzero(beyond)
        return np.concatenate([cavities, [outside, np.zeros_like(outside)]], axis=1)

    @cached_property
    def _own_skeleton(self) -> tuple[Numbers, Numbers]:
        skeleton = thin(self.mask)
        return self._in(skeleton), self._in(skeleton & self.reference.mask)

    @cached_property
    def _in_their_skeleton(self) -> Numbers:
        return self._in(self.reference.skeleton)

    @cached_property
    def _first_voxels(self) -> Numbers:
        first = np.zeros(self.count, np.int64)
        first[self.labels.ravel()[::-1]] = np.arange(self.labels.size)[::-1]
        return first

    @cached_property
    def _euler(self) -> Numbers:
        strides = tuple(stride // self._framed.itemsize for stride in self._framed.strides)
        return euler_characteristics(self._framed.ravel(), strides, self.count)


def _components(pairs: Numbers, count: int) -> Numbers:
    """The number of the component that each of ``count`` nodes is of, given the edges (2, n)."""
    graph = coo_array((np.ones(pairs.shape[1], np.bool_), (pairs[0], pairs[1])), (count, count))
    return connected_components(graph, directed=False)[1]


def _pairs(one: NDArray[Any], other: NDArray[Any], count_one: int, count_other: int) -> Numbers:
    """The different pairs (2, n) of two arrays of numbers below ``count_one`` and ``count_other``."""
    if count_one * count_other <= _TABLE:
        table = np.zeros((count_one, count_other), np.bool_)
        table[one, other] = True
        return np.argwhere(table).T
    codes = np.unique(one.astype(np.int64) * count_other + other)
    return np.stack([codes // count_other, codes % count_other])
