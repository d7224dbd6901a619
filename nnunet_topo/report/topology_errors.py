"""Where a prediction differs in topology from its reference: false pieces, missed segments, breaks."""

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, find_objects, generate_binary_structure
from skimage.morphology import skeletonize

_SHORTEST_SEGMENT = 3  # voxels of the centreline below which a miss is not marked, unless it breaks the vessel
_NEIGHBOURHOOD = 3  # voxels around a missed segment in which the prediction may still be in one piece


@dataclass(frozen=True)
class Break:
    """A missed piece of centreline with predicted vessel on two sides that is not joined there: middle and extent."""

    position: tuple[int, ...]
    radius: float


@dataclass(frozen=True)
class TopologyErrors:
    """Masks of false pieces and of missed centreline segments, and the breaks, all in voxels."""

    false_pieces: NDArray[np.bool_]
    missed_segments: NDArray[np.bool_]
    breaks: list[Break]
    number_of_false_pieces: int
    number_of_missed_segments: int


def topology_errors(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> TopologyErrors:
    """Locate the topological errors of a prediction; both masks boolean, 2D or 3D, of the same shape, may be empty.

    A false piece is a component of the prediction that does not touch the reference. A missed segment is a piece of the
    reference's skeleton (of three voxels or more) that is not predicted; it is a break, of any length, when the
    prediction goes on at two sides of it and is not joined nearby. Foreground is 8- or 26-connected.
    """
    pieces, count = _components(prediction)
    touching = np.zeros(count + 1, dtype=bool)
    touching[np.unique(pieces[reference])] = True
    touching[0] = True  # the background is no piece
    skeleton = skeletonize(reference).astype(bool) if reference.any() else reference
    found, missed = skeleton & prediction, skeleton & ~prediction

    segments, count_missed = _components(missed)
    marked = np.zeros_like(missed)
    breaks, number = [], 0
    for index, box in enumerate(find_objects(segments, count_missed), start=1):
        segment = segments == index if box is None else segments[box] == index
        broken = _is_broken(segments, index, box, found, prediction)
        if not broken and np.count_nonzero(segment) < _SHORTEST_SEGMENT:
            continue
        number += 1
        marked[box] |= segment
        if broken:
            voxels = np.argwhere(segment) + [side.start for side in box]
            middle = voxels[np.argmin(np.linalg.norm(voxels - voxels.mean(axis=0), axis=1))]
            extent = float(np.linalg.norm(voxels - middle, axis=1).max())
            breaks.append(Break(tuple(int(v) for v in middle), extent))
    return TopologyErrors(~touching[pieces], marked, breaks, int(np.count_nonzero(~touching)), number)


def _is_broken(
    segments: NDArray[np.integer], index: int, box: tuple[slice, ...], found: NDArray[np.bool_],
    prediction: NDArray[np.bool_],
) -> bool:  # fmt: skip
    """Whether the found skeleton at the ends of a missed segment lies in different pieces of the nearby prediction."""
    around = tuple(slice(max(side.start - _NEIGHBOURHOOD, 0), side.stop + _NEIGHBOURHOOD) for side in box)
    structure = generate_binary_structure(segments.ndim, segments.ndim)
    ends = binary_dilation(segments[around] == index, structure) & found[around]
    nearby, _ = _components(prediction[around])
    return np.unique(nearby[ends]).size > 1


def _components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.integer], int]:
    # The frame keeps cc3d from failing on isolated voxels of an axis of size 1 or 3.
    framed = np.pad(mask, 1)
    labels, count = cc3d.connected_components(framed, connectivity=8 if mask.ndim == 2 else 26, return_N=True)
    return labels[(slice(1, -1),) * mask.ndim].astype(np.int32), int(count)
