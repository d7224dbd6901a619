"""Centreline graphs as files: what other programs read in them is what the graph holds."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import xml.etree.ElementTree as ElementTree

import networkx
import numpy as np
import pytest

from nnunet_topo.centrelines import FORMATS, Placement, centreline_graph

# an oblique grid: the array's axes point along these unit vectors in LPS
TURNED = Placement(np.array([10.0, -20.0, 5.0]), np.array([[0.0, -1.0, 0.0], [0.6, 0.0, -0.8], [0.8, 0.0, 0.6]]))


def scene(loop: bool = True):
    """A Y of three branches, a ring that meets nothing, and a single voxel."""
    mask = np.zeros((40, 40, 30), bool)
    mask[4:20, 10:13, 4:7] = True
    mask[18:21, 4:20, 4:7] = True
    if loop:
        inner = np.hypot(*np.mgrid[-12:13, -12:13])
        mask[12:37, 12:37, 20:23] |= ((inner > 7.5) & (inner < 10.5))[..., None]
    mask[2, 35, 2] = True
    return centreline_graph(mask, (0.5, 0.6, 0.7))


@pytest.fixture(scope="module")
def graph():
    return scene()


@pytest.fixture(scope="module")
def empty():
    return centreline_graph(np.zeros((5, 5, 5), bool), (1, 1, 1))


def text(graph, name, ending=None, placement=TURNED):
    files = FORMATS[name]
    return files[ending or next(iter(files))](graph, placement)


def by_hand(point):
    """A point in mm along the array's axes, in LPS."""
    a, b, c = point
    return (10 - b, -20 + 0.6 * a - 0.8 * c, 5 + 0.8 * a + 0.6 * c)


def test_the_scene_has_what_the_tests_need(graph):
    kinds = sorted(node.kind for node in graph.nodes)
    assert kinds == ["end", "end", "end", "isolated", "junction", "loop"] and graph.loops == 1


def arrays(piece, part):
    return {array.get("Name"): np.array((array.text or "").split(), float) for array in piece.find(part)}


def test_vtp_holds_each_branch_as_a_line_and_lone_nodes_as_vertices(graph):
    piece = ElementTree.fromstring(text(graph, "vtp")).find("PolyData/Piece")
    points = arrays(piece, "Points")["Points"].reshape(-1, 3)
    lines = arrays(piece, "Lines")
    starts = [0, *lines["offsets"][:-1].astype(int)]
    assert len(points) == int(piece.get("NumberOfPoints")) and int(piece.get("NumberOfVerts")) == 1
    assert len(starts) == int(piece.get("NumberOfLines")) == len(graph.branches) == 4
    for branch, first, beyond in zip(graph.branches, starts, lines["offsets"].astype(int), strict=True):
        written = points[lines["connectivity"][first:beyond].astype(int)]
        assert np.allclose(written, [by_hand(point) for point in branch.points_mm], atol=1e-6)
    lengths = arrays(piece, "CellData")["Length"]
    assert np.allclose(lengths, [0, *(branch.length_mm for branch in graph.branches)])
    volume = arrays(piece, "PointData")["VolumeRadius"]
    assert np.allclose(volume[1:], np.concatenate([branch.volume_radius_mm for branch in graph.branches]))


def test_vtp_is_read_by_vtk(graph, empty, tmp_path):
    vtk = pytest.importorskip("vtk")
    for which in (graph, empty):
        file = tmp_path / "lines.vtp"
        file.write_text(text(which, "vtp"))
        reader = vtk.vtkXMLPolyDataReader()
        reader.SetFileName(str(file))
        reader.Update()
        read = reader.GetOutput()
        assert (read.GetNumberOfLines(), read.GetNumberOfVerts()) == (len(which.branches), len(which.nodes) > 0)
        lengths = []
        for cell in range(read.GetNumberOfCells()):
            places = [np.array(read.GetCell(cell).GetPoints().GetPoint(i))
                      for i in range(read.GetCell(cell).GetNumberOfPoints())]
            lengths.append(sum(np.linalg.norm(b - a) for a, b in itertools.pairwise(places)))
        assert np.allclose(sorted(lengths)[1:], sorted(branch.length_mm for branch in which.branches))


def test_swc_is_a_forest_as_long_as_the_graph_with_its_loops_cut(graph):
    content = text(graph, "swc")
    rows = [line.split() for line in content.splitlines() if not line.startswith("#")]
    places = {int(row[0]): np.array(row[2:5], float) for row in rows}
    parents = {int(row[0]): int(row[6]) for row in rows}
    assert "# 1 loop(s) were cut" in content and "LPS" in content and "not micrometres" in content
    assert all(parent == -1 or parent < number for number, parent in parents.items())
    assert list(parents.values()).count(-1) == graph.components == 3
    length = sum(np.linalg.norm(places[number] - places[parent]) for number, parent in parents.items() if parent != -1)
    (ring,) = [branch for branch in graph.branches if branch.nodes[0] == branch.nodes[1]]
    gap = np.linalg.norm(ring.points_mm[-1] - ring.points_mm[-2])  # where the loop is cut
    assert length == pytest.approx(graph.length_mm - gap, abs=1e-4)
    tree = scene(loop=False)
    assert tree.loops == 0 and "# no loops were cut" in text(tree, "swc")


def test_graphml_is_read_by_networkx(graph, empty):
    read = networkx.parse_graphml(text(graph, "graphml"), node_type=int, force_multigraph=True)
    assert (len(read), read.number_of_edges()) == (len(graph.nodes), len(graph.branches))
    assert networkx.number_connected_components(read) == graph.components
    for index, node in enumerate(graph.nodes):
        found = read.nodes[index]
        assert (found["x"], found["y"], found["z"]) == pytest.approx(by_hand(node.position_mm))
        assert found["kind"] == node.kind and found["at_border"] == node.at_border
    total = 0.0
    for _, _, edge in read.edges(data=True):
        points = np.array([[float(value) for value in point.split()] for point in edge["path"].split(";")])
        length = np.linalg.norm(np.diff(points[:, :3], axis=0), axis=1).sum()
        assert length == pytest.approx(edge["length_mm"], abs=0.01)
        total += edge["length_mm"]
    assert total == pytest.approx(graph.length_mm)
    assert len(networkx.parse_graphml(text(empty, "graphml"))) == 0


def test_tables_hold_nodes_and_branches(graph):
    nodes = list(csv.DictReader(io.StringIO(text(graph, "csv", "_nodes.csv")), delimiter=";"))
    edges = list(csv.DictReader(io.StringIO(text(graph, "csv", "_edges.csv")), delimiter=";"))
    assert [int(row["degree"]) for row in nodes] == graph.degrees()
    position = tuple(float(nodes[0][name]) for name in ("pos_x", "pos_y", "pos_z"))
    assert position == pytest.approx(by_hand(graph.nodes[0].position_mm), abs=1e-5)
    for row, branch in zip(edges, graph.branches, strict=True):
        assert (int(row["node1id"]), int(row["node2id"])) == branch.nodes
        assert float(row["length"]) == pytest.approx(branch.length_mm, abs=1e-5)
        closed = branch.nodes[0] == branch.nodes[1]
        assert float(row["curveness"]) == (math.inf if closed else pytest.approx(
            branch.length_mm / branch.distance_mm, abs=1e-5))


def test_markups_hold_curves_and_nodes_in_lps(graph, empty):
    content = json.loads(text(graph, "mrk.json"), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    *curves, nodes = content["markups"]
    assert content["@schema"].endswith("markups-schema-v1.0.0.json#")
    assert [markup["type"] for markup in curves].count("ClosedCurve") == 1 and len(curves) == len(graph.branches)
    for markup, branch in zip(curves, graph.branches, strict=True):
        assert markup["coordinateSystem"] == "LPS"
        places = np.array([point["position"] for point in markup["controlPoints"]])
        ends = [by_hand(branch.points_mm[0]), by_hand(branch.points_mm[-1])]
        assert np.allclose(places[0], ends[0], atol=1e-5)
        assert markup["type"] == "ClosedCurve" or np.allclose(places[-1], ends[1], atol=1e-5)
        assert len(markup["measurements"][0]["controlPointValues"]) == len(places)
    assert [point["label"] for point in nodes["controlPoints"]] == [node.kind for node in graph.nodes]
    assert json.loads(text(empty, "mrk.json"))["markups"] == []


def test_a_graph_in_2d_lies_in_a_plane():
    mask = np.zeros((20, 30), bool)
    mask[8:11, 3:27] = True
    flat = centreline_graph(mask, (1.0, 1.0))
    piece = ElementTree.fromstring(text(flat, "vtp", placement=Placement())).find("PolyData/Piece")
    points = arrays(piece, "Points")["Points"].reshape(-1, 3)
    assert len(points) > 2 and (points[:, 2] == 0).all() and np.ptp(points[:, 1]) > 20
