"""Post-processing of a whole label map: each operation on all labels or regions before the next one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from nnunet_topo.metrics.masks import even_box
from nnunet_topo.postprocessing.labels import Labels, LabelScheme, Mask
from nnunet_topo.postprocessing.operations import close_gaps, drop_specks, fill_holes, keep_pieces
from nnunet_topo.postprocessing.probabilities import CaseProbabilities, above
from nnunet_topo.postprocessing.settings import Operations


@dataclass(frozen=True)
class _Region:
    """One label or region while it is worked on, in its box: its mask, and what it may gain."""

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
        if not any(map(wants, operations)):
            continue
        before = current.copy()
        places = find_objects(before)
        for index, chosen in enumerate(operations):
            around = [places[label - 1] for label in scheme.regions[index] if label <= len(places)]
            if not wants(chosen) or not any(around):
                continue
            if chosen.needs_probabilities and probabilities is None:
                raise ValueError(f"The settings of {scheme.names[index]} look at probabilities; give them.")
            if operation is _gaps:
                assert probabilities is not None
                around.append(even_box(above(probabilities.of(index), chosen.gaps_tau)))
            box = _even_box([place for place in around if place])
            inside = None if probabilities is None else probabilities.within(box)
            region = _region(before[box], index, scheme, inside, spacing, chosen, gains=not drops)
            voxels = np.unravel_index(np.flatnonzero(operation(region) ^ region.mask), region.mask.shape)
            if drops:
                current[box][voxels] = scheme.without(current[box][voxels], index)
            else:
                _gain(current[box], voxels, index, scheme, inside)
    return current


def _region(
    labels: Labels, index: int, scheme: LabelScheme, probabilities: CaseProbabilities | None,
    spacing: Sequence[float], operations: Operations, *, gains: bool,
) -> _Region:  # fmt: skip
    of_region = probabilities.of(index) if probabilities is not None and operations.needs_probabilities else None
    allowed = _allowed(labels, index, scheme, probabilities) if gains else None
    return _Region(scheme.mask(labels, index), allowed, of_region, spacing, operations)


def _even_box(places: Sequence[tuple[slice, ...]]) -> tuple[slice, ...]:
    """The box around several boxes and a voxel around them, beyond which no operation looks; thinning goes by the
    parity of indices, so that it begins at even ones."""
    return tuple(slice(max(min(side.start for side in sides) - 1, 0) // 2 * 2, max(side.stop for side in sides) + 1)
                 for sides in zip(*places, strict=True))


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
    return drop_specks(region.mask, region.spacing, smaller_than=chosen.specks_smaller_than,
                       peak_below=chosen.specks_peak_below, probabilities=region.probabilities)  # fmt: skip


def _gaps(region: _Region) -> Mask:
    assert region.probabilities is not None
    return close_gaps(region.mask, region.probabilities, region.spacing, tau=region.operations.gaps_tau,
                      thick=region.operations.gaps_thick, allowed=region.allowed)  # fmt: skip


def _holes(region: _Region) -> Mask:
    chosen = region.operations
    return fill_holes(region.mask, region.spacing, smaller_than=chosen.holes_smaller_than,
                      tunnels_smaller_than=chosen.tunnels_smaller_than, allowed=region.allowed)  # fmt: skip


def _pieces(region: _Region) -> Mask:
    return keep_pieces(region.mask, pieces=region.operations.pieces)


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
