"""Centreline graphs: phantoms of known lines, topology, and what has no centreline."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree
from topology import betti_numbers_of_each, random_masks

from nnunet_topo.centrelines import centreline_graph
from nnunet_topo.centrelines.paths import resampled
from nnunet_topo.homology import betti_numbers

GOLDEN = sorted((Path(__file__).parent / "golden" / "centrelines").glob("*.npz"))
TABLE = [file for file in GOLDEN if file.stem.startswith(("tube_r", "torus", "helix", "Y"))]


def phantom(file):
    data = np.load(file)
    curves = [resampled(data[name].astype(float), 0.05) for name in data.files if name.startswith("curve")]
    return data["mask"] > 0, data["spacing_mm"], curves, json.loads(str(data["exact"]))


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_branches_ends_and_junctions_are_those_of_the_phantom(file):
    mask, spacing, _, exact = phantom(file)
    graph = centreline_graph(mask, spacing)
    kinds = [node.kind for node in graph.nodes]
    assert (len(graph.branches), kinds.count("end"), kinds.count("junction")) \
        == (exact["branches"], exact["ends"], exact["junctions"])
    assert (graph.components, graph.loops) == betti_numbers(mask)[:2]
    assert [node.at_border for node in graph.nodes] == ["border" in file.stem] * len(graph.nodes)
    assert kinds.count("isolated") == ("single_voxel" in file.stem) == len(graph.notes)


def test_lengths_places_and_radii_of_the_phantoms_are_within_the_bounds():
    errors = {"iso": [], "aniso": []}
    for file in TABLE:
        mask, spacing, curves, exact = phantom(file)
        graph = centreline_graph(mask, spacing)
        length = exact["total_mm"] + (2 * exact["radii_mm"][0] if exact["round_ends"] else 0)
        places = cKDTree(np.concatenate(curves))
        points = np.concatenate([resampled(branch.points_mm, 0.05) for branch in graph.branches])
        nearest = [int(np.argmin([cKDTree(curve).query(branch.points_mm)[0].mean() for curve in curves]))
                   for branch in graph.branches]
        radius = np.mean([np.abs(branch.volume_radius_mm[3:-3] - exact["radii_mm"][which]).mean()
                          for branch, which in zip(graph.branches, nearest, strict=True)])
        errors["aniso" if "aniso" in file.stem else "iso"].append(
            (abs(graph.length_mm / length - 1), places.query(points)[0].mean(), radius))
    iso, aniso = (np.mean(rows, axis=0) for rows in errors.values())
    assert len(TABLE) == 14
    assert iso[0] < 0.010 and iso[1] < 0.14 and iso[2] < 0.05
    assert aniso[0] < 0.015 and aniso[1] < 0.19 and aniso[2] < 0.05


@pytest.mark.parametrize(("shape", "spacing"), [((6, 7, 8), (1, 1, 1)), ((6, 6, 4), (0.5, 0.5, 1.5)),
                                                ((11, 12), (1, 1)), ((9, 8), (1, 2.1))])
def test_components_and_loops_are_those_of_random_masks_without_cavities(shape, spacing):
    masks = random_masks(np.random.default_rng(4), 60, *shape)
    for mask, betti in zip(masks, betti_numbers_of_each(masks), strict=True):
        graph = centreline_graph(mask, spacing)
        if mask.ndim == 2 or betti[2] == 0:
            assert (graph.components, graph.loops) == tuple(betti[:2])
            assert not any("cavities" in note for note in graph.notes)
        else:
            assert any("cavities" in note for note in graph.notes)


def test_points_lie_in_the_mask_and_paths_run_from_node_to_node():
    for file in TABLE[::3]:
        mask, spacing, _, _ = phantom(file)
        graph = centreline_graph(mask, spacing)
        for branch in graph.branches:
            voxels = np.rint(branch.points_mm / spacing).astype(int)
            assert mask[tuple(voxels.T)].all()
            for node, point in zip(branch.nodes, branch.points_mm[[0, -1]], strict=True):
                assert np.allclose(graph.nodes[node].position_mm, point)


def test_arms_of_a_block_are_three_branches_of_their_own_lengths():
    mask = np.zeros((40, 40, 40), bool)
    mask[18:20, 18:20, 18:20] = True
    mask[20:38, 18, 18] = mask[18, 20:32, 18] = mask[18, 18, 20:26] = True
    graph = centreline_graph(mask, (1, 1, 1))
    assert [node.kind for node in graph.nodes].count("junction") == 1 and len(graph.branches) == 3
    lengths = sorted(branch.length_mm for branch in graph.branches)
    assert np.allclose(lengths, [7, 13, 19], atol=1.6)
    far = max(graph.branches, key=lambda branch: branch.length_mm)
    assert np.ptp(far.points_mm, axis=0).argmax() == 0


def test_a_square_ring_is_one_closed_branch_and_a_plate_with_two_holes_has_two_loops():
    ring = np.zeros((12, 12), bool)
    ring[1:-1, 1:-1] = True
    ring[2:-2, 2:-2] = False
    graph = centreline_graph(ring, (1, 1))
    assert [node.kind for node in graph.nodes] == ["loop"] and len(graph.branches) == 1
    assert np.allclose(*graph.branches[0].points_mm[[0, -1]]) and graph.branches[0].tortuosity == float("inf")
    eight = np.zeros((3, 5), bool)
    eight[:] = True
    eight[1, 1] = eight[1, 3] = False
    assert centreline_graph(eight, (1, 1)).loops == 2


def test_networkx_keeps_parallel_branches():
    mask, spacing, _, _ = phantom(next(file for file in GOLDEN if "theta" in file.stem))
    graph = centreline_graph(mask, spacing)
    multigraph = graph.to_networkx()
    assert multigraph.number_of_edges() == 3 and multigraph.number_of_nodes() == 2
    for one, two, values in multigraph.edges(data=True):
        assert {one, two} == set(values["nodes"]) and values["length_mm"] == graph.branches[values["branch"]].length_mm


def test_it_moves_with_the_mask():
    mask, spacing, _, _ = phantom(TABLE[0])
    there = centreline_graph(np.pad(mask, ((3, 2), (1, 2), (2, 2))), spacing)
    here = centreline_graph(np.pad(mask, 2), spacing)
    for one, two in zip(here.branches, there.branches, strict=True):
        assert np.allclose(one.points_mm + np.multiply((1, -1, 0), spacing), two.points_mm, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 4, 5), (0, 4), (4, 5)])
def test_an_empty_mask_has_no_nodes(shape):
    graph = centreline_graph(np.zeros(shape, bool), (1,) * len(shape))
    assert graph.nodes == [] and graph.branches == [] and graph.length_mm == 0 and graph.components == 0


def test_balls_voxels_and_planes_have_values():
    around = np.moveaxis(np.indices((25, 25, 25)), 0, -1) - 12.0
    ball = centreline_graph((around**2).sum(-1) <= 81, (1, 1, 1))
    assert [node.kind for node in ball.nodes] == ["isolated"] and "not much longer than wide" in ball.notes[0]
    assert np.allclose(ball.nodes[0].position_mm, 12, atol=1) and 8 < ball.nodes[0].radius_mm < 10
    voxel = centreline_graph(np.ones((1, 1, 1), bool), (1, 1, 1))
    assert len(voxel.nodes) == 1 and voxel.nodes[0].at_border
    for shape in itertools.permutations((1, 20, 31)):
        assert centreline_graph(np.ones(shape, bool), (1, 1, 1)).loops == 0


def test_a_hollow_ball_is_filled_and_says_so():
    around = (np.moveaxis(np.indices((25, 25, 25)), 0, -1) - 12.0)**2
    hollow = (around.sum(-1) <= 100) & (around.sum(-1) > 36)
    graph = centreline_graph(hollow, (1, 1, 1))
    assert graph.components == 1 and graph.loops == 0 and "cavities" in graph.notes[0]


def test_spacing_0_is_refused():
    with pytest.raises(ValueError, match="positive lengths"):
        centreline_graph(np.ones((4, 4), bool), (1, 0))
