"""Loops of two masks that their union matches, by labels of edges in its first homology, without persistence.

Every edge of the union gets the class, modulo 2, of the loop that it closes with the edges before it, in the order in
which the squares of the box reach them: 0 where it joins two pieces; the sum over the rest of a square that it
completes; else a new generator. Any further square that an edge completes is a relation between generators, which
leaves the last of them dependent on those before. Nearly all labels are 0.
"""

from __future__ import annotations

import numpy as np

from nnunet_topo.homology._components import find
from nnunet_topo.skeletons._jit import jit

UNSEEN = np.int32(-1)


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
def label_edges(number, count, shape, strides):  # type: ignore[no-untyped-def]
    """Labels (3 * count) of the edges of a mask, and the classes they stand for.

    ``number`` has the voxels of the padded mask numbered in their order, -1 outside; the edge from voxel i along axis
    t is 3 * i + t. Classes are vectors over generators: heirs[label] is the vector's number, and vector k is
    members[ends[k]:ends[k + 1]], with independent generators only, numbered in their order.
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
                    u, axis = reached[k], axes[k]
                    w = u + strides[axis]
                    i, j = number[u], number[w]
                    if i < 0 or j < 0:
                        continue
                    label = UNSEEN
                    for t in range(3):
                        if t == axis:
                            continue
                        for step in (-strides[t], strides[t]):
                            a, b = number[u + step], number[w + step]
                            if a < 0 or b < 0:
                                continue
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
    return labels, *_tables(vectors, heirs, checked, relations, known)


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
def labelled_edges(number, inside, strides, labels, heirs):  # type: ignore[no-untyped-def]
    """Edges with labels other than 0 of a part of the mask, as rows (region, region, label).

    ``inside`` (count) marks the voxels of the part; regions are its pieces by the edges with the label 0.
    """
    parent = np.arange(len(inside), dtype=np.int32)
    count = 0
    for v in range(len(number)):
        i = number[v]
        if i < 0 or not inside[i]:
            continue
        for t in range(3):
            j = number[v + strides[t]]
            if j >= 0 and inside[j]:
                if heirs[labels[3 * i + t]] == 0:
                    one, two = find(parent, i), find(parent, j)
                    parent[max(one, two)] = min(one, two)
                else:
                    count += 1
    rows = np.empty((count, 3), np.int32)
    count = 0
    for v in range(len(number)):
        i = number[v]
        if count == len(rows) or i < 0 or not inside[i]:
            continue
        for t in range(3):
            j = number[v + strides[t]]
            if j >= 0 and inside[j]:
                label = heirs[labels[3 * i + t]]
                if label != 0:
                    rows[count, 0], rows[count, 1], rows[count, 2] = find(parent, i), find(parent, j), label
                    count += 1
    return rows
