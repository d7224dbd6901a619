"""Betti matching of two masks: how many features they share, without persistence and without an order of cells.

A mask has two values only, and all of its features are born with its voxels. Features of dimension k are shared when
they are the same in the union U of the masks P and G::

    matched = dim (image of H_k(P) in H_k(U)  intersected with  image of H_k(G))
            = rank of H_k(P) -> H_k(U)  +  rank of H_k(G) -> H_k(U)  -  rank of both together

which is what induced matching counts (U. Bauer and M. Lesnick, "Induced matchings and the algebraic stability of
persistence barcodes", J. Comput. Geom. 6, 2015) where no order of equal cells can hide a match. Mirrored, transposed or
exchanged masks share as many.

* dimension 0: pieces of the union that hold voxels of both masks.
* top dimension, by duality: let pieces of the masks' backgrounds hang together where they share a voxel; they fall into
  as many parts, that of the outside not counted.
* dimension 1 of a volume: ranks of the classes of loops in the union.

The published form of Betti matching breaks ties by the place of a cell, and so finds fewer matches in some orientations
of a pair of masks: see ``_published_counts.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cc3d
import numpy as np
from numpy.typing import NDArray

from nnunet_topo.homology.masks import Connectivity, Neighbours, check_connectivity, check_masks, extents, neighbours

Mask = NDArray[np.bool_]
Vector = frozenset[int]  # modulo 2: the generators in it


def matched_betti_numbers(
    prediction: Mask, reference: Mask, connectivity: Connectivity = "foreground", *, published: bool = False
) -> tuple[int, ...]:
    """Numbers of features that two masks of the same shape share by Betti matching, one for each dimension.

    ``connectivity`` names the side that is connected across corners, as in :func:`betti_numbers`: of those Betti
    numbers, of either mask, the matches are a part. The component of a mask that never dies counts. Two single
    components that do not meet do not match.

    ``published``: as many as the authors' code matches, for comparison with papers: connectivity "background" only,
    ties broken by position, and in dimension 0 one more if neither mask is empty, for the components that never die,
    which match wherever they lie. They are those of :func:`nnunet_topo.homology.betti_matching` on the same masks.

    Raises ValueError for another connectivity, the published form of another than "background", and for anything else
    than two boolean arrays of one shape and of two or three axes.
    """
    check_masks("Betti matchings of masks are counted", prediction, reference)
    check_connectivity(connectivity)
    if published and connectivity != "background":
        raise ValueError('The published form of Betti matching has the connectivity "background", not '
                         f"{connectivity!r}.")
    if not (prediction.any() and reference.any()):
        return (0,) * prediction.ndim
    thin = [axis for axis, size in enumerate(prediction.shape) if size == 1]
    if prediction.ndim == 3 and thin:  # a flat volume is an image, of which the order of cells is the same
        flat = prediction.squeeze(thin[0]), reference.squeeze(thin[0])
        return (*matched_betti_numbers(*flat, connectivity, published=published), 0)
    box = _box(prediction | reference)
    one, two = prediction[box], reference[box]
    if published:
        from nnunet_topo.homology._published_counts import matched_cavities, matched_components

        matched = matched_components(one, two), matched_cavities(one, two)
    else:
        of_foreground, of_background = neighbours(one.ndim, connectivity)
        matched = shared_components(one, two, of_foreground), shared_cavities(one, two, of_background)
    return matched if one.ndim == 2 else (matched[0], shared_loops(one, two, connectivity, published), matched[1])


def shared_components(prediction: Mask, reference: Mask, neighbours: Neighbours) -> int:
    """Pieces of the union, whose voxels have so many neighbours, that hold voxels of both."""
    # The frame keeps cc3d from failing on isolated voxels of an axis of size 1 or 3.
    pieces, count = cc3d.connected_components(np.pad(prediction | reference, 1), connectivity=neighbours, return_N=True)
    pieces = pieces[(slice(1, -1),) * prediction.ndim]
    held = np.zeros((2, count + 1), bool)
    for holds, mask in zip(held, (prediction, reference), strict=True):
        holds[pieces[mask]] = True
    return int(held.all(0).sum())


def shared_cavities(prediction: Mask, reference: Mask, neighbours: Neighbours) -> int:
    """Matches of the top dimension, given how many neighbours a voxel of the background has."""
    from nnunet_topo.homology._mask_pieces import overlapping_pieces

    labels, counts = [], []
    for mask in (prediction, reference):
        pieces, count = cc3d.connected_components(~np.pad(mask, 1), connectivity=neighbours, return_N=True)
        if count == 1:
            return 0
        labels.append(pieces.astype(np.min_scalar_type(count), copy=False).ravel())
        counts.append(count)
    return int(overlapping_pieces(*labels, *counts)) - 1


def shared_loops(prediction: Mask, reference: Mask, connectivity: Connectivity, published: bool = False) -> int:
    """Matches of dimension 1 of two volumes, each axis of which has two voxels or more."""
    from nnunet_topo.homology._mask_loops import VERTEX, cells_of, label_edges, labelled_edges

    union = np.pad(prediction | reference, 1)
    strides, closed = (union.shape[1] * union.shape[2], union.shape[2], 1), connectivity == "foreground"
    cells = cells_of(union.ravel(), strides, closed)
    number = np.cumsum(cells & VERTEX, dtype=np.int32) - np.int32(1)
    count = int(number[-1]) + 1
    labels, heirs, ends, members = label_edges(cells, number, count, prediction.shape, strides, published)
    classes = _vectors(heirs, ends, members)
    spans = []
    for mask in (prediction, reference):
        cells = cells_of(np.pad(mask, 1).ravel(), strides, closed)
        rows = labelled_edges(number, count, cells, strides, labels, heirs)
        spans.append(_echelon_form(_classes_of_loops(np.unique(rows, axis=0).tolist(), classes)))
    if published:  # a match is a generator that leads a combination of loops of either mask
        return len(spans[0].keys() & spans[1].keys())
    return len(spans[0]) + len(spans[1]) - len(_echelon_form([*spans[0].values(), *spans[1].values()]))


def _box(mask: Mask) -> tuple[slice, ...]:
    """The box around a mask that is not empty, with one voxel to spare where the image has one.

    All beyond is background, which the order of cells reaches together with the voxels beside it.
    """
    return tuple(slice(max(first - 1, 0), last + 2) for first, last in extents(mask))


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


def _echelon_form(vectors: Iterable[Vector]) -> dict[int, Vector]:
    """A basis of what vectors span, by the last generators of its vectors, which all differ."""
    by_lead: dict[int, Vector] = {}
    for vector in vectors:
        while vector and (other := by_lead.get(max(vector))):
            vector ^= other
        if vector:
            by_lead[max(vector)] = vector
    return by_lead
