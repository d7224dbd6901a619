"""Centreline graphs as files that other programs open. Each function gives a file's text.

Coordinates are mm in the frame of :class:`Placement`. It is LPS (x to the left, y to the back, z upwards), as DICOM,
ITK and 3D Slicer have it; SWC and GraphML say so in a comment or a field.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.centrelines.graph import Branch, CentrelineGraph

_MARKUPS = ("https://raw.githubusercontent.com/Slicer/Slicer/main/Modules/Loadable/Markups/Resources/Schema/"
            "markups-schema-v1.0.0.json#")
_BETWEEN_CONTROL_POINTS = 1.5  # mm


@dataclass(frozen=True)
class Placement:
    """Where a graph lies in space: LPS = origin + directions @ point in mm along the array's axes.

    ``directions`` (3, axes) holds a unit vector for each axis of the array; an image in 2D lies in a plane.
    """

    origin: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    directions: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 3) in LPS for (N, axes)."""
        points = np.asarray(points, float)
        return self.origin + points @ self.directions[:, :points.shape[1]].T


def vtp(graph: CentrelineGraph, placement: Placement) -> str:
    """A VTK polydata file (XML, ASCII), for ParaView, 3D Slicer and VMTK: a line for each branch, in LPS.

    Points have ``MaximumInscribedSphereRadius`` (VMTK's name), ``Radius`` (the same, Slicer's name) and
    ``VolumeRadius``; lines ``Branch``, ``Length``, ``Tortuosity`` (-1 for a closed one), ``Node1`` and ``Node2``.
    Points at nodes are repeated, and isolated nodes are vertices.
    """
    alone = [node for node in graph.nodes if node.kind == "isolated"]
    points = [placement(node.position_mm[None]) for node in alone] + [placement(b.points_mm) for b in graph.branches]
    inscribed = [np.array([node.radius_mm]) for node in alone] + [b.inscribed_radius_mm for b in graph.branches]
    volume = [np.array([node.radius_mm]) for node in alone] + [b.volume_radius_mm for b in graph.branches]
    total, cells = sum(map(len, points)), graph.branches
    ends = len(alone) + np.cumsum([len(branch.points_mm) for branch in cells], dtype=int)
    of_cells = {"Branch": [-1] * len(alone) + list(range(len(cells))),
                "Length": [0.0] * len(alone) + [branch.length_mm for branch in cells],
                "Tortuosity": [0.0] * len(alone) + [_finite(branch.tortuosity) for branch in cells],
                "Node1": [-1] * len(alone) + [branch.nodes[0] for branch in cells],
                "Node2": [-1] * len(alone) + [branch.nodes[1] for branch in cells]}
    lines = ['<?xml version="1.0"?>', "<!-- LPS, mm -->",
             '<VTKFile type="PolyData" version="1.0" byte_order="LittleEndian" header_type="UInt64">', "<PolyData>",
             f'<Piece NumberOfPoints="{total}" NumberOfVerts="{len(alone)}" NumberOfLines="{len(cells)}" '
             'NumberOfStrips="0" NumberOfPolys="0">',
             "<PointData>", *_array("MaximumInscribedSphereRadius", inscribed), *_array("Radius", inscribed),
             *_array("VolumeRadius", volume), "</PointData>", "<CellData>",
             *(line for name, values in of_cells.items() for line in _array(name, [np.array(values)])), "</CellData>",
             "<Points>", *_array("Points", points, 3), "</Points>",
             "<Verts>", *_array("connectivity", [np.arange(len(alone))]),
             *_array("offsets", [np.arange(1, len(alone) + 1)]), "</Verts>",
             "<Lines>", *_array("connectivity", [np.arange(len(alone), total)]),
             *_array("offsets", [ends - len(alone)]), "</Lines>", "</Piece>", "</PolyData>", "</VTKFile>", ""]
    return "\n".join(lines)


def _array(name: str, parts: Sequence[NDArray[Any]], components: int = 1) -> Iterable[str]:
    values = np.concatenate([np.asarray(part).reshape(-1) for part in parts]) if parts else np.zeros(0)
    whole = values.dtype.kind == "i" or name in ("connectivity", "offsets", "Branch", "Node1", "Node2")
    kind, shown = ("Int64", "{:d}") if whole else ("Float64", "{:.10g}")
    yield f'<DataArray type="{kind}" Name="{name}" NumberOfComponents="{components}" format="ascii">'
    yield " ".join(shown.format(int(value) if whole else float(value)) for value in values)
    yield "</DataArray>"


def swc(graph: CentrelineGraph, placement: Placement) -> str:
    """An SWC file: a point in a line, with its volume radius and its parent. It holds trees only, so loops are cut.

    A loop is cut before its last point, which another branch has already reached; the header says how many there are.
    """
    rows: list[tuple[NDArray[np.float64], float, int]] = []
    number: dict[int, int] = {}
    at: dict[int, list[int]] = {node: [] for node in range(len(graph.nodes))}
    for index, branch in enumerate(graph.branches):
        for node in set(branch.nodes):
            at[node].append(index)
    done: set[int] = set()
    for root in at:
        if root in number:
            continue
        rows.append((placement(graph.nodes[root].position_mm[None])[0], graph.nodes[root].radius_mm, -1))
        number[root] = len(rows)
        waiting = [root]
        for node in waiting:
            for index in at[node]:
                if index in done:
                    continue
                done.add(index)
                other = _append_branch(rows, graph.branches[index], node, number, placement)
                if other is not None:
                    waiting.append(other)
    head = ["# nnunet_topo centrelines; coordinates and radii in mm (not micrometres), LPS",
            f"# {graph.loops} loop(s) were cut, since SWC holds trees only" if graph.loops else "# no loops were cut"]
    return "\n".join([*head, *(f"{i} 0 {x:.6f} {y:.6f} {z:.6f} {radius:.6f} {parent}"
                               for i, ((x, y, z), radius, parent) in enumerate(rows, 1))]) + "\n"


def _append_branch(
    rows: list[tuple[NDArray[np.float64], float, int]], branch: Branch, node: int, number: dict[int, int],
    placement: Placement,
) -> int | None:
    """Add the points behind a node; the node at the other end where nothing has reached it before."""
    forwards = branch.nodes[0] == node
    points, radii = placement(branch.points_mm), branch.volume_radius_mm
    if not forwards:
        points, radii = points[::-1], radii[::-1]
    other = branch.nodes[1] if forwards else branch.nodes[0]
    cut = other in number
    parent = number[node]
    for point, radius in list(zip(points, radii, strict=True))[1 : -1 if cut else None]:
        rows.append((point, float(radius), parent))
        parent = len(rows)
    if cut:
        return None
    number[other] = parent
    return other


def graphml(graph: CentrelineGraph, placement: Placement) -> str:
    """A GraphML file of a multigraph. Positions are the fields x, y and z in LPS, paths texts "x y z radius; ..."."""
    import networkx

    result = networkx.MultiGraph(coordinates="LPS, mm", notes=" ".join(graph.notes))
    for index, node in enumerate(graph.nodes):
        x, y, z = map(float, placement(node.position_mm[None])[0])
        result.add_node(index, kind=node.kind, x=x, y=y, z=z, radius_mm=_finite(node.radius_mm),
                        at_border=node.at_border)
    for index, branch in enumerate(graph.branches):
        path = "; ".join(f"{x:.4f} {y:.4f} {z:.4f} {radius:.4f}" for (x, y, z), radius in
                         zip(placement(branch.points_mm), branch.volume_radius_mm, strict=True))
        result.add_edge(*branch.nodes, key=index, first=branch.nodes[0], path=path, length_mm=branch.length_mm,
                        distance_mm=branch.distance_mm, tortuosity=_finite(branch.tortuosity),
                        mean_volume_radius_mm=_finite(branch.mean_volume_radius_mm),
                        mean_inscribed_radius_mm=_finite(branch.mean_inscribed_radius_mm))
    return "\n".join(networkx.generate_graphml(result)) + "\n"


def nodes_csv(graph: CentrelineGraph, placement: Placement) -> str:
    """The table of nodes with Voreen's column names, semicolons between them, in LPS."""
    rows = [(index, *(f"{value:.6f}" for value in placement(node.position_mm[None])[0]), degree,
             str(node.at_border).lower())
            for index, (node, degree) in enumerate(zip(graph.nodes, graph.degrees(), strict=True))]
    return _table(("id", "pos_x", "pos_y", "pos_z", "degree", "isAtSampleBorder"), rows)


def edges_csv(graph: CentrelineGraph, placement: Placement) -> str:
    """The table of branches, with Voreen's column names where it has them; curveness is length over distance."""
    del placement  # nothing here depends on it
    degrees = graph.degrees()
    rows = []
    for index, branch in enumerate(graph.branches):
        one, two = branch.nodes
        volume = float(np.pi * (branch.mean_volume_radius_mm**2) * branch.length_mm)
        curveness = f"{branch.tortuosity + 1:.6f}"
        rows.append((index, one, two, f"{branch.length_mm:.6f}", f"{branch.distance_mm:.6f}", curveness,
                     f"{volume:.6f}", f"{branch.mean_volume_radius_mm:.6f}", f"{branch.mean_inscribed_radius_mm:.6f}",
                     degrees[one], degrees[two],
                     str(graph.nodes[one].at_border or graph.nodes[two].at_border).lower()))
    return _table(("id", "node1id", "node2id", "length", "distance", "curveness", "volume", "volumeRadiusAvg",
                   "inscribedRadiusAvg", "node1_degree", "node2_degree", "hasNodeAtSampleBorder"), rows)


def _table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";", lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    return text.getvalue()


def markups(graph: CentrelineGraph, placement: Placement) -> str:
    """A markups file of 3D Slicer, in LPS: a curve for each branch and a list of the nodes.

    Control points of curves stand about 1.5 mm apart; each curve has the volume radius at them as a measurement.
    """
    content: list[dict[str, Any]] = []
    for index, branch in enumerate(graph.branches):
        closed = branch.nodes[0] == branch.nodes[1]
        every = max(int(_BETWEEN_CONTROL_POINTS / max(branch.length_mm / len(branch.points_mm), 1e-9)), 1)
        chosen = np.unique(np.append(np.arange(0, len(branch.points_mm), every), len(branch.points_mm) - 1))
        chosen = chosen[:-1] if closed and len(chosen) > 3 else chosen
        radii = [_finite(float(radius)) for radius in branch.volume_radius_mm[chosen]]
        points = _control_points(placement(branch.points_mm[chosen]), [f"B{index}"] * len(chosen))
        content.append({"type": "ClosedCurve" if closed else "Curve", "coordinateSystem": "LPS",
                        "controlPoints": points, "measurements": [{"name": "VolumeRadius", "enabled": True,
                                                                   "units": "mm", "controlPointValues": radii}]})
    if graph.nodes:
        places = placement(np.stack([node.position_mm for node in graph.nodes]))
        content.append({"type": "Fiducial", "coordinateSystem": "LPS",
                        "controlPoints": _control_points(places, [node.kind for node in graph.nodes])})
    return json.dumps({"@schema": _MARKUPS, "markups": content}, indent=1) + "\n"


def _control_points(points: NDArray[np.float64], labels: Sequence[str]) -> list[dict[str, Any]]:
    return [{"id": str(i), "label": label, "position": [round(float(value), 6) for value in point],
             "positionStatus": "defined"} for i, (label, point) in enumerate(zip(labels, points, strict=True), 1)]


def _finite(value: float) -> float:
    """-1 where a value is infinite or not a number, which these formats do not have."""
    return float(value) if np.isfinite(value) else -1.0


# endings of a format's files, each with its writer
FORMATS: Mapping[str, Mapping[str, Callable[[CentrelineGraph, Placement], str]]] = {
    "vtp": {".vtp": vtp}, "swc": {".swc": swc}, "graphml": {".graphml": graphml},
    "csv": {"_nodes.csv": nodes_csv, "_edges.csv": edges_csv}, "mrk.json": {".mrk.json": markups},
}
