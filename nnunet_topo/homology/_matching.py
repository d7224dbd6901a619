"""Betti matching of two padded images: the steps in their order, each dimension as pairs of cells of either image.

The comparison image is the voxelwise minimum of the keys of both. Where the second image is a mask and the keys of the
first lie between its two values, ``binary``, the comparison takes another form that gives the same matching: 0 in the
mask, keys + 1 of the first outside of it. Inside the block of its lowest value (0 and 1) no death can lie, so the order
there is free, and chosen so that it is also the order of the second image wherever this one's features are born. The
image persistence of the second image then is the persistence of the comparison itself.
"""

from __future__ import annotations

import numpy as np

from nnunet_topo.homology._apparent import pair_image
from nnunet_topo.homology._apparent_loops import pair_volume
from nnunet_topo.homology._cavities import cavity_pairs
from nnunet_topo.homology._cells import ABSENT, fill_keys
from nnunet_topo.homology._components import component_pairs, matched_components
from nnunet_topo.homology._induced import match_births, match_cavities, positive_cavities
from nnunet_topo.homology._loop_matching import loop_pairs, matched_loops
from nnunet_topo.homology._voxels import located
from nnunet_topo.skeletons._jit import jit


@jit
def compare(first, second, binary, comparison):  # type: ignore[no-untyped-def]
    """Keys of the comparison image, and the value up to which its values count as one."""
    for v in range(len(first)):
        if binary:
            if first[v] == ABSENT:
                comparison[v] = ABSENT
            else:
                comparison[v] = 0 if second[v] == 0 else first[v] + 1
        else:
            comparison[v] = min(first[v], second[v])
    return np.int32(1) if binary else -ABSENT


@jit
def prepare(keys, strides):  # type: ignore[no-untyped-def]
    """Codes of edges and walls, forests of vertices and of top cells, values of top cells."""
    if len(strides) == 2:
        edges, parent, top, top_parent = pair_image(keys, strides)
        return edges, edges, parent, top, top_parent
    else:
        return pair_volume(keys, strides)


@jit
def match_2d(first, second, strides, binary):  # type: ignore[no-untyped-def]
    """Pairs of both images and rows of matched ones, for dimension 0 and 1."""
    size = len(first)
    none = np.empty(0, np.int32)
    comparison = np.empty(size, np.int32)
    floor = compare(first, second, binary, comparison)
    edges_c, walls_c, parent_c, top_c, top_parent_c = prepare(comparison, strides)

    edges, walls, parent, top, top_parent = prepare(second, strides)
    births_20, deaths_20 = component_pairs(second, strides, parent, edges)
    starts_second = none if binary else np.full(size + 1, -1, np.int32)
    births_21, deaths_21 = cavity_pairs(second, strides, top, top_parent, walls, top_c, starts_second)

    edges, walls, parent, top, top_parent = prepare(first, strides)
    births_10, deaths_10 = component_pairs(first, strides, parent, edges)
    starts_first = np.full(size + 1, -1, np.int32)
    births_11, deaths_11 = cavity_pairs(first, strides, top, top_parent, walls, top_c, starts_first)

    ordered = comparison if binary else second
    killed_first, killed_second = matched_components(
        comparison, floor, first, ordered, binary, strides, parent_c, edges_c
    )
    matched_0 = match_births(killed_first, killed_second, births_10, births_20)
    births, deaths = cavity_pairs(comparison, strides, top_c, top_parent_c, walls_c, top_c, none)
    births, deaths = positive_cavities(comparison, floor, strides, births, deaths, top_c)
    matched_1 = match_cavities(births, deaths, starts_first, starts_second, binary, births_11, births_21)
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
    size = len(first)
    none, nothing, unmatched = np.empty(0, np.int32), np.empty(0, np.uint8), np.empty((0, 2), np.int64)
    comparison = np.empty(size, np.int32)
    floor = compare(first, second, binary, comparison)
    edges_c, walls_c, parent_c, top_c, top_parent_c = nothing, nothing, none, none, none
    if not binary:
        edges_c, walls_c, parent_c, top_c, top_parent_c = prepare(comparison, strides)

    edges_2, walls, parent, top, top_parent = prepare(second, strides)
    births_20, deaths_20 = component_pairs(second, strides, parent, edges_2)
    starts_second = none if binary else np.full(size + 1, -1, np.int32)
    births_22, deaths_22 = cavity_pairs(second, strides, top, top_parent, walls, top_c, starts_second)
    births_21, deaths_21, reduction_2 = loop_pairs(second, strides, edges_2, walls, none_of(edges_c, binary), binary)

    # What the second image lacks needs no comparison.
    compared = len(births_20) + len(births_21) + len(births_22) > 0
    if binary and compared:
        edges_c, walls_c, parent_c, top_c, top_parent_c = prepare(comparison, strides)
    matched_0, matched_1, matched_2 = unmatched, unmatched, unmatched

    edges_1, walls_1, parent, top, top_parent = prepare(first, strides)
    births_10, deaths_10 = component_pairs(first, strides, parent, edges_1)
    if compared:
        ordered = comparison if binary else second
        killed_first, killed_second = matched_components(
            comparison, floor, first, ordered, binary, strides, parent_c, edges_c
        )
        matched_0 = match_births(killed_first, killed_second, births_10, births_20)

    starts_first = np.full(size + 1 if len(births_22) > 0 else 0, -1, np.int32)
    births_12, deaths_12 = cavity_pairs(first, strides, top, top_parent, walls_1, top_c, starts_first)
    if compared:
        births, deaths = cavity_pairs(comparison, strides, top_c, top_parent_c, walls_c, top_c, none)
        if len(births_22) > 0:
            births, deaths = positive_cavities(comparison, floor, strides, births, deaths, top_c)
            matched_2 = match_cavities(births, deaths, starts_first, starts_second, binary, births_12, births_22)

    others = none_of(edges_c, len(births_21) == 0)
    births_11, deaths_11, reduction_1 = loop_pairs(first, strides, edges_1, walls_1, others, False)
    if len(births_11) > 0 and len(births_21) > 0:
        matched_1 = matched_loops(
            first,
            second,
            comparison,
            floor,
            binary,
            strides,
            edges_c,
            walls_c,
            (births_11, edges_1, reduction_1),
            (births_21, edges_2, reduction_2),
        )
    return (
        (births_10, deaths_10, births_20, deaths_20, matched_0),
        (births_11, deaths_11, births_21, deaths_21, matched_1),
        (births_12, deaths_12, births_22, deaths_22, matched_2),
    )


@jit
def match(first_bits, second_bits, shape, strides):  # type: ignore[no-untyped-def]
    """Betti matching of two images given as bit patterns of float32; :func:`located` for each dimension.

    The shape has 0 in front in 2D. Tells first whether either image is finite; if one is not, there are no dimensions.
    """
    size = (shape[0] + 2 if shape[0] > 0 else 1) * (shape[1] + 2) * (shape[2] + 2)
    first, second = np.empty(size, np.int32), np.empty(size, np.int32)
    finite_1, within, _ = fill_keys(first_bits, shape, first)
    finite_2, _, mask = fill_keys(second_bits, shape, second)
    if not (finite_1 and finite_2):  # nothing of this will be looked at
        first[:] = ABSENT
        second[:] = ABSENT
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
