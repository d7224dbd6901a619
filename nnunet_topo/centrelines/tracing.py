"""From the voxels of a skeleton to nodes and paths, with the same topology.

Voxels of more than two neighbours that touch each other become one node, ends and isolated voxels one each. All other
voxels have two neighbours, which do not touch each other, or thinning would have deleted them; they form the paths.
Contracting a cluster to a node changes no component and no loop unless it holds loops of its own; those become closed
paths of the node.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from nnunet_topo.homology import betti_numbers

_SMALLEST_LOOP = 4  # voxels


@dataclass(frozen=True)
class Traced:
    """Indices into the skeleton's voxels: those of each node, and each path with its nodes.

    A path holds its own voxels only, without those of nodes but for the closed one of a ``loop`` node, which begins
    behind it. ``cavities`` is how many cavities the clusters enclose.
    """

    nodes: list[NDArray[np.int64]]
    paths: list[tuple[int, int, list[int]]]
    cavities: int


def trace(voxels: NDArray[np.int64]) -> Traced:
    """Trace the (N, axes) voxels of a thin skeleton."""
    neighbours = _neighbours(voxels)
    degrees = np.array([len(near) for near in neighbours], int)
    nodes: list[NDArray[np.int64]] = []
    paths: list[tuple[int, int, list[int]]] = []
    cavities = 0
    node_of = np.full(len(voxels), -1)
    for cluster in _clusters(neighbours, np.flatnonzero(degrees > 2)):
        node_of[cluster] = len(nodes)
        loops, enclosed = _loops_within(voxels, cluster, neighbours)
        paths += [(len(nodes), len(nodes), loop) for loop in loops]
        cavities += enclosed
        nodes.append(cluster)
    for voxel in np.flatnonzero(degrees < 2):
        node_of[voxel] = len(nodes)
        nodes.append(np.array([voxel]))
    used = node_of >= 0
    for node, members in enumerate(list(nodes)):
        for member in members:
            for start in neighbours[member]:
                if node_of[start] >= 0:
                    if node_of[start] > node:  # two ends side by side
                        paths.append((node, int(node_of[start]), []))
                elif not used[start]:
                    path = _walk(int(member), start, neighbours, node_of)
                    used[path] = True
                    paths.append((node, int(node_of[_behind(path, member, neighbours)]), path))
    for voxel in np.flatnonzero(~used):  # closed, without any node
        if not used[voxel]:
            node_of[voxel] = len(nodes)
            path = _walk(int(voxel), neighbours[voxel][0], neighbours, node_of)
            used[voxel] = used[path] = True
            paths.append((len(nodes), len(nodes), path))
            nodes.append(np.array([voxel]))
    return Traced(nodes, paths, cavities)


def _neighbours(voxels: NDArray[np.int64]) -> list[list[int]]:
    """Of each voxel the voxels beside it, in one fixed order."""
    near: list[list[int]] = [[] for _ in voxels]
    if len(voxels) == 0:
        return near
    low = voxels.min(axis=0) - 1
    shape = tuple(voxels.max(axis=0) - low + 2)
    places = np.ravel_multi_index(tuple((voxels - low).T), shape)
    order = np.argsort(places)
    sorted_places = places[order]
    for offset in itertools.product((-1, 0, 1), repeat=voxels.shape[1]):
        if any(offset):
            wanted = places + int(np.dot(offset, np.cumprod((1, *shape[:0:-1]))[::-1]))
            found = np.minimum(np.searchsorted(sorted_places, wanted), len(voxels) - 1)
            for voxel in np.flatnonzero(sorted_places[found] == wanted):
                near[voxel].append(int(order[found[voxel]]))
    return near


def _clusters(neighbours: list[list[int]], members: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The connected pieces of some voxels."""
    if len(members) == 0:
        return []
    place = {int(member): i for i, member in enumerate(members)}
    pairs = [(place[int(member)], place[other]) for member in members for other in neighbours[member] if other in place]
    rows, columns = np.array(pairs, int).reshape(-1, 2).T
    count, labels = connected_components(csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(members),) * 2))
    order = np.argsort(labels, kind="stable")
    return np.split(members[order], np.searchsorted(labels[order], np.arange(1, count)))


def _walk(before: int, voxel: int, neighbours: list[list[int]], node_of: NDArray[np.int64]) -> list[int]:
    """The voxels of two neighbours from one on, away from the one before."""
    path = [voxel]
    while True:
        one, two = neighbours[voxel]
        before, voxel = voxel, two if one == before else one
        if node_of[voxel] >= 0:
            return path
        path.append(voxel)


def _behind(path: list[int], before: int, neighbours: list[list[int]]) -> int:
    """The voxel after a path's last."""
    one, two = neighbours[path[-1]]
    return two if one == (path[-2] if len(path) > 1 else before) else one


def _loops_within(
    voxels: NDArray[np.int64], cluster: NDArray[np.int64], neighbours: list[list[int]]
) -> tuple[list[list[int]], int]:
    """Closed paths within a cluster, as many as it has independent loops, and how many cavities it encloses.

    Of the circuits that edges close with the shortest paths from one voxel, those are taken that are independent of
    each other and of the triangles, which voxels that touch each other fill (linear algebra modulo 2).
    """
    if len(cluster) < _SMALLEST_LOOP:
        return [], 0
    low = voxels[cluster].min(axis=0)
    block = np.zeros(voxels[cluster].max(axis=0) - low + 1, bool)
    block[tuple((voxels[cluster] - low).T)] = True
    betti = betti_numbers(block)
    if betti[1] == 0:
        return [], sum(betti[2:])
    members = set(cluster.tolist())
    near = {voxel: [other for other in neighbours[voxel] if other in members] for voxel in members}
    edges = {frozenset((voxel, other)): i for i, (voxel, other) in enumerate(
        (voxel, other) for voxel in sorted(members) for other in near[voxel] if voxel < other)}
    basis: dict[int, int] = {}

    def independent(vector: int) -> bool:
        while vector:
            lead = vector.bit_length()
            if lead not in basis:
                basis[lead] = vector
                return True
            vector ^= basis[lead]
        return False

    for one, two in map(sorted, edges):
        for third in set(near[one]) & set(near[two]):
            if third > two:
                independent(sum(1 << edges[frozenset(pair)] for pair in ((one, two), (two, third), (one, third))))
    way: dict[int, list[int]] = {min(members): [min(members)]}
    front = [min(members)]
    for voxel in front:
        for other in near[voxel]:
            if other not in way:
                way[other] = [*way[voxel], other]
                front.append(other)
    loops: list[list[int]] = []
    for one, two in map(sorted, edges):
        circuit = [*way[one], *way[two][::-1]]
        vector = 0
        for pair in itertools.pairwise(circuit):
            vector ^= 1 << edges[frozenset(pair)]
        if len(loops) < betti[1] and independent(vector):
            shared = sum(a == b for a, b in zip(way[one], way[two], strict=False))
            loops.append([*way[one][shared - 1:], *way[two][:shared - 1:-1]])
    return loops, sum(betti[2:])
