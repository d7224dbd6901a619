"""Betti matching of two padded images: the steps in their order, each dimension as pairs of cells of either image.

The comparison image is the voxelwise minimum of the keys of both. Where the second image is a mask and the keys of the
first lie between its two values, ``binary``, the comparison takes another form that gives the same matching: LOWEST
in the mask, keys + 1 of the first outside of it. Inside the block of its two lowest values no death can lie, so the
order there is free, and chosen so that it is also the order of the second image wherever this one's features are born.
The image persistence of the second image then is the persistence of the comparison itself.
"""

from __future__ import annotations

import numpy as np

from nnunet_topo.homology._cavities import cavity_pairs
from nnunet_topo.homology._cells import ABSENT, LOWEST, image_of, keys_of, sorted_edges
from nnunet_topo.homology._components import component_pairs, detach_vertices, matched_components
from nnunet_topo.homology._induced import match_births, match_cavities, positive_cavities
from nnunet_topo.homology._loop_matching import loop_pairs, matched_loops
from nnunet_topo.homology._preparation import prepare, square_tops
from nnunet_topo.homology._voxels import located
from nnunet_topo.kernels.jit import jit

# glibc gives the free end of its heap back to the system when it is longer than twice the largest mapping freed so far.
# Every call would then wait for its pages again, a tenth of its time. This mapping, of which no page is ever touched,
# lets it keep up to 62 MB for the next call; other libraries are not concerned.
np.empty(31 * 2**20, np.uint8)


@jit
def compare(first, second, strides, binary):  # type: ignore[no-untyped-def]
    """The comparison image."""
    one, two = first.keys, second.keys
    comparison = np.empty(len(one), np.int32)
    for v in range(len(one)):
        if binary:
            outside = ABSENT if one[v] == ABSENT else one[v] + np.int32(1)
            comparison[v] = LOWEST if two[v] == LOWEST else outside
        else:
            comparison[v] = min(one[v], two[v])
    return image_of(comparison, strides, first.closed)


@jit
def floor_of(binary):  # type: ignore[no-untyped-def]
    """The value up to which those of the comparison image count as one."""
    return LOWEST + np.int32(1) if binary else -ABSENT


@jit
def pairs_2d(image, strides, order_by, between):  # type: ignore[no-untyped-def]
    """Pairs of an image for dimension 0 and 1, and the starts of :func:`cavity_pairs` if asked for."""
    edges, _, parent, top, top_parent = prepare(image, image, strides)
    starts = np.full(len(order_by) if between else 0, -1, np.int32)
    births_1, deaths_1, order = cavity_pairs(image, strides, top, top_parent, edges, order_by, starts)
    births_0, deaths_0 = component_pairs(image, strides, parent, order, edges)
    return births_0, deaths_0, births_1, deaths_1, starts


@jit
def match_2d(first, second, strides, binary):  # type: ignore[no-untyped-def]
    """Pairs of both images and rows of matched ones, for dimension 0 and 1.

    What is needed again is made again where that is fast, to be small.
    """
    order_by = square_tops(compare(first, second, strides, binary), strides)
    births_20, deaths_20, births_21, deaths_21, starts_2 = pairs_2d(second, strides, order_by, not binary)
    births_10, deaths_10, births_11, deaths_11, starts_1 = pairs_2d(first, strides, order_by, True)

    comparison, floor = compare(first, second, strides, binary), floor_of(binary)
    edges, _, parent, top, top_parent = prepare(comparison, comparison, strides)
    ordered = comparison.vertices if binary else second.vertices
    detach_vertices(strides, first.closed, first.vertices, parent, edges)
    if not binary:
        detach_vertices(strides, second.closed, second.vertices, parent, edges)
    births, deaths, order = cavity_pairs(comparison, strides, top, top_parent, edges, top, starts_1[:0])
    births, deaths = positive_cavities(comparison, floor, strides, births, deaths, top)
    matched_1 = match_cavities(births, deaths, starts_1, starts_2, binary, births_11, births_21)
    killed_1, killed_2 = matched_components(
        comparison, floor, first.vertices, ordered, binary, strides, parent, order, edges
    )
    matched_0 = match_births(killed_1, killed_2, births_10, births_20)
    return (births_10, deaths_10, births_20, deaths_20, matched_0), (
        births_11,
        deaths_11,
        births_21,
        deaths_21,
        matched_1,
    )


@jit
def none_of(codes, condition):  # type: ignore[no-untyped-def]
    return codes[:0] if condition else codes


@jit
def match_3d(first, second, strides, binary):  # type: ignore[no-untyped-def]
    """Pairs of both images and rows of matched ones, for dimension 0, 1 and 2."""
    size = len(first.keys)
    none, nothing, unmatched = np.empty(0, np.int32), np.empty(0, np.uint8), np.empty((0, 2), np.int64)
    comparison, floor = compare(first, second, strides, binary), floor_of(binary)
    edges_c, walls_c, parent_c, top_c, top_parent_c = nothing, nothing, none, none, none
    if not binary:
        edges_c, walls_c, parent_c, top_c, top_parent_c = prepare(comparison, comparison, strides)

    edges_2, walls, parent, top, top_parent = prepare(second, second, strides)
    births_20, deaths_20 = component_pairs(second, strides, parent, sorted_edges(second, strides, edges_2), edges_2)
    starts_2 = none if binary else np.full(size + 1, -1, np.int32)
    births_22, deaths_22, rest_2 = cavity_pairs(second, strides, top, top_parent, walls, top_c, starts_2)
    births_21, deaths_21, reduction_2 = loop_pairs(second, strides, edges_2, rest_2, none_of(edges_c, binary), binary)

    # What the second image lacks needs no comparison.
    compared = len(births_20) + len(births_21) + len(births_22) > 0
    if binary and compared:
        edges_c, walls_c, parent_c, top_c, top_parent_c = prepare(comparison, comparison, strides)
    matched_0, matched_1, matched_2, rest_c = unmatched, unmatched, unmatched, none

    edges_1, walls, parent, top, top_parent = prepare(first, first, strides)
    births_10, deaths_10 = component_pairs(first, strides, parent, sorted_edges(first, strides, edges_1), edges_1)
    if compared:
        ordered = comparison.vertices if binary else second.vertices
        detach_vertices(strides, first.closed, first.vertices, parent_c, edges_c)
        if not binary:
            detach_vertices(strides, second.closed, second.vertices, parent_c, edges_c)
        order = sorted_edges(comparison, strides, edges_c)
        killed_1, killed_2 = matched_components(
            comparison, floor, first.vertices, ordered, binary, strides, parent_c, order, edges_c
        )
        matched_0 = match_births(killed_1, killed_2, births_10, births_20)

    starts_1 = np.full(size + 1 if len(births_22) > 0 else 0, -1, np.int32)
    births_12, deaths_12, rest_1 = cavity_pairs(first, strides, top, top_parent, walls, top_c, starts_1)
    if compared:
        births, deaths, rest_c = cavity_pairs(comparison, strides, top_c, top_parent_c, walls_c, top_c, none)
        if len(births_22) > 0:
            births, deaths = positive_cavities(comparison, floor, strides, births, deaths, top_c)
            matched_2 = match_cavities(births, deaths, starts_1, starts_2, binary, births_12, births_22)

    others = none_of(edges_c, len(births_21) == 0)
    births_11, deaths_11, reduction_1 = loop_pairs(first, strides, edges_1, rest_1, others, False)
    if len(births_11) > 0 and len(births_21) > 0:
        loops_1, loops_2 = (births_11, edges_1, reduction_1), (births_21, edges_2, reduction_2)
        matched_1 = matched_loops(
            first, second, comparison, floor, binary, strides, edges_c, rest_c, loops_1, loops_2
        )
    return (
        (births_10, deaths_10, births_20, deaths_20, matched_0),
        (births_11, deaths_11, births_21, deaths_21, matched_1),
        (births_12, deaths_12, births_22, deaths_22, matched_2),
    )


@jit
def match(first_image, second_image, shape, strides, closed):  # type: ignore[no-untyped-def]
    """Betti matching of two images given as their float32 values in a row; :func:`located` for each dimension.

    The shape has 0 in front in 2D. Tells first whether either image is finite; if one is not, there are no dimensions.
    """
    keys_1, finite_1, within, _ = keys_of(first_image, shape)
    keys_2, finite_2, _, mask = keys_of(second_image, shape)
    if not (finite_1 and finite_2):  # nothing of this will be looked at
        keys_1[:] = ABSENT
        keys_2[:] = ABSENT
    first, second = image_of(keys_1, strides, closed), image_of(keys_2, strides, closed)
    if len(strides) == 2:
        d0, d1 = match_2d(first, second, strides, within and mask)
        return (finite_1, finite_2), (
            located(0, d0, first, second, shape, strides),
            located(1, d1, first, second, shape, strides),
        )
    else:
        d0, d1, d2 = match_3d(first, second, strides, within and mask)
        return (finite_1, finite_2), (
            located(0, d0, first, second, shape, strides),
            located(1, d1, first, second, shape, strides),
            located(2, d2, first, second, shape, strides),
        )
