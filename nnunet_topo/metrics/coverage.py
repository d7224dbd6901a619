"""Length of the reference's skeleton and how much of it is predicted."""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.metrics.masks import check_masks, check_spacing
from nnunet_topo.skeletons import thin

_Step = tuple[int, ...]


class SkeletonCoverage(NamedTuple):
    """Length of the reference's skeleton in mm, and the share of it that is predicted, in [0, 1] or not a number."""

    length_mm: float
    covered_share: float


def skeleton_coverage(
    prediction: NDArray[np.bool_], reference: NDArray[np.bool_], spacing: Sequence[float]
) -> SkeletonCoverage:
    """Length of the reference's skeleton and its covered share, of two boolean masks of the same shape, 2D or 3D.

    The skeleton is that of :func:`nnunet_topo.skeletons.thin`, for a 26-connected foreground (8 in 2D). Its length is
    that of the edges between neighbouring voxels, from centre to centre in mm. Of three voxels that are all neighbours,
    as at corners and junctions, the longest edge does not count, so that such a triangle is not a loop; where four
    voxels form a square, all four sides count. Half an edge is covered for each of its two voxels that is predicted.
    The length is 0 for an empty reference, and for one whose skeleton is isolated voxels; the share then is not a
    number. For an empty prediction it is 0. Raises ValueError for masks of different shapes or another type, and for a
    spacing that does not fit.
    """
    check_masks(prediction, reference)
    check_spacing(spacing, prediction)
    return coverage_of_skeleton(prediction, thin(reference), spacing)


def coverage_of_skeleton(
    prediction: NDArray[np.bool_], skeleton: NDArray[np.bool_], spacing: Sequence[float]
) -> SkeletonCoverage:
    """:func:`skeleton_coverage` of a reference whose skeleton is known."""
    framed = np.pad(skeleton, 1)
    present = framed.ravel()
    voxels = np.flatnonzero(present)
    predicted = np.zeros(len(voxels), np.int64)
    predicted[:] = prediction[skeleton]
    strides = np.array(framed.strides)  # one byte a voxel: in voxels as well
    length = covered = 0.0
    for step, length_mm, ways_round in _edges(spacing):
        ends = np.flatnonzero(present[voxels + step @ strides])
        for way in ways_round:
            ends = ends[~present[voxels[ends] + way @ strides]]
        other_ends = np.searchsorted(voxels, voxels[ends] + step @ strides)
        length += length_mm * len(ends)
        covered += length_mm * float(predicted[ends].sum() + predicted[other_ends].sum()) / 2
    return SkeletonCoverage(length, covered / length if length else float("nan"))


def _edges(spacing: Sequence[float]) -> Iterator[tuple[NDArray[np.int64], float, list[NDArray[np.int64]]]]:
    """Steps between neighbours, one of each opposite two, with the length and the third voxels that replace the edge.

    Such a voxel is a neighbour of both ends and reached by steps that come earlier when sorted by length. The three
    steps of a triangle always differ, also in their directions, so that each triangle has exactly one last edge.
    """
    origin = (0,) * len(spacing)
    steps = [step for step in itertools.product((-1, 0, 1), repeat=len(spacing)) if step > origin]
    lengths = {step: float(np.linalg.norm(np.multiply(step, spacing))) for step in steps}
    steps.sort(key=lambda step: (lengths[step], step))
    rank = {step: place for place, step in enumerate(steps)} | {
        tuple(-s for s in step): place for place, step in enumerate(steps)
    }
    for step in steps:
        ways_round = [
            np.array(way)
            for way in rank
            if rank[way] < rank[step] and rank.get(tuple(np.subtract(step, way).tolist()), len(rank)) < rank[step]
        ]
        yield np.array(step), lengths[step], ways_round
