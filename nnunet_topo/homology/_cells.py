"""Cells of a padded image, their values and their order, for the kernels of Betti matching.

An image is a flat array of int32 keys (the negated values, mapped so that integers are ordered as they are) with one
voxel of ``ABSENT`` around it, so that no kernel asks for borders. ``strides`` are those of the padded array, the last
one is 1; their number is the number of axes. v is the lowest corner of a cell, which follows with its type from the
cell's identity. Cells are ordered by (value, identity).

open      voxels are vertices; a cell has the largest key among its corners. Cells that stick out are absent for that
          reason. Identities are ``ndim * v + type``, in the order of (x, y, z, type) as the authors have it.
closed    voxels are top cells, v with the lowest corner v; a cell has the smallest key among the voxels that hold it.
          The corners are one more along each axis, for which the voxel of frame behind the last has room. Identities
          are in the order of the cells' middles (x, y, z), that of the authors' code on a grid of corners and middles.

edges     type t runs from v along axis t
walls     the facets of top cells: in 2D the edges themselves; in 3D squares, type t across axis t
top cells one per voxel, with v as lowest corner; one more, number N, stands for everything outside
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nnunet_topo.kernels.jit import jit

ABSENT = np.int32(2**31 - 1)
LOWEST, HIGHEST = np.int32(-0x3F800001), np.int32(0)  # keys of the values 1 and 0


# ``closed`` is a tuple, false where it is empty. numba compiles for types: each complex has machine code of its own,
# without the branches of the other, which took 1.7 times as long.
CLOSED: dict[str, tuple[bool, ...]] = {"foreground": (True,), "background": ()}


class Image(NamedTuple):
    """Keys of the voxels, the values of the vertices, and whether the complex is closed."""

    keys: Any
    vertices: Any
    closed: Any


# What is known of a cell. Below CRITICAL: an edge in 3D, born together with the square that fills its loop, one of
# the four that contain it. Such pairs, and those of CREATOR and DESTROYER found without any order, are apparent:
# each is the other's smallest coface and largest face (U. Bauer, "Ripser", J. Appl. Comput. Topol. 5, 2021, section 3).
CRITICAL = np.uint8(4)  # nothing known yet
DESTROYER = np.uint8(5)  # ends a feature of one dimension less
CREATOR = np.uint8(6)  # starts a feature that a top cell ends
MISSING = np.uint8(7)  # not a cell of the image


@jit
def keys_of(image, shape):  # type: ignore[no-untyped-def]
    """Keys of a padded image from its float32 values, in a row; an image in 2D has 0 as depth.

    Tells whether all are finite, whether all lie between 0 and 1, and whether all are 0 or 1.
    """
    depth, height, width = shape
    flat = depth == 0
    keys = np.full((1 if flat else depth + 2) * (height + 2) * (width + 2), ABSENT, np.int32)
    values = keys.view(np.float32)
    infinity = np.int32(0x7F800000)
    smallest, largest, mask = ABSENT, -ABSENT, True
    for x in range(max(depth, 1)):
        for y in range(height):
            start = ((0 if flat else (x + 1) * (height + 2)) + y + 1) * (width + 2) + 1
            source = image[(x * height + y) * width :]
            here, bits = values[start : start + width], keys[start : start + width]
            for z in range(width):
                here[z] = np.float32(0) - source[z]  # which is never -0
            for z in range(width):
                key = bits[z] ^ ((bits[z] >> 31) & ABSENT)
                bits[z] = key
                smallest, largest = min(smallest, key), max(largest, key)
                mask &= (key == LOWEST) | (key == HIGHEST)
    within = LOWEST <= smallest and largest <= HIGHEST
    return keys, -infinity - 1 < smallest and largest < infinity, within, mask


@jit
def lowered(values, step):  # type: ignore[no-untyped-def]
    """The smaller of each value and the one a step before: of a closed complex, from top cells to walls and so on."""
    result = values.copy()
    here, before = values[step:], values[: len(values) - step]
    target = result[step:]
    for i in range(len(here)):
        target[i] = min(here[i], before[i])
    return result


@jit
def image_of(keys, strides, closed):  # type: ignore[no-untyped-def]
    vertices = keys
    if closed:
        for step in strides:
            vertices = lowered(vertices, step)
    return Image(keys, vertices, closed)


@jit
def voxel_in_image(v, shape):  # type: ignore[no-untyped-def]
    """Index in the image of a voxel of the padded image."""
    depth, height, width = shape
    row, z = v // (width + 2), v % (width + 2) - 1
    if depth == 0:
        return (row - 1) * width + z
    return ((row // (height + 2) - 1) * height + row % (height + 2) - 1) * width + z


@jit(inlined=True)
def edge_at(strides, closed, v, axis):  # type: ignore[no-untyped-def]
    """The identity of the edge from v along an axis."""
    ndim = len(strides)
    if not closed:
        return ndim * v + axis
    plane = strides[0]
    x = np.int64(np.uint32(v) // np.uint32(plane))
    first = v + (ndim - 1) * plane * x  # ndim * plane * x and the place in the plane
    if axis == 0:
        return first + (ndim - 1) * plane
    if ndim == 2:
        return first
    row = strides[1]
    y = np.int64(np.uint32(v - plane * x) // np.uint32(row))
    return first + row * y + (row if axis == 1 else 0)


@jit(inlined=True)
def edge_parts(strides, closed, edge):  # type: ignore[no-untyped-def]
    """The lowest corner and the axis of an edge."""
    ndim = len(strides)
    if not closed:
        v = edge // ndim
        return v, edge - ndim * v
    plane = strides[0]
    x = np.int64(np.uint32(edge) // np.uint32(ndim * plane))
    place = edge - ndim * plane * x
    if place >= (ndim - 1) * plane:
        return plane * x + place - (ndim - 1) * plane, np.int64(0)
    if ndim == 2:
        return plane * x + place, np.int64(1)
    return row_parts(strides[1], plane * x, place, np.int64(2), np.int64(1))


@jit(inlined=True)
def row_parts(row, start, place, one, other):  # type: ignore[no-untyped-def]
    """The corner and type of a cell, where each row of a plane has cells of one type before those of another."""
    y = np.int64(np.uint32(place) // np.uint32(2 * row))
    place -= 2 * row * y
    if place >= row:
        return start + row * y + place - row, other
    return start + row * y + place, one


@jit(inlined=True)
def square_at(strides, closed, v, axis):  # type: ignore[no-untyped-def]
    """The identity, in 3D, of the square with v across an axis."""
    if not closed:
        return 3 * v + axis
    plane, row = strides[0], strides[1]
    x = np.int64(np.uint32(v) // np.uint32(plane))
    first = v + 2 * plane * x
    if axis == 0:
        return first
    y = np.int64(np.uint32(v - plane * x) // np.uint32(row))
    return first + plane + row * y + (row if axis == 2 else 0)


@jit(inlined=True)
def square_parts(strides, closed, square):  # type: ignore[no-untyped-def]
    """The lowest corner of a square in 3D, and the axis that it is across."""
    if not closed:
        v = square // 3
        return v, square - 3 * v
    plane = strides[0]
    x = np.int64(np.uint32(square) // np.uint32(3 * plane))
    place = square - 3 * plane * x
    if place < plane:
        return plane * x + place, np.int64(0)
    return row_parts(strides[1], plane * x, place - plane, np.int64(1), np.int64(2))


@jit(inlined=True)
def wall_at(strides, closed, v, across):  # type: ignore[no-untyped-def]
    if len(strides) == 2:
        return edge_at(strides, closed, v, 1 - across)
    return square_at(strides, closed, v, across)


@jit(inlined=True)
def wall_parts(strides, closed, wall):  # type: ignore[no-untyped-def]
    """The lowest corner of a wall, and the axis that it is across."""
    if len(strides) == 2:
        v, axis = edge_parts(strides, closed, wall)
        return v, 1 - axis
    return square_parts(strides, closed, wall)


@jit(inlined=True)
def edge_value(keys, strides, closed, edge):  # type: ignore[no-untyped-def]
    v, axis = edge_parts(strides, closed, edge)
    if not closed:
        return max(keys[v], keys[v + strides[axis]])
    if len(strides) == 2:
        return min(keys[v], keys[v - strides[1 - axis]])
    a, b = spanned(strides, axis)
    return min(min(keys[v], keys[v - a]), min(keys[v - b], keys[v - a - b]))


@jit(inlined=True)
def square_value(keys, strides, closed, square):  # type: ignore[no-untyped-def]
    """Value of a square in 3D."""
    v, axis = square_parts(strides, closed, square)
    if closed:
        return min(keys[v], keys[v - strides[axis]])
    a, b = spanned(strides, axis)
    return max(max(keys[v], keys[v + a]), max(keys[v + b], keys[v + a + b]))


@jit(inlined=True)
def spanned(strides, across):  # type: ignore[no-untyped-def]
    """Strides along the two axes of a square in 3D, the slower one first; or across an edge along that axis."""
    if across == 0:
        return strides[1], strides[2]
    if across == 1:
        return strides[0], strides[2]
    return strides[0], strides[1]


@jit(inlined=True)
def wall_value(keys, strides, closed, wall):  # type: ignore[no-untyped-def]
    if len(strides) == 2:
        return edge_value(keys, strides, closed, wall)
    return square_value(keys, strides, closed, wall)


@jit
def edge_voxel(keys, strides, edge):  # type: ignore[no-untyped-def]
    """The voxel that gives an edge its value; of two the last."""
    ndim = len(strides)
    v = edge // ndim
    w = v + strides[edge - ndim * v]
    return w if keys[w] >= keys[v] else v


@jit
def square_voxel(keys, a, b, v):  # type: ignore[no-untyped-def]
    """The voxel that gives a square its value; of several the last."""
    best = v + a + b
    for corner in (v + a, v + b, v):
        if keys[corner] > keys[best]:
            best = corner
    return best


@jit
def wall_voxel(keys, strides, wall):  # type: ignore[no-untyped-def]
    if len(strides) == 2:
        return edge_voxel(keys, strides, wall)
    a, b = spanned(strides, wall % 3)
    return square_voxel(keys, a, b, wall // 3)


@jit
def top_voxel(keys, strides, v):  # type: ignore[no-untyped-def]
    """The voxel that gives a top cell its value; of several the last in 2D, but the first in 3D."""
    a, b = strides[len(strides) - 2], strides[len(strides) - 1]
    if len(strides) == 2:
        return square_voxel(keys, a, b, v)
    best = v
    for start in (v, v + strides[0]):
        for corner in (start, start + b, start + a, start + a + b):
            if keys[corner] > keys[best]:
                best = corner
    return best


@jit
def closed_voxel(keys, strides, v, along):  # type: ignore[no-untyped-def]
    """The voxel that gives a cell of a closed complex its value, ``along``: bits of its axes; of several the last."""
    best = v
    for subset in range(1, 1 << len(strides)):
        if subset & along == 0:
            w = v
            for t in range(len(strides)):
                w -= strides[t] if subset & (1 << t) else 0
            if keys[w] < keys[best] or (keys[w] == keys[best] and w > best):
                best = w
    return best


@jit(inlined=True)
def labelled(value, cell):  # type: ignore[no-untyped-def]
    """A cell with its value in front, in one integer."""
    return (np.int64(value) << 32) | np.int64(cell)


@jit
def critical_cells(codes):  # type: ignore[no-untyped-def]
    """Identities of critical cells, in rising order."""
    cells = np.empty(len(codes) + 1, np.int32)
    count = 0
    for cell in range(len(codes)):
        cells[count] = cell  # to be overwritten if it is not meant: no branch that is hard to foresee
        count += codes[cell] == CRITICAL
    return cells[:count]


@jit
def sorted_edges(image, strides, edges):  # type: ignore[no-untyped-def]
    """Critical edges in rising order."""
    cells, keys, closed = critical_cells(edges), image.keys, image.closed
    items = np.empty(len(cells), np.int64)
    for i in range(len(cells)):
        items[i] = labelled(edge_value(keys, strides, closed, np.int64(cells[i])), cells[i])
    return sort_by_value(items)


@jit
def sorted_walls(image, strides, walls):  # type: ignore[no-untyped-def]
    """Critical walls in rising order."""
    cells, keys, closed = critical_cells(walls), image.keys, image.closed
    items = np.empty(len(cells), np.int64)
    for i in range(len(cells)):
        items[i] = labelled(wall_value(keys, strides, closed, np.int64(cells[i])), cells[i])
    return sort_by_value(items)


@jit
def sort_by_value(cells):  # type: ignore[no-untyped-def]
    """Cells (int32) in rising order from :func:`labelled` ones, given by rising identity, by radix sort."""
    length = len(cells)
    smallest, largest = np.int64(ABSENT), -np.int64(ABSENT) - 1
    for i in range(length):
        smallest, largest = min(smallest, cells[i] >> 32), max(largest, cells[i] >> 32)
    here, there = cells, np.empty(length, np.int64)
    count = np.empty(2048, np.int64)
    shift = 0
    while length > 0 and (largest - smallest) >> shift > 0:
        count[:] = 0
        for i in range(length):
            count[(((here[i] >> 32) - smallest) >> shift) & 2047] += 1
        total = 0
        for digit in range(2048):
            total, count[digit] = total + count[digit], total
        for i in range(length):
            digit = (((here[i] >> 32) - smallest) >> shift) & 2047
            there[count[digit]] = here[i]
            count[digit] += 1
        here, there = there, here
        shift += 11
    result = np.empty(length, np.int32)
    for i in range(length):
        result[i] = here[i] & np.int64(0xFFFFFFFF)
    return result
