"""Apparent pairs of edges and squares in a volume: see ``_apparent.py``."""

from __future__ import annotations

import numpy as np

from nnunet_topo.homology._apparent import (
    by_identity,
    mark_hanging,
    mark_missing,
    pair_tops,
    pair_vertices,
    raised,
)
from nnunet_topo.homology._cells import ABSENT, CREATOR, CRITICAL, DESTROYER, lowered
from nnunet_topo.kernels.jit import jit

NO_FACE = np.uint8(4)  # the largest face of a square that is absent


@jit
def edge_values(keys, strides, closed):  # type: ignore[no-untyped-def]
    """Values of the edges along each axis."""
    if closed:
        one, two = lowered(keys, strides[0]), lowered(keys, strides[2])
        return lowered(two, strides[1]), lowered(two, strides[0]), lowered(one, strides[1])
    return raised(keys, strides[0]), raised(keys, strides[1]), raised(keys, strides[2])


@jit
def square_values(keys, strides, closed):  # type: ignore[no-untyped-def]
    """Values of the squares across each axis."""
    if closed:
        return lowered(keys, strides[0]), lowered(keys, strides[1]), lowered(keys, strides[2])
    one, two = raised(keys, strides[0]), raised(keys, strides[2])
    return raised(two, strides[1]), raised(two, strides[0]), raised(one, strides[1])


@jit
def largest_faces(along_p, along_q, step_p, step_q, closed):  # type: ignore[no-untyped-def]
    """Number of the largest edge of the squares along two axes, p the slower one.

    In the order of identities: 0 along p, 1 along q, both from the lowest corner; 2 along p, 3 along q, opposite. In a
    closed complex 1 comes before 0.
    """
    numbers = np.full(len(along_p), NO_FACE, np.uint8)
    count = len(along_p) - step_p
    near_p, far_p, near_q, far_q = along_p[:count], along_p[step_q:], along_q[:count], along_q[step_p:]
    for i in range(count):
        near, far = max(near_p[i], near_q[i]), max(far_p[i], far_q[i])
        if closed:
            number = 1 if near_q[i] > near_p[i] else 0
        else:
            number = 1 if near_q[i] >= near_p[i] else 0
        if far >= near:
            number = 3 if far_q[i] >= far_p[i] else 2
        numbers[i] = NO_FACE if max(near, far) == ABSENT else number
    return numbers


@jit
def smallest_cofaces(across_first, across_second, step_first, step_second):  # type: ignore[no-untyped-def]
    """Number of the smallest square at the edges along one axis, given the squares across the other two.

    In the order of identities: 0 towards the past of the first of the other axes, 1 of the second; then 2 and 3,
    towards the next of the second and of the first. Nothing at the frame.
    """
    size, margin = len(across_first), max(step_first, step_second)
    numbers = np.full(size, CRITICAL, np.uint8)
    count = size - margin
    inside = numbers[margin:]
    zero, one = across_second[margin - step_first :], across_first[margin - step_second :]
    two, three = across_first[margin:], across_second[margin:]
    for i in range(count):
        before, after = min(zero[i], one[i]), min(two[i], three[i])
        number = 0 if zero[i] <= one[i] else 1
        if after < before:
            number = 2 if two[i] <= three[i] else 3
        inside[i] = number
    return numbers


@jit
def agreed(numbers, faces_first, faces_second, steps, before):  # type: ignore[no-untyped-def]
    """Numbers of :func:`smallest_cofaces` of edges that are the largest face of that square; CRITICAL for others.

    ``before``: whether the axis of the edges comes before either of the other two, whose ``steps`` these are.
    """
    margin = max(steps[0], steps[1])
    inside = numbers[margin:]
    zero, one = faces_second[margin - steps[0] :], faces_first[margin - steps[1] :]
    two, three = faces_first[margin:], faces_second[margin:]
    face_zero, face_one = np.uint8(2 if before[0] else 3), np.uint8(2 if before[1] else 3)
    face_two, face_three = np.uint8(0 if before[1] else 1), np.uint8(0 if before[0] else 1)
    for i in range(len(inside)):
        number = inside[i]
        past = ((number == 0) & (zero[i] == face_zero)) | ((number == 1) & (one[i] == face_one))
        future = ((number == 2) & (two[i] == face_two)) | ((number == 3) & (three[i] == face_three))
        inside[i] = number if past | future else CRITICAL


@jit
def mark_filling(numbers_p, numbers_q, step_p, step_q, second_p, second_q, marks):  # type: ignore[no-untyped-def]
    """Mark squares along two axes that one of their edges is paired with as DESTROYER.

    ``second_p``: whether q is the second of the other two axes for edges along p; ``second_q`` likewise.
    """
    count = len(marks) - step_p
    far_p, far_q = numbers_p[step_q:], numbers_q[step_p:]
    next_p, last_p = np.uint8(2 if second_p else 3), np.uint8(1 if second_p else 0)
    next_q, last_q = np.uint8(2 if second_q else 3), np.uint8(1 if second_q else 0)
    for i in range(count):
        along_p = (numbers_p[i] == next_p) | (far_p[i] == last_p)
        along_q = (numbers_q[i] == next_q) | (far_q[i] == last_q)
        marks[i] = DESTROYER if along_p | along_q else marks[i]


@jit
def pair_edges(edges, squares, strides, closed):  # type: ignore[no-untyped-def]
    """Numbers (3, N) of the squares with which edges are paired, and codes (3, N) of squares with these marked.

    ``edges``: values of those along each axis, ``squares``: of those across each axis, which may be those of another
    image.
    """
    sx, sy, sz = strides
    faces_0 = largest_faces(edges[1], edges[2], sy, sz, closed)
    faces_1 = largest_faces(edges[0], edges[2], sx, sz, closed)
    faces_2 = largest_faces(edges[0], edges[1], sx, sy, closed)
    numbers, codes = np.empty((3, len(edges[0])), np.uint8), np.full((3, len(edges[0])), CRITICAL, np.uint8)
    numbers[0] = smallest_cofaces(squares[1], squares[2], sy, sz)
    numbers[1] = smallest_cofaces(squares[0], squares[2], sx, sz)
    numbers[2] = smallest_cofaces(squares[0], squares[1], sx, sy)
    agreed(numbers[0], faces_1, faces_2, (sy, sz), (True, True))
    agreed(numbers[1], faces_0, faces_2, (sx, sz), (False, True))
    agreed(numbers[2], faces_0, faces_1, (sx, sy), (False, False))
    mark_filling(numbers[1], numbers[2], sy, sz, True, True, codes[0])
    mark_filling(numbers[0], numbers[2], sx, sz, True, False, codes[1])
    mark_filling(numbers[0], numbers[1], sx, sy, False, False, codes[2])
    return numbers, codes


@jit
def pair_volume(rows, columns, strides, closed):  # type: ignore[no-untyped-def]
    """Codes of edges and of squares, forest of vertices, values and forest of the cubes.

    ``rows``: keys by which vertices and edges are ordered; ``columns``: those for squares and cubes.
    """
    edges, squares = edge_values(rows, strides, closed), square_values(columns, strides, closed)
    vertices = lowered(edges[2], strides[2]) if closed else rows
    cubes = columns if closed else raised(squares[0], strides[0])
    parent = pair_vertices(vertices, edges, strides, closed)
    top, top_parent = pair_tops(cubes, squares, strides, closed)
    edge_codes, square_codes = pair_edges(edges, squares, strides, closed)
    for t in range(3):
        step = strides[t]
        mark_hanging(parent, step, DESTROYER, edge_codes[t])
        mark_hanging(top_parent, step, CREATOR, square_codes[t, step:])
        mark_missing(edges[t], edge_codes[t])
        mark_missing(squares[t], square_codes[t])
    edge_codes = by_identity(edge_codes, strides, closed, (2, 1, 0))
    return edge_codes, by_identity(square_codes, strides, closed, (0, 1, 2)), parent, top, top_parent
