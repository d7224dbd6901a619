"""Induced matchings: pairs of two images whose births end in the comparison image with the same cell."""

from __future__ import annotations

import numpy as np

from nnunet_topo.homology._cells import wall_value
from nnunet_topo.kernels.jit import jit


@jit
def positions(sought, among):  # type: ignore[no-untyped-def]
    """Where each number stands among others, all different: -1 if it does not."""
    order = np.argsort(among)
    result = np.full(len(sought), -1, np.int64)
    for i in range(len(sought)):
        low, high = 0, len(among)
        while low < high:
            middle = (low + high) // 2
            if among[order[middle]] < sought[i]:
                low = middle + 1
            else:
                high = middle
        if low < len(among) and among[order[low]] == sought[i]:
            result[i] = order[low]
    return result


@jit
def match_births(killed_first, killed_second, births_first, births_second):  # type: ignore[no-untyped-def]
    """Rows (pair of the first image, pair of the second) whose births end together in the comparison."""
    one, two = positions(killed_first, births_first), positions(killed_second, births_second)
    matched = np.empty((len(one), 2), np.int64)
    count = 0
    for i in range(len(one)):
        if one[i] >= 0 and two[i] >= 0:
            matched[count, 0], matched[count, 1] = one[i], two[i]
            count += 1
    return matched[:count].copy()


@jit
def positive_cavities(image, floor, strides, births, deaths, top):  # type: ignore[no-untyped-def]
    """Those of the comparison's pairs that are of positive length when values below floor count as equal to it."""
    keys, closed = image.keys, image.closed
    count = 0
    for i in range(len(births)):
        if max(wall_value(keys, strides, closed, births[i]), floor) < top[deaths[i]]:
            births[count], deaths[count] = births[i], deaths[i]
            count += 1
    return births[:count], deaths[:count]


@jit
def match_cavities(births, deaths, starts_first, starts_second, alike, births_first, births_second):  # type: ignore[no-untyped-def]
    """The same for the top dimension, given the pairs of the comparison and the starts of the image persistences."""
    killed_first, killed_second = np.empty(len(deaths), np.int32), births.copy()
    for i in range(len(deaths)):
        killed_first[i] = starts_first[deaths[i]]
        if not alike:
            killed_second[i] = starts_second[deaths[i]]
    return match_births(killed_first, killed_second, births_first, births_second)
