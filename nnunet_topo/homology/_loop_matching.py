"""Dimension 1 of a volume: pairs of an image, and the induced matching by up to four reductions.

The comparison is reduced first; the image persistence of either image only for the squares that this leaves of
interest. Columns that were reduced for an image are used again where the order of squares before them is the same.
"""

from __future__ import annotations

import numpy as np

from nnunet_topo.homology._cavities import cavity_pairs
from nnunet_topo.homology._cells import ABSENT, CRITICAL, DESTROYER, LOWEST, Image, edge_value, labelled, square_value
from nnunet_topo.homology._induced import match_births, positions
from nnunet_topo.homology._loops import WANTED, boundary, edge_of, keep_edges, reduce_squares
from nnunet_topo.homology._preparation import prepare
from nnunet_topo.kernels.jit import jit


@jit
def loop_pairs(image, strides, edges, columns, others, mask):  # type: ignore[no-untyped-def]
    """Pairs (edge, square) of positive length of one image, and what further reductions start from.

    ``columns``: critical squares that start no cavity, in rising order. In a mask, all features are born at the value
    1: it is enough to see the edges of that value claimed.
    """
    keys, closed = image.keys, image.closed
    none, ends = np.empty(0, np.int32), np.empty(0, np.int64)
    wanted = -1
    if mask:
        wanted = 0
        for edge in range(len(edges)):
            if edges[edge] == CRITICAL and edge_value(keys, strides, closed, edge) == LOWEST:
                edges[edge] = WANTED
                wanted += 1
        if wanted == 0:
            return none, none, (none, ends, ends, none)
    keep_edges(edges, others)
    claims, start, end, store = reduce_squares(
        columns, image, edges, strides, wanted, np.empty((0, 2), np.int64), np.empty(0, np.int32)
    )
    births, deaths = np.empty(len(columns), np.int32), np.empty(len(columns), np.int32)
    count = 0
    for j in range(len(columns)):
        edge, square = np.int64(claims[j]), np.int64(columns[j])
        if edge >= 0 and edge_value(keys, strides, closed, edge) < square_value(keys, strides, closed, square):
            births[count], deaths[count] = edge, square
            count += 1
    return births[:count].copy(), deaths[:count].copy(), (columns, start, end, store)


@jit
def seeds_of(columns, comparison, own, shift, strides, reduction):  # type: ignore[no-untyped-def]
    """Where columns of one order are stored as reduced in an image's own order, if that holds in the new order too.

    It does when the square has its own value in the comparison: then no square before it comes after it.
    """
    known, start, end, _ = reduction
    keys, own_keys, closed = comparison.keys, own.keys, own.closed
    seeds = np.zeros((len(columns), 2), np.int64)
    k = 0
    for j in range(len(columns)):
        square = np.int64(columns[j])
        value = square_value(own_keys, strides, closed, square)
        if square_value(keys, strides, closed, square) != value + shift:
            continue
        # Squares of this kind have the same order among themselves in both.
        item = labelled(value, square)
        while k < len(known) and labelled(square_value(own_keys, strides, closed, np.int64(known[k])), known[k]) < item:
            k += 1
        if k < len(known) and known[k] == square and start[k] < end[k]:
            seeds[j, 0], seeds[j, 1] = start[k], end[k]
    return seeds


@jit
def order_of_columns(first, comparison, floor, binary):  # type: ignore[no-untyped-def]
    """The image by which the columns are ordered for the image persistence of the first image.

    Within the lowest block of the binary case the order is free; that of the first image makes more pairs apparent.
    """
    if not binary:
        return comparison
    own, common = first.keys, comparison.keys
    order = np.empty(len(own), np.int32)
    for v in range(len(own)):
        above = common[v] if own[v] == ABSENT else common[v] - LOWEST
        order[v] = own[v] if common[v] <= floor else above
    return Image(order, order, first.closed)  # of columns, without vertices


@jit
def image_births(deaths, order, own, comparison, shift, strides, edges, reduction):  # type: ignore[no-untyped-def]
    """Edges that are paired with given squares in the image persistence of one image in the comparison.

    ``order``: from :func:`order_of_columns`; ``edges``: codes in the image; ``reduction``: from :func:`loop_pairs`.
    """
    codes, squares, _, top, top_parent = prepare(own, order, strides)
    for edge in range(len(codes)):  # what ends a component in the image is known already
        codes[edge] = DESTROYER if edges[edge] > CRITICAL else codes[edge]
    _, _, columns = cavity_pairs(order, strides, top, top_parent, squares, top, np.empty(0, np.int32))
    keys, closed, largest = order.keys, order.closed, -ABSENT
    for death in deaths:
        largest = max(largest, square_value(keys, strides, closed, np.int64(death)))
    count = len(columns)
    while count > 0 and square_value(keys, strides, closed, np.int64(columns[count - 1])) > largest:
        count -= 1
    columns = columns[:count]
    seeds = seeds_of(columns, comparison, own, shift, strides, reduction)
    claims, _, _, _ = reduce_squares(columns, own, codes, strides, -1, seeds, reduction[3])
    for death in deaths:
        if squares[death] != DESTROYER:
            squares[death] = WANTED
    killers, killed = np.empty(len(deaths), np.int32), np.empty(len(deaths), np.int32)
    count = 0
    for j in range(len(columns)):
        if claims[j] >= 0 and squares[columns[j]] == WANTED:
            killers[count], killed[count] = columns[j], claims[j]
            count += 1
    births = np.empty(len(deaths), np.int32)
    for i, place in enumerate(positions(deaths, killers[:count])):
        if place >= 0:
            births[i] = killed[place]
        else:  # one of an apparent pair, with its largest edge
            births[i] = edge_of(max(boundary(deaths[i], own.keys, strides, closed, codes)))
    return births


@jit
def compared_loops(comparison, floor, binary, strides, edges, columns, first, births_second, reduction_first):  # type: ignore[no-untyped-def]
    """Pairs (edge, square) of positive length of the comparison.

    In the binary case only those whose edge is a birth of the second image, which is then paired with the same square
    in the image persistence of the second image.
    """
    wanted = -1
    if binary:
        wanted = 0
        for birth in births_second:
            if edges[birth] == CRITICAL:
                edges[birth] = WANTED
                wanted += 1
    if wanted == 0:
        columns = columns[:0]
    seeds = seeds_of(columns, comparison, first, 1 if binary else 0, strides, reduction_first)
    claims, _, _, _ = reduce_squares(columns, comparison, edges, strides, wanted, seeds, reduction_first[3])
    keys, closed, count = comparison.keys, comparison.closed, 0
    births, deaths = np.empty(len(columns), np.int32), np.empty(len(columns), np.int32)
    for j in range(len(columns)):
        edge, square = np.int64(claims[j]), np.int64(columns[j])
        if edge < 0 or (binary and edges[edge] != WANTED):
            continue
        if max(edge_value(keys, strides, closed, edge), floor) < square_value(keys, strides, closed, square):
            births[count], deaths[count] = edge, square
            count += 1
    return births[:count].copy(), deaths[:count].copy()


@jit
def matched_loops(first, second, comparison, floor, binary, strides, edges, columns, loops_first, loops_second):  # type: ignore[no-untyped-def]
    """Rows (pair of the first image, pair of the second) that are matched.

    ``edges`` and ``columns`` are those of the comparison; ``loops_first`` and ``loops_second`` (births, codes of the
    edges, reduction) those of either image.
    """
    births_1, edges_1, reduction_1 = loops_first
    births_2, edges_2, reduction_2 = loops_second
    shift = 1 if binary else 0
    killed_2, deaths = compared_loops(comparison, floor, binary, strides, edges, columns, first, births_2, reduction_1)
    if not binary and len(deaths) > 0:
        order = order_of_columns(second, comparison, floor, binary)
        killed_2 = image_births(deaths, order, second, comparison, shift, strides, edges_2, reduction_2)
        count = 0
        for i, place in enumerate(positions(killed_2, births_2)):
            if place >= 0:
                deaths[count], killed_2[count] = deaths[i], killed_2[i]
                count += 1
        deaths, killed_2 = deaths[:count], killed_2[:count]
    if len(deaths) == 0:
        return np.empty((0, 2), np.int64)
    order = order_of_columns(first, comparison, floor, binary)
    killed_1 = image_births(deaths, order, first, comparison, shift, strides, edges_1, reduction_1)
    return match_births(killed_1, killed_2, births_1, births_2)
