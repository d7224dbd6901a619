"""Where a prediction differs in topology from its reference: what it misses, invents, breaks, joins, opens, closes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, find_objects, generate_binary_structure

from nnunet_topo.homology import betti_numbers
from nnunet_topo.metrics.masks import even_box
from nnunet_topo.skeletons import thin

_SHORTEST_SEGMENT = 3  # voxels of a centreline below which it is not marked, unless it breaks or joins something
_NEIGHBOURHOOD = 3  # voxels around a segment in which the other mask may still be in one piece
_LARGEST_BOX = 2_000_000  # voxels in which a tunnel is looked for; what is larger is not a small gap in a wall

Mask = NDArray[np.bool_]
Box = tuple[slice, ...]


@dataclass(frozen=True)
class Place:
    """Where an error lies: the voxel in its middle, and how far it extends from there, in voxels."""

    position: tuple[int, ...]
    radius: float


@dataclass(frozen=True)
class TopologyErrors:
    """Topological errors of a prediction: masks of the shape of the given ones, and places. All in voxels.

    Attributes:
        skeleton: centreline of the reference.
        missed_segments: of it, pieces that are not predicted, of three voxels or more or with a break.
        spurious_segments: the same of the prediction's centreline that is not in the reference, or merges something.
        missed_pieces, false_pieces: components of either mask that do not touch the other.
        breaks: missed segments at two sides of which the prediction goes on without being joined nearby.
        merges: spurious segments that join what is not joined nearby in the reference: two pieces, or two branches.
        false_holes: gaps of the prediction inside the reference: holes (2D), tunnels and cavities (3D).
        filled_holes: holes, tunnels and cavities of the reference that the prediction fills.
        counts: number of each of these kinds by its name, but of the skeleton.
    """

    skeleton: Mask
    missed_segments: Mask
    spurious_segments: Mask
    missed_pieces: Mask
    false_pieces: Mask
    breaks: list[Place]
    merges: list[Place]
    false_holes: list[Place]
    filled_holes: list[Place]
    counts: dict[str, int]


def topology_errors(prediction: Mask, reference: Mask) -> TopologyErrors:
    """Locate the topological errors of a prediction; both masks boolean, 2D or 3D, of the same shape, may be empty.

    Foreground is 8- or 26-connected, background 4- or 6-connected; centrelines are those of
    :func:`nnunet_topo.skeletons.thin`. Each mark is found by what lies around it. It shows where to look; how many
    errors there are is said by the metrics, which compare the masks as a whole.
    """
    box = even_box(prediction | reference)
    predicted, true = prediction[box], reference[box]
    skeleton, other_skeleton = thin(true), thin(predicted)
    missed, breaks, missed_count = _segments_outside(skeleton, predicted)
    spurious, merges, spurious_count = _segments_outside(other_skeleton, true)
    lost, lost_count = _untouched_pieces(true, predicted)
    false, false_count = _untouched_pieces(predicted, true)
    false_holes, filled_holes = _holes_inside(predicted, true), _holes_inside(true, predicted)

    def whole(mask: Mask) -> Mask:
        result = np.zeros(reference.shape, bool)
        result[box] = mask
        return result

    def moved(places: list[Place]) -> list[Place]:
        start = [side.start for side in box]
        return [Place(tuple(p + s for p, s in zip(place.position, start, strict=True)), place.radius)
                for place in places]

    counts = {"missed_segments": missed_count, "spurious_segments": spurious_count, "missed_pieces": lost_count,
              "false_pieces": false_count, "breaks": len(breaks), "merges": len(merges),
              "false_holes": len(false_holes), "filled_holes": len(filled_holes)}
    return TopologyErrors(whole(skeleton), whole(missed), whole(spurious), whole(lost), whole(false), moved(breaks),
                          moved(merges), moved(false_holes), moved(filled_holes), counts)


def _segments_outside(skeleton: Mask, other: Mask) -> tuple[Mask, list[Place], int]:
    """Pieces of a skeleton outside the other mask, the places of those that separate or join it, and their number."""
    inside, outside = skeleton & other, skeleton & ~other
    marked, places, number = np.zeros_like(outside), [], 0
    labels, count = _components(outside, _across(skeleton))
    for index, box in enumerate(find_objects(labels, count), start=1):
        segment = labels[box] == index
        decisive = _joins_pieces(labels, index, box, inside, other)
        if not decisive and np.count_nonzero(segment) < _SHORTEST_SEGMENT:
            continue
        number += 1
        marked[box] |= segment
        if decisive:
            places.append(_place_of(segment, box))
    return marked, places, number


def _joins_pieces(labels: NDArray[np.integer], index: int, box: Box, inside: Mask, other: Mask) -> bool:
    """Whether the skeleton at the ends of a segment lies in pieces of the other mask that are not joined beside it."""
    around = tuple(slice(max(side.start - _NEIGHBOURHOOD, 0), side.stop + _NEIGHBOURHOOD) for side in box)
    segment, structure = labels[around] == index, generate_binary_structure(labels.ndim, labels.ndim)
    ends = binary_dilation(segment, structure) & inside[around]
    if np.count_nonzero(ends) < 2:
        return False
    beside = binary_dilation(segment, structure, iterations=_NEIGHBOURHOOD)
    nearby, _ = _components(other[around] & beside, _across(other))
    return np.unique(nearby[ends]).size > 1


def _untouched_pieces(mask: Mask, other: Mask) -> tuple[Mask, int]:
    """The components of a mask that the other does not touch, and their number."""
    labels, count = _components(mask, _across(mask))
    touched = np.zeros(count + 1, bool)
    touched[np.unique(labels[other])] = True
    touched[0] = True  # the background is not a piece
    return ~touched[labels], int(np.count_nonzero(~touched))


def _holes_inside(mask: Mask, other: Mask) -> list[Place]:
    """Holes, tunnels and cavities of a mask that lie in the other: parts of it that, filled in, take one away."""
    gaps = other & ~mask
    labels, count = _components(gaps, _faces(mask))
    open_to = _openings(gaps, labels, mask | other)
    places = []
    for index, box in enumerate(find_objects(labels, count), start=1):
        openings = open_to.get(index, 0)
        # Nothing but the mask around it: a hole or cavity. One opening: a dent. Two: perhaps a tunnel, but none in 2D.
        if openings == 0 or (openings > 1 and mask.ndim == 3 and _is_tunnel(labels, index, box, mask)):
            places.append(_place_of(labels[box] == index, box))
    return places


def _openings(gaps: Mask, labels: NDArray[np.integer], union: Mask) -> dict[int, int]:
    """For each component of the gaps, to how many separate parts of what is next to them outside the union it opens."""
    framed = np.pad(gaps, 2)
    outside = np.pad(~union, 2, constant_values=True)
    strides = np.array(framed.strides)  # one byte a voxel: in voxels as well
    steps = [sign * int(stride) for stride in strides for sign in (-1, 1)]
    voxels = np.flatnonzero(framed)
    beside = np.zeros(framed.size, bool)
    for step in steps:
        ends = voxels + step
        beside[ends[outside.ravel()[ends]]] = True
    parts, _ = _components(beside.reshape(framed.shape), _across(gaps))
    own = labels[gaps].astype(np.int64)
    pairs = [np.stack([own, parts.ravel()[voxels + step]], 1) for step in steps]
    met = np.unique(np.concatenate([pair[pair[:, 1] > 0] for pair in pairs]), axis=0)
    return dict(zip(*(array.tolist() for array in np.unique(met[:, 0], return_counts=True)), strict=True))


def _is_tunnel(labels: NDArray[np.integer], index: int, box: Box, mask: Mask) -> bool:
    """Whether fewer tunnels pass through the nearby mask once the component is filled in."""
    around = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)
    if mask[around].size > _LARGEST_BOX:
        return False
    nearby = mask[around]
    return betti_numbers(nearby | (labels[around] == index))[1] < betti_numbers(nearby)[1]


def _place_of(segment: Mask, box: Box) -> Place:
    voxels = np.argwhere(segment) + [side.start for side in box]
    middle = voxels[np.argmin(np.linalg.norm(voxels - voxels.mean(axis=0), axis=1))]
    return Place(tuple(int(v) for v in middle), float(np.linalg.norm(voxels - middle, axis=1).max()))


def _components(mask: Mask, connectivity: Literal[4, 6, 8, 26]) -> tuple[NDArray[np.integer], int]:
    # The frame keeps cc3d from failing on isolated voxels of an axis of size 1 or 3.
    labels, count = cc3d.connected_components(np.pad(mask, 1), connectivity=connectivity, return_N=True,
                                              out_dtype=np.uint32)
    return labels[(slice(1, -1),) * mask.ndim].view(np.int32), int(count)


def _across(mask: Mask) -> Literal[8, 26]:
    return 8 if mask.ndim == 2 else 26


def _faces(mask: Mask) -> Literal[4, 6]:
    return 4 if mask.ndim == 2 else 6
