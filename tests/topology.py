"""Topology by its definitions, slow and obvious: what the tests of skeletons are judged by.

Foreground is 26-connected, background 6-connected (8 and 4 in 2D).
"""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import strategies as st
from scipy import ndimage


def components(masks: np.ndarray, faces_only: bool) -> np.ndarray:
    """Labels of the connected components of (N, *S) masks, which are not connected with each other."""
    axes = masks.ndim - 1
    structure = np.zeros((3,) * masks.ndim, bool)
    structure[1] = ndimage.generate_binary_structure(axes, 1 if faces_only else axes)
    return ndimage.label(masks, structure)[0]


def component_counts(masks: np.ndarray, faces_only: bool) -> np.ndarray:
    _, first = np.unique(components(masks, faces_only), return_index=True)
    first = first[masks.reshape(-1)[first]]  # without the background's
    return np.bincount(first // masks[0].size, minlength=len(masks))


def euler_numbers(masks: np.ndarray) -> np.ndarray:
    """Vertices - edges + squares - cubes of the unions of closed unit cubes."""
    axes = masks.ndim - 1
    result = np.zeros(len(masks), int)
    for thin in itertools.product((False, True), repeat=axes):
        cells = np.pad(masks, [(0, 0)] + [(1, 1)] * axes)
        for axis in np.flatnonzero(thin) + 1:  # the cell between two voxels belongs to both
            cells = np.delete(cells, -1, axis) | np.delete(cells, 0, axis)
        result += (-1) ** (axes - sum(thin)) * cells.reshape(len(masks), -1).sum(1)
    return result


def betti_numbers_of_each(masks: np.ndarray) -> np.ndarray:
    """Betti numbers (N, axes) of (N, *S) masks, of two or three spatial axes of any size but 0."""
    outside = np.pad(~masks, [(0, 0)] + [(1, 1)] * (masks.ndim - 1), constant_values=True)
    first, last = component_counts(masks, False), component_counts(outside, True) - 1
    if masks.ndim == 3:
        return np.stack([first, last], 1)
    return np.stack([first, first + last - euler_numbers(masks), last], 1)


def is_simple(neighbourhoods: np.ndarray) -> np.ndarray:
    """Whether the central voxels of (N, 3, 3[, 3]) foreground may go: one foreground component is left of their
    neighbours, and one background component that touches them by a face, within the 18 (in 2D 8) neighbours."""
    axes = neighbourhoods.ndim - 1
    off_centre = np.abs(np.indices((3,) * axes) - 1).sum(0)
    around = neighbourhoods & (off_centre > 0)
    background = components(~neighbourhoods & (off_centre > 0) & (off_centre <= 2), True)
    touching = np.where(off_centre == 1, background, 0).reshape(len(background), -1)
    largest = touching.max(1, keepdims=True)
    one_background = (largest[:, 0] > 0) & ((touching == 0) | (touching == largest)).all(1)
    return (component_counts(around, False) == 1) & one_background


def keeps_euler_number(neighbourhoods: np.ndarray) -> np.ndarray:
    """Whether deleting the central voxels of (N, 3, 3[, 3]) foreground leaves the Euler number as it is."""
    with_centre, without = neighbourhoods.copy(), neighbourhoods.copy()
    centre = (slice(None), *[1] * (neighbourhoods.ndim - 1))
    with_centre[centre], without[centre] = True, False
    return euler_numbers(with_centre) == euler_numbers(without)


def random_masks(rng: np.random.Generator, count: int, *shape: int) -> np.ndarray:
    """(count, *shape), each of another density from nearly empty to nearly full."""
    return rng.random((count, *shape)) < rng.uniform(0.02, 0.98, (count, *[1] * len(shape)))


seeds = st.integers(0, 2**32 - 1)
shapes = st.one_of(
    st.lists(st.integers(1, 11), min_size=2, max_size=2),
    st.lists(st.integers(1, 7), min_size=3, max_size=3),
)
