"""Pairs of cells that cancel at once, found by comparing neighbouring keys, without sorting anything.

A cell and one of its cofaces are paired in the reduction of any boundary matrix when the coface is the smallest one of
the cell and the cell the largest face of the coface. In the order (value, identity) this can only be so when both have
the same value; hence each test looks for the first coface of equal value and asks whether a larger face of it has that
value too. More than nine of ten cells of an image go this way; what follows works on the rest.
"""

from __future__ import annotations

from nnunet_topo.homology._cells import ABSENT, CREATOR, CRITICAL, DESTROYER, MISSING, square_value
from nnunet_topo.skeletons._jit import jit


@jit
def pair_vertices(keys, strides, parent, edges):  # type: ignore[no-untyped-def]
    """Hang each vertex that an edge of its own value joins to an older one under that one.

    ``parent`` (N) becomes a forest whose roots are the oldest of their trees; such edges become DESTROYER.
    """
    ndim = len(strides)
    for v in range(len(keys)):
        parent[v] = v
        key = keys[v]
        if key == ABSENT:
            continue
        found = False
        for t in range(ndim):  # neighbours in the order of the edges to them
            w = v - strides[t]
            if keys[w] <= key:
                parent[v] = w
                edges[ndim * w + t] = DESTROYER
                found = True
                break
        if found:
            continue
        for t in range(ndim):
            w = v + strides[t]
            if keys[w] <= key:
                if keys[w] < key:
                    parent[v] = w
                    edges[ndim * v + t] = DESTROYER
                break


@jit
def pair_squares(keys, strides, top, parent, walls):  # type: ignore[no-untyped-def]
    """As :func:`pair_tops`, in 2D."""
    size = len(keys)
    sx = strides[0]
    for v in range(size):
        parent[v] = size
        if v + sx + 1 >= size:
            top[v] = ABSENT
            continue
        k00, k01, k10, k11 = keys[v], keys[v + 1], keys[v + sx], keys[v + sx + 1]
        value = max(max(k00, k01), max(k10, k11))
        top[v] = value
        if value == ABSENT:
            continue
        if k10 == value or k11 == value:
            parent[v] = v + sx
            walls[2 * (v + sx) + 1] = CREATOR
        elif k01 == value:
            parent[v] = v + 1
            walls[2 * (v + 1)] = CREATOR
        elif top[v - sx] != value:
            parent[v] = v - sx
            walls[2 * v + 1] = CREATOR
        else:
            parent[v] = v
    top[size] = ABSENT
    parent[size] = size


@jit
def pair_cubes(keys, strides, top, parent, walls):  # type: ignore[no-untyped-def]
    """As :func:`pair_tops`, in 3D."""
    size = len(keys)
    sx, sy, _ = strides
    reach = sx + sy + 1
    for v in range(size):
        parent[v] = size
        if v + reach >= size:
            top[v] = ABSENT
            continue
        k000, k001, k010, k011 = keys[v], keys[v + 1], keys[v + sy], keys[v + sy + 1]
        w = v + sx
        upper = max(max(keys[w], keys[w + 1]), max(keys[w + sy], keys[w + sy + 1]))
        middle = max(k010, k011)
        value = max(max(upper, middle), max(k000, k001))
        top[v] = value
        if value == ABSENT:
            continue
        if upper == value:
            parent[v] = w
            walls[3 * w] = CREATOR
        elif middle == value:
            parent[v] = v + sy
            walls[3 * (v + sy) + 1] = CREATOR
        elif k001 == value:
            parent[v] = v + 1
            walls[3 * (v + 1) + 2] = CREATOR
        elif top[v - 1] != value:
            parent[v] = v - 1
            walls[3 * v + 2] = CREATOR
        else:
            parent[v] = v
    top[size] = ABSENT
    parent[size] = size


@jit
def pair_tops(keys, strides, top, parent, walls):  # type: ignore[no-untyped-def]
    """Values ``top`` (N + 1) of the top cells, and a forest of them across walls of their own value.

    ``parent`` (N + 1): each top cell hangs under the larger neighbour across its largest wall, if that wall has its
    value, and absent ones under the outside, N; such walls become CREATOR.
    """
    if len(strides) == 2:
        pair_squares(keys, strides, top, parent, walls)
    else:
        pair_cubes(keys, strides, top, parent, walls)


@jit
def pair_edges(keys, strides, edges, squares):  # type: ignore[no-untyped-def]
    """In 3D, give edges that are paired with a square its number, 0 to 3, and make that square DESTROYER."""
    for v in range(len(keys)):
        if keys[v] == ABSENT:
            continue
        for axis in range(3):
            edge = 3 * v + axis
            if edges[edge] != CRITICAL:
                continue
            along = strides[axis]
            w = v + along
            if keys[w] == ABSENT:
                continue
            first = 1 if axis == 0 else 0
            second = 1 if axis == 2 else 2
            value = max(keys[v], keys[w])
            # The squares below, then those above: smaller identities first. The type of a square is the third axis.
            step = strides[first]
            if keys[v - step] <= value and keys[w - step] <= value:
                if axis > first or (keys[w - step] != value and keys[w] != value):
                    edges[edge] = 0
                    squares[3 * (v - step) + second] = DESTROYER
                continue
            step = strides[second]
            if keys[v - step] <= value and keys[w - step] <= value:
                if axis > second or (keys[w - step] != value and keys[w] != value):
                    edges[edge] = 1
                    squares[3 * (v - step) + first] = DESTROYER
                continue
            if keys[v + step] <= value and keys[w + step] <= value:
                if second < axis and keys[w] < value and keys[v + step] < value and keys[w + step] < value:
                    edges[edge] = 2
                    squares[3 * v + first] = DESTROYER
                continue
            step = strides[first]
            if keys[v + step] <= value and keys[w + step] <= value:
                if first < axis and keys[w] < value and keys[v + step] < value and keys[w + step] < value:
                    edges[edge] = 3
                    squares[3 * v + second] = DESTROYER


@jit
def spread(marks, strides):  # type: ignore[no-untyped-def]
    """Unite the bits of each voxel with those of its neighbours, corners included; ``marks`` are 0 at the frame."""
    for stride in strides:
        before = marks.copy()
        for v in range(stride, len(marks) - stride):
            marks[v] = before[v - stride] | before[v] | before[v + stride]


@jit
def pair_edges_between(rows, columns, changed, strides, codes, edges, squares):  # type: ignore[no-untyped-def]
    """As :func:`pair_edges`, with edges ordered by one image and squares by another, whatever their values.

    ``codes`` are those of the edges in the image of the rows. What ends a component there becomes DESTROYER, and
    needs no look; pairs are taken over where ``changed`` is not 3, around which both images give the same order.
    """
    of_type = ((2, 1, 1, 2), (2, 0, 0, 2), (1, 0, 0, 1))
    for v in range(len(rows)):
        if rows[v] == ABSENT:
            continue
        if changed[v] != 3:
            for axis in range(3):
                number = codes[3 * v + axis]
                if number > CRITICAL:
                    edges[3 * v + axis] = DESTROYER
                elif number < CRITICAL:
                    first, second = strides[1 if axis == 0 else 0], strides[1 if axis == 2 else 2]
                    corner = v - first if number == 0 else (v - second if number == 1 else v)
                    edges[3 * v + axis] = number
                    squares[3 * corner + of_type[axis][number]] = DESTROYER
            continue
        for axis in range(3):
            edge = 3 * v + axis
            w = v + strides[axis]
            if codes[edge] > CRITICAL:
                edges[edge] = DESTROYER
                continue
            first = 1 if axis == 0 else 0
            second = 1 if axis == 2 else 2
            a, b = strides[first], strides[second]
            own = max(columns[v], columns[w])
            smallest, number, corner, other = ABSENT, 4, v, v
            value = max(own, max(columns[v - a], columns[w - a]))
            if value < smallest:
                smallest, number, corner, other = value, 0, v - a, v - a
            value = max(own, max(columns[v - b], columns[w - b]))
            if value < smallest:
                smallest, number, corner, other = value, 1, v - b, v - b
            value = max(own, max(columns[v + b], columns[w + b]))
            if value < smallest:
                smallest, number, corner, other = value, 2, v, v + b
            value = max(own, max(columns[v + a], columns[w + a]))
            if value < smallest:
                smallest, number, corner, other = value, 3, v, v + a
            if number == 4:
                continue
            # The other three edges of that square must be smaller: the opposite one, and those at v and at w.
            value = max(rows[v], rows[w])
            across = second if number == 1 or number == 2 else first
            beyond = other + strides[axis]
            opposite = max(rows[other], rows[beyond])
            if opposite > value or (opposite == value and other > v):
                continue
            side = max(rows[v], rows[other])
            if side > value or (side == value and 3 * corner + across > edge):
                continue
            side = max(rows[w], rows[beyond])
            if side > value or (side == value and 3 * (corner + strides[axis]) + across > edge):
                continue
            edges[edge] = number
            squares[3 * corner + (first if number == 1 or number == 2 else second)] = DESTROYER


@jit
def mark_missing_edges(keys, strides, edges):  # type: ignore[no-untyped-def]
    ndim = len(strides)
    for v in range(len(keys)):
        for t in range(ndim):
            if keys[v] == ABSENT or keys[v + strides[t]] == ABSENT:
                edges[ndim * v + t] = MISSING


@jit
def mark_missing_squares(keys, strides, squares):  # type: ignore[no-untyped-def]
    for square in range(len(squares)):
        if squares[square] == CRITICAL and (
            keys[square // 3] == ABSENT or square_value(keys, strides, square) == ABSENT
        ):
            squares[square] = MISSING
