"""Loops of two masks in their union, by labels of its edges in its first homology, without persistence.

Every edge of the union gets the class, modulo 2, of the loop that it closes with the edges before it: 0 where it joins
two pieces; the sum over the rest of a square that it completes; else a new generator. Any further square that an edge
completes is a relation between generators, which leaves the last of them dependent on those before. Nearly all labels
are 0.
"""

from __future__ import annotations

import numpy as np

from nnunet_topo.homology._components import find
from nnunet_topo.kernels.jit import jit

UNSEEN = np.int32(-1)
VERTEX, EDGE, SQUARE = 1, 2, 16  # bits of a cell; of an edge for the axis along it, of a square for the one across


@jit
def sum_of(one, two):  # type: ignore[no-untyped-def]
    """Sum modulo 2 of two vectors, given as rising numbers of the generators in them."""
    result = np.empty(len(one) + len(two), np.int32)
    count, i, j = 0, 0, 0
    while i < len(one) or j < len(two):
        if j == len(two) or (i < len(one) and one[i] < two[j]):
            result[count] = one[i]
            count, i = count + 1, i + 1
        elif i == len(one) or two[j] < one[i]:
            result[count] = two[j]
            count, j = count + 1, j + 1
        else:
            i, j = i + 1, j + 1
    return result[:count].copy()


@jit
def reduced(vector, relations):  # type: ignore[no-untyped-def]
    """The same class without dependent generators; ``relations`` end with the generator that depends on the rest."""
    place = len(vector) - 1
    while place >= 0:
        generator = vector[place]
        if len(relations[generator]) > 0:
            vector = sum_of(vector, relations[generator])
            place = np.searchsorted(vector, generator)
        place -= 1
    return vector


@jit
def stored(vector, vectors, heirs, checked, known):  # type: ignore[no-untyped-def]
    """The label of a new vector."""
    if len(vector) == 0:
        return np.int32(0)
    vectors.append(vector)
    heirs.append(np.int32(len(vectors) - 1))
    checked.append(known)
    return np.int32(len(vectors) - 1)


@jit
def current(label, vectors, heirs, checked, relations, known):  # type: ignore[no-untyped-def]
    """The label of the same class without generators that are known to be dependent by now."""
    while heirs[label] != label:
        label = heirs[label]
    if label == 0 or checked[label] == known:
        return label
    for generator in vectors[label]:
        if len(relations[generator]) > 0:
            heirs[label] = stored(reduced(vectors[label], relations), vectors, heirs, checked, known)
            return heirs[label]
    checked[label] = known
    return label


@jit
def added(one, two, vectors, heirs, checked, relations, known):  # type: ignore[no-untyped-def]
    """The label of the sum of two classes."""
    if one != 0:
        one = current(one, vectors, heirs, checked, relations, known)
    if two != 0:
        two = current(two, vectors, heirs, checked, relations, known)
    if one == 0 or two == 0:
        return one + two
    if one == two:
        return np.int32(0)
    return stored(sum_of(vectors[one], vectors[two]), vectors, heirs, checked, known)


@jit
def cells_of(mask, strides, closed):  # type: ignore[no-untyped-def]
    """The cells of a padded mask with their lowest corner at each place, as bits: VERTEX, EDGE << axis, SQUARE << axis.

    ``closed``: voxels are closed cubes, and the corner with the lowest coordinates of voxel v is v itself; a cell is
    there when any voxel that holds it is. Else voxels are the vertices; a cell is there when all of its vertices are.
    """
    sx, sy, _ = strides
    cells = np.zeros(len(mask), np.uint8)
    sign = -1 if closed else 1
    x, y, z = sign * sx, sign * sy, sign
    margin = sx + sy + 1
    for v in range(margin, len(mask)) if closed else range(len(mask) - margin):
        m, mx, my, mz = mask[v], mask[v + x], mask[v + y], mask[v + z]
        mxy, mxz, myz, mxyz = mask[v + x + y], mask[v + x + z], mask[v + y + z], mask[v + x + y + z]
        if closed:
            ox, oy, oz = m | mx, m | my, m | mz
            along_x, along_y, along_z = oy | mz | myz, ox | mz | mxz, ox | my | mxy
            vertex = along_x | mx | mxy | mxz | mxyz
        else:
            vertex, along_x, along_y, along_z = m, m & mx, m & my, m & mz
            ox, oy, oz = along_y & mz & myz, along_x & mz & mxz, along_x & my & mxy
        edges = EDGE * along_x + 2 * EDGE * along_y + 4 * EDGE * along_z
        cells[v] = VERTEX * vertex + edges + SQUARE * ox + 2 * SQUARE * oy + 4 * SQUARE * oz
    return cells


@jit
def label_edges(cells, number, count, shape, strides, published):  # type: ignore[no-untyped-def]
    """Labels (3 * count) of the edges of a mask, and the classes they stand for.

    ``number`` has the vertices among the ``cells`` of the padded mask numbered in their order; the edge from vertex i
    along axis t is 3 * i + t. Classes are vectors over generators: heirs[label] is the vector's number, and vector k is
    members[ends[k]:ends[k + 1]], with independent generators only, numbered in their order.

    Edges are labelled as they are stored. ``published``: in the order in which the squares of the box reach them.
    """
    labels = np.full(3 * count, UNSEEN, np.int32)
    parent = np.arange(count, dtype=np.int32)
    vectors = [np.empty(0, np.int32)]
    heirs, checked = [np.int32(0)], [0]
    relations = [np.empty(0, np.int32)]
    relations.pop()
    known = 0
    depth, height, width = shape
    sx, sy, _ = strides
    reached, axes = np.empty(8, np.int64), np.empty(8, np.int64)
    if not published:
        for v in range(len(cells)):
            if cells[v] != 0:
                for axis in range(3):
                    if cells[v] & (EDGE << axis) == 0:
                        continue
                    known = label_edge(
                        v, axis, cells, number, strides, labels, parent, vectors, heirs, checked, relations, known
                    )
        return labels, *_tables(vectors, heirs, checked, relations, known)
    for x in range(depth):
        for y in range(height):
            for z in range(width):
                # The squares with their lowest corner here, across axis 0, 1, 2, and edges that no square before had.
                v = (x + 1) * sx + (y + 1) * sy + z + 1
                edges = 0
                if x == 0:
                    if z == 0:
                        reached[edges], axes[edges], edges = v, 1, edges + 1
                    if y == 0:
                        reached[edges], axes[edges], edges = v, 2, edges + 1
                    reached[edges], axes[edges], edges = v + 1, 1, edges + 1
                    reached[edges], axes[edges], edges = v + sy, 2, edges + 1
                if y == 0:
                    if z == 0:
                        reached[edges], axes[edges], edges = v, 0, edges + 1
                    reached[edges], axes[edges], edges = v + 1, 0, edges + 1
                reached[edges], axes[edges], edges = v + sx, 2, edges + 1
                reached[edges], axes[edges], edges = v + sx, 1, edges + 1
                reached[edges], axes[edges], edges = v + sy, 0, edges + 1
                for k in range(edges):
                    if cells[reached[k]] & (EDGE << axes[k]) == 0:
                        continue
                    known = label_edge(
                        reached[k], axes[k], cells, number, strides, labels, parent, vectors, heirs, checked, relations,
                        known,
                    )  # fmt: skip
    return labels, *_tables(vectors, heirs, checked, relations, known)


@jit
def label_edge(u, axis, cells, number, strides, labels, parent, vectors, heirs, checked, relations, known):  # type: ignore[no-untyped-def]
    """Label the edge from place u along an axis; the new number of relations."""
    w = u + strides[axis]
    i, j = number[u], number[w]
    label = UNSEEN
    for t in range(3):
        if t == axis:
            continue
        for step in (-strides[t], strides[t]):
            if cells[u + min(step, 0)] & (SQUARE << (3 - axis - t)) == 0:
                continue
            a, b = number[u + step], number[w + step]
            opposite = labels[3 * a + axis]
            side = labels[3 * (a if step < 0 else i) + t]
            other = labels[3 * (b if step < 0 else j) + t]
            if opposite < 0 or side < 0 or other < 0:
                continue
            total = opposite
            if side != 0 or other != 0 or total != 0:
                total = added(side, total, vectors, heirs, checked, relations, known)
                total = added(other, total, vectors, heirs, checked, relations, known)
            if label < 0:
                label = total
            elif label != total:
                total = added(label, total, vectors, heirs, checked, relations, known)
                total = current(total, vectors, heirs, checked, relations, known)
                if total != 0:
                    relations[vectors[total][-1]] = vectors[total]
                    known += 1
    if label < 0:
        one, two = find(parent, i), find(parent, j)
        if one != two:
            parent[max(one, two)] = min(one, two)
            label = np.int32(0)
        else:
            generator = np.array([len(relations)], np.int32)
            label = stored(generator, vectors, heirs, checked, known)
            relations.append(np.empty(0, np.int32))
    labels[3 * i + axis] = label
    return known


@jit
def _tables(vectors, heirs, checked, relations, known):  # type: ignore[no-untyped-def]
    label = 0
    while label < len(vectors):  # grows meanwhile
        current(np.int32(label), vectors, heirs, checked, relations, known)
        label += 1
    heir = np.empty(len(heirs), np.int32)
    ends = np.zeros(len(vectors) + 1, np.int64)
    for k in range(len(vectors)):
        heir[k] = current(np.int32(k), vectors, heirs, checked, relations, known)
        ends[k + 1] = ends[k] + len(vectors[k])
    members = np.empty(ends[-1], np.int32)
    for k in range(len(vectors)):
        members[ends[k] : ends[k + 1]] = vectors[k]
    return heir, ends, members


@jit
def labelled_edges(number, count, cells, strides, labels, heirs):  # type: ignore[no-untyped-def]
    """Edges with labels other than 0 of a part of the mask, as rows (region, region, label).

    ``cells``: of the part; regions are its pieces by the edges with the label 0.
    """
    parent = np.arange(count, dtype=np.int32)
    kept = 0
    for v in range(len(number)):
        if cells[v] == 0:
            continue
        i = number[v]
        for t in range(3):
            if cells[v] & (EDGE << t):
                if heirs[labels[3 * i + t]] == 0:
                    one, two = find(parent, i), find(parent, number[v + strides[t]])
                    parent[max(one, two)] = min(one, two)
                else:
                    kept += 1
    rows = np.empty((kept, 3), np.int32)
    kept = 0
    for v in range(len(number)):
        if cells[v] == 0 or kept == len(rows):
            continue
        i = number[v]
        for t in range(3):
            if cells[v] & (EDGE << t):
                label = heirs[labels[3 * i + t]]
                if label != 0:
                    rows[kept, 0], rows[kept, 1] = find(parent, i), find(parent, number[v + strides[t]])
                    rows[kept, 2] = label
                    kept += 1
    return rows
