"""Post-processing of a whole label map: each operation on all labels or regions before the next one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.metrics.masks import even_box
from nnunet_topo.postprocessing.labels import Labels, LabelScheme, Mask
from nnunet_topo.postprocessing.operations import close_gaps, drop_specks, fill_holes, keep_pieces
from nnunet_topo.postprocessing.probabilities import CaseProbabilities
from nnunet_topo.postprocessing.settings import Operations


@dataclass(frozen=True)
class _Region:
    """One label or region while it is worked on: its mask, and what it may gain."""

    mask: Mask
    allowed: Mask | None
    probabilities: NDArray[np.floating] | None
    spacing: Sequence[float]
    operations: Operations


def postprocess_labels(
    labels: Labels,
    spacing: Sequence[float],
    scheme: LabelScheme,
    operations: Sequence[Operations],
    probabilities: CaseProbabilities | None = None,
) -> Labels:
    """The label map with the operations of each label or region; ``labels`` stays as it is.

    One operation after the other is done on all labels: specks where they come first, gaps, the other specks, holes and
    tunnels, pieces. Within one, all labels start from the same label map. What a label loses becomes what is left
    without it, background where nothing is, and a region takes the regions in it along. What it gains is taken from
    the background, from labels of regions that hold it, or from a label of lower probability there; a hole with any
    other voxel stays. Where two labels gain the same voxel, the likelier has it, without probabilities the first. All
    other voxels, and those of the ignore label, keep what they have.

    Args:
        labels: (*S) whole numbers that the scheme knows, 2D or 3D.
        spacing: size of a voxel in mm along each axis.
        scheme: of the data set.
        operations: one for each of the scheme's labels or regions.
        probabilities: of the case, where gaps or peaks ask for them.

    Raises:
        ValueError: operations ask for probabilities that are not given.
    """
    current = labels.copy()
    for drops, operation, wants in _STEPS:
        before = current.copy() if any(map(wants, operations)) else current
        for index, chosen in enumerate(operations):
            if not wants(chosen):
                continue
            mask = scheme.mask(before, index)
            if not mask.any():
                continue
            of_region = None
            if chosen.needs_probabilities:
                if probabilities is None:
                    raise ValueError(f"The settings of {scheme.names[index]} look at probabilities; give them.")
                of_region = probabilities.of(index)
            allowed = None if drops else _allowed(before, index, scheme, probabilities)
            changed = operation(_Region(mask, allowed, of_region, spacing, chosen)) ^ mask
            voxels = np.nonzero(changed)
            if drops:
                current[voxels] = scheme.without(current[voxels], index)
            else:
                _gain(current, voxels, index, scheme, probabilities)
    return current


def _allowed(labels: Labels, index: int, scheme: LabelScheme, probabilities: CaseProbabilities | None) -> Mask:
    allowed = scheme.free(labels, index)
    if probabilities is not None:
        allowed |= probabilities.likelier(index, labels)
    return allowed


def _gain(
    labels: Labels, voxels: tuple[NDArray[np.int64], ...], index: int, scheme: LabelScheme,
    probabilities: CaseProbabilities | None,
) -> None:  # fmt: skip
    """Give voxels to a label or region, but those that another one has gained before with a higher probability."""
    now = labels[voxels]
    granted = scheme.free(now, index)
    if probabilities is not None:
        granted |= probabilities.likelier(index, now, voxels)
    taken = tuple(places[granted] for places in voxels)
    labels[taken] = scheme.painted[index]
    if probabilities is not None:
        probabilities.gained(index, taken)


def _specks(region: _Region) -> Mask:
    chosen = region.operations
    return _in_box(region, lambda mask, box: drop_specks(
        mask, region.spacing, smaller_than=chosen.specks_smaller_than, peak_below=chosen.specks_peak_below,
        probabilities=None if region.probabilities is None else region.probabilities[box]))  # fmt: skip


def _gaps(region: _Region) -> Mask:
    assert region.probabilities is not None
    return close_gaps(region.mask, region.probabilities, region.spacing, tau=region.operations.gaps_tau,
                      thick=region.operations.gaps_thick, allowed=region.allowed)  # fmt: skip


def _holes(region: _Region) -> Mask:
    chosen = region.operations
    return _in_box(region, lambda mask, box: fill_holes(
        mask, region.spacing, smaller_than=chosen.holes_smaller_than, tunnels_smaller_than=chosen.tunnels_smaller_than,
        allowed=None if region.allowed is None else region.allowed[box]))  # fmt: skip


def _pieces(region: _Region) -> Mask:
    return _in_box(region, lambda mask, box: keep_pieces(mask, pieces=region.operations.pieces))


def _in_box(region: _Region, operation: Callable[[Mask, tuple[slice, ...]], Mask]) -> Mask:
    """An operation that changes nothing outside of the box around the mask."""
    box = even_box(region.mask)
    result = region.mask.copy()
    result[box] = operation(region.mask[box], box)
    return result


def _wants_specks(operations: Operations) -> bool:
    return operations.specks_smaller_than > 0 or operations.specks_peak_below > 0


# Whether the operation takes voxels away, the operation, and which settings ask for it.
_STEPS: tuple[tuple[bool, Callable[[_Region], Mask], Callable[[Operations], bool]], ...] = (
    (True, _specks, lambda chosen: chosen.order == "specks_first" and _wants_specks(chosen)),
    (False, _gaps, lambda chosen: chosen.gaps_tau < 0.5),
    (True, _specks, lambda chosen: chosen.order == "gaps_first" and _wants_specks(chosen)),
    (False, _holes, lambda chosen: chosen.holes_smaller_than > 0 or chosen.tunnels_smaller_than > 0),
    (True, _pieces, lambda chosen: chosen.pieces is not None),
)
