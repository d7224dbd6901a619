"""Dimension 0: components, by union-find over the edges in rising order. The oldest vertex of a tree is its root."""

from __future__ import annotations

import numpy as np

from nnunet_topo.homology._cells import CRITICAL, DESTROYER, edge_at, edge_parts, edge_value
from nnunet_topo.kernels.jit import jit


@jit(inlined=True)
def find(parent, node):  # type: ignore[no-untyped-def]
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@jit(inlined=True)
def older(keys, v, w):  # type: ignore[no-untyped-def]
    return keys[v] < keys[w] or (keys[v] == keys[w] and v < w)


@jit
def component_pairs(image, strides, parent, order, edges):  # type: ignore[no-untyped-def]
    """Pairs (vertex, edge) of positive length, given the critical edges in rising order.

    Edges that join become DESTROYER.
    """
    births, deaths = np.empty(len(order), np.int32), np.empty(len(order), np.int32)
    keys, vertices, closed = image.keys, image.vertices, image.closed
    count = 0
    for item in order:
        edge = np.int64(item)
        v, axis = edge_parts(strides, closed, edge)
        one, two = find(parent, v), find(parent, v + strides[axis])
        if one == two:
            continue
        if older(vertices, one, two):
            one, two = two, one
        parent[one] = two
        edges[edge] = DESTROYER
        if vertices[one] < edge_value(keys, strides, closed, edge):
            births[count], deaths[count] = one, edge
            count += 1
    return births[:count].copy(), deaths[:count].copy()


@jit
def detach_vertices(strides, closed, order_by, parent, edges):  # type: ignore[no-untyped-def]
    """Take back hangings of a vertex under one that is younger in another image: there it may represent the tree."""
    for v in range(len(parent)):
        w = parent[v]
        if w != v and older(order_by, v, w):
            parent[v] = v
            low, step = min(v, w), abs(v - w)
            for t in range(len(strides)):
                if strides[t] == step:
                    edges[edge_at(strides, closed, low, t)] = CRITICAL


@jit
def matched_components(image, floor, first, second, alike, strides, parent, order, edges):  # type: ignore[no-untyped-def]
    """Vertices of two images that the same edge of their comparison image kills, in the two image persistences.

    ``image`` is the comparison, whose values below ``floor`` count as equal to it. ``first`` and ``second`` are values
    of vertices, by which each tree keeps its oldest one; ``alike``: second is that of the comparison. ``order``: the
    critical edges, rising, among them those of :func:`detach_vertices` for both images. Edges that join become
    DESTROYER.
    """
    keys, vertices, closed = image.keys, image.vertices, image.closed
    oldest_first = np.empty(len(vertices), np.int32)
    for v in range(len(vertices)):
        oldest_first[v] = v
    oldest_second = oldest_first[:0] if alike else oldest_first.copy()
    killed_first, killed_second = np.empty(len(order), np.int32), np.empty(len(order), np.int32)
    count = 0
    for item in order:
        edge = np.int64(item)
        v, axis = edge_parts(strides, closed, edge)
        one, two = find(parent, v), find(parent, v + strides[axis])
        if one == two:
            continue
        if older(vertices, one, two):
            one, two = two, one
        parent[one] = two
        edges[edge] = DESTROYER
        a, b = oldest_first[one], oldest_first[two]
        if older(first, a, b):
            a, b = b, a
        oldest_first[two] = b
        c = one
        if not alike:
            c, d = oldest_second[one], oldest_second[two]
            if older(second, c, d):
                c, d = d, c
            oldest_second[two] = d
        if max(vertices[one], floor) < edge_value(keys, strides, closed, edge):
            killed_first[count], killed_second[count] = a, c
            count += 1
    return killed_first[:count].copy(), killed_second[:count].copy()
