"""What a centreline graph is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.skeletons.centred import Spurs

if TYPE_CHECKING:
    import networkx

Kind = Literal["end", "junction", "loop", "isolated"]


@dataclass(frozen=True)
class Node:
    """A place where branches end or meet.

    Attributes:
        kind: "end" of one branch; "junction" of three or more; "loop", a point of a closed branch that meets no other;
            "isolated", a component without a branch, such as a ball.
        position_mm: (axes,) index times spacing, so that (0, 0, 0) is the centre of the first voxel.
        radius_mm: inscribed there.
        at_border: whether it lies at the border of the image, so that the object was probably cut off there.
    """

    kind: Kind
    position_mm: NDArray[np.float64]
    radius_mm: float
    at_border: bool


@dataclass(frozen=True)
class Branch:
    """A centreline between two nodes, which may be the same.

    Attributes:
        nodes: indices of the nodes at its first and last point.
        points_mm: (N, axes) index times spacing, from node to node; those of a loop begin and end in the same point.
        volume_radius_mm: (N,) of the circle as large as the cross-section, from the volume of the voxels nearest to
            each point; half the width in 2D.
        inscribed_radius_mm: (N,) from each point to the nearest middle of a face of the surface, at a tip 0.
    """

    nodes: tuple[int, int]
    points_mm: NDArray[np.float64]
    volume_radius_mm: NDArray[np.float64]
    inscribed_radius_mm: NDArray[np.float64]

    @property
    def length_mm(self) -> float:
        return float(np.linalg.norm(np.diff(self.points_mm, axis=0), axis=1).sum())

    @property
    def distance_mm(self) -> float:
        """From the first point to the last in a straight line."""
        return float(np.linalg.norm(self.points_mm[-1] - self.points_mm[0]))

    @property
    def tortuosity(self) -> float:
        """Length over distance, minus 1: 0 for a straight branch, infinite for a closed one."""
        return self.length_mm / self.distance_mm - 1 if self.distance_mm > 0 else float("inf")

    @property
    def mean_volume_radius_mm(self) -> float:
        return _along(self.points_mm, self.volume_radius_mm)

    @property
    def mean_inscribed_radius_mm(self) -> float:
        return _along(self.points_mm, self.inscribed_radius_mm)


@dataclass(frozen=True)
class CentrelineGraph:
    """The centrelines of a mask as a graph, in mm along the axes of the array.

    It has as many components and independent loops as the mask, 26-connected (8 in 2D), with cavities filled.

    Attributes:
        nodes, branches: see there.
        spurs: what was taken for roughness of the surface and is not among the branches.
        notes: sentences on what was done to the mask, or on what a reader may take for an error.
        spacing_mm, shape: of the mask.
    """

    nodes: list[Node]
    branches: list[Branch]
    spurs: Spurs
    spacing_mm: tuple[float, ...]
    shape: tuple[int, ...]
    notes: list[str] = field(default_factory=list)

    @property
    def length_mm(self) -> float:
        """Of all branches together."""
        return float(sum(branch.length_mm for branch in self.branches))

    @property
    def components(self) -> int:
        parent = list(range(len(self.nodes)))

        def root(node: int) -> int:
            while parent[node] != node:
                parent[node] = node = parent[parent[node]]
            return node

        for branch in self.branches:
            parent[root(branch.nodes[0])] = root(branch.nodes[1])
        return sum(root(node) == node for node in range(len(parent)))

    @property
    def loops(self) -> int:
        """Independent ones."""
        return len(self.branches) - len(self.nodes) + self.components

    def degrees(self) -> list[int]:
        """Of each node how many ends of branches meet there; a closed branch counts twice."""
        counts = [0] * len(self.nodes)
        for branch in self.branches:
            for node in branch.nodes:
                counts[node] += 1
        return counts

    def to_networkx(self) -> networkx.MultiGraph:
        """A multigraph, in which parallel and closed branches are kept.

        Nodes have ``kind``, ``position_mm``, ``radius_mm`` and ``at_border``; edges ``branch`` (its index),
        ``points_mm``, ``volume_radius_mm``, ``inscribed_radius_mm``, ``length_mm``, ``distance_mm`` and ``tortuosity``.
        Points run from node ``nodes[0]`` to ``nodes[1]``, which edges have too, as networkx does not keep their order.
        """
        import networkx

        graph = networkx.MultiGraph(spacing_mm=self.spacing_mm, notes=list(self.notes))
        for index, node in enumerate(self.nodes):
            graph.add_node(index, kind=node.kind, position_mm=node.position_mm, radius_mm=node.radius_mm,
                           at_border=node.at_border)
        for index, branch in enumerate(self.branches):
            graph.add_edge(*branch.nodes, branch=index, nodes=branch.nodes, points_mm=branch.points_mm,
                           volume_radius_mm=branch.volume_radius_mm, inscribed_radius_mm=branch.inscribed_radius_mm,
                           length_mm=branch.length_mm, distance_mm=branch.distance_mm, tortuosity=branch.tortuosity)
        return graph


def _along(points: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """The mean of values along a path."""
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    if steps.sum() == 0:
        return float(values.mean())
    return float(np.average((values[1:] + values[:-1]) / 2, weights=steps))
