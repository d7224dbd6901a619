"""How many features of two masks Betti matching matches, without persistence: masks of a whole case in bounded time.

A mask has two values only: its features are all born with its voxels and die with what fills the box around it. The
matches of dimension k then are the cells, one dimension higher and outside the union of the masks, that end a class of
both masks when they are added to the union in their order (x, y, z, type). What has been added up to some cell is
without homology of its own, so the classes that are ended by then are those that can be pushed into it within the
union, and no cell outside the union needs to be looked at:

* dimension 0: the cells join everything that they have reached to one piece, and components of the union end when
  they are reached. Each that holds voxels of both masks is a match, but the first if nothing of both was there before;
  it then is the one that never dies. Counting that one as matched too, as here, adds 1.
* top dimension, by duality: a bounded component of the background of a mask ends with its last voxel outside the
  union. A match is a voxel that is the last one for both masks.
* dimension 1 of a volume: classes of loops of the union, in the order in which its edges are reached; a match is one
  that leads a combination of loops of either mask.
"""

from __future__ import annotations

from collections.abc import Iterator

import cc3d
import numpy as np
from numpy.typing import NDArray

from nnunet_topo.homology.masks import check_masks

Mask = NDArray[np.bool_]
Vector = frozenset[int]  # modulo 2: the generators in it


def matched_betti_numbers(prediction: Mask, reference: Mask) -> tuple[int, ...]:
    """Numbers of features that two masks of the same shape share by Betti matching, one for each dimension.

    As many as :func:`nnunet_topo.homology.betti_matching` matches (foreground 4- or 6-connected, 8- or 26-connected
    background), and in dimension 0 one more if neither mask is empty, for the component that never dies. At most the
    Betti numbers of either mask. Raises ValueError for anything else than two boolean arrays of one shape and of two or
    three axes.
    """
    check_masks("Betti matchings of masks are counted", prediction, reference)
    if not (prediction.any() and reference.any()):
        return (0,) * prediction.ndim
    thin = [axis for axis, size in enumerate(prediction.shape) if size == 1]
    if prediction.ndim == 3 and thin:  # a flat volume is an image, of which the order of cells is the same
        return (*matched_betti_numbers(prediction.squeeze(thin[0]), reference.squeeze(thin[0])), 0)
    box = _box(prediction | reference)
    one, two = prediction[box], reference[box]
    matched = matched_components(one, two), matched_cavities(one, two)
    return matched if one.ndim == 2 else (matched[0], matched_loops(one, two), matched[1])


def matched_components(prediction: Mask, reference: Mask) -> int:
    """Matches of dimension 0 of two masks that are not empty, the component that never dies among them."""
    from nnunet_topo.homology._mask_pieces import shared_pieces

    # The frame keeps cc3d from failing on isolated voxels of an axis of size 1 or 3.
    framed, count = cc3d.connected_components(
        np.pad(prediction | reference, 1),
        connectivity=4 if prediction.ndim == 2 else 6,
        return_N=True,
        out_dtype=np.uint32,
    )
    pieces = framed[(slice(1, -1),) * prediction.ndim]
    shape = (1,) * (3 - prediction.ndim) + prediction.shape
    shared, first = shared_pieces(pieces.ravel(), prediction.ravel(), reference.ravel(), shape, count)
    return int(shared) + int(max(first[0], first[1]) < first[2])


def matched_cavities(prediction: Mask, reference: Mask) -> int:
    """Matches of the top dimension: holes in 2D, cavities in 3D."""
    from nnunet_topo.homology._mask_pieces import last_voxels

    outside = np.pad(~(prediction | reference), 1, constant_values=True).ravel()
    ends = []
    for mask in (prediction, reference):
        background, count = cc3d.connected_components(
            ~np.pad(mask, 1), connectivity=8 if mask.ndim == 2 else 26, return_N=True, out_dtype=np.uint32
        )
        if count == 1:
            return 0
        last = last_voxels(background.ravel(), outside, count)
        last[background.flat[0]] = -1  # not bounded
        ends.append(last[last >= 0])
    return len(np.intersect1d(*ends))


def matched_loops(prediction: Mask, reference: Mask) -> int:
    """Matches of dimension 1 of two volumes, each axis of which has two voxels or more."""
    from nnunet_topo.homology._mask_loops import label_edges, labelled_edges

    union = np.pad(prediction | reference, 1)
    number = np.cumsum(union.ravel(), dtype=np.int32) - np.int32(1)
    count = int(number[-1]) + 1
    number[~union.ravel()] = -1
    strides = (union.shape[1] * union.shape[2], union.shape[2], 1)
    labels, heirs, ends, members = label_edges(number, count, prediction.shape, strides)
    classes = _vectors(heirs, ends, members)
    leading = []
    for mask in (prediction, reference):
        inside = mask[prediction | reference]
        rows = labelled_edges(number, inside, strides, labels, heirs)
        leading.append(_leading_generators(_classes_of_loops(np.unique(rows, axis=0).tolist(), classes)))
    return len(leading[0] & leading[1])


def _box(mask: Mask) -> tuple[slice, ...]:
    """The box around a mask that is not empty, with one voxel to spare where the image has one.

    All beyond is background, which the order of cells reaches together with the voxels beside it.
    """
    slices = []
    for axis in range(mask.ndim):
        present = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        slices.append(slice(max(present[0] - 1, 0), present[-1] + 2))
    return tuple(slices)


def _vectors(heirs: NDArray[np.int32], ends: NDArray[np.int64], members: NDArray[np.int32]) -> list[Vector]:
    """For each label its class."""
    vectors: list[Vector] = [frozenset()] * len(heirs)
    for label in np.unique(heirs).tolist():
        vectors[label] = frozenset(members[ends[label] : ends[label + 1]].tolist())
    return vectors


def _classes_of_loops(edges: list[list[int]], classes: list[Vector]) -> Iterator[Vector]:
    """Classes of the loops of a graph with labelled edges (node, node, label), one for each edge beyond a forest."""
    above: dict[int, tuple[int, Vector]] = {}  # a node on the way to the root of its tree, and the class of the way

    def root_of(node: int) -> tuple[int, Vector]:
        path, total = [], Vector()
        while node in above:
            path.append(node)
            node = above[node][0]
        for passed in reversed(path):
            total ^= above[passed][1]
            above[passed] = node, total
        return node, total

    for one, two, label in edges:
        (root, way), (other, other_way) = root_of(one), root_of(two)
        loop = way ^ other_way ^ classes[label]
        if root != other:
            above[root] = other, loop
        elif loop:
            yield loop


def _leading_generators(vectors: Iterator[Vector]) -> set[int]:
    """Last generators that combinations of vectors can have."""
    by_lead: dict[int, Vector] = {}
    for vector in vectors:
        while vector and (other := by_lead.get(max(vector))):
            vector ^= other
        if vector:
            by_lead[max(vector)] = vector
    return set(by_lead)
