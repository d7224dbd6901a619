"""Skeleton length and coverage: exact on lines, corners and junctions, and against a graph of all pairs."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from topology import seeds, shapes

from nnunet_topo.metrics import skeleton_coverage
from nnunet_topo.metrics.coverage import coverage_of_skeleton
from nnunet_topo.skeletons import thin


def drawn(*rows):
    return np.array([[symbol == "#" for symbol in row] for row in rows])


def length_of(skeleton, spacing=(1.0, 1.0)):
    return coverage_of_skeleton(skeleton, skeleton, spacing).length_mm


@pytest.mark.parametrize("axis, expected", [(0, 9 * 2.5), (1, 9 * 0.5), (2, 9 * 0.7)])
def test_a_straight_line_has_the_length_between_its_end_voxels(axis, expected):
    line = np.zeros((10, 10, 10), bool)
    np.moveaxis(line, axis, 0)[:, 4, 5] = True
    assert skeleton_coverage(line, line, (2.5, 0.5, 0.7)) == pytest.approx((expected, 1.0))


def test_diagonal_lines_are_measured_with_the_spacing_of_each_axis():
    assert length_of(np.eye(5, dtype=bool), (3.0, 4.0)) == pytest.approx(4 * 5)
    steps = np.zeros((4, 4, 4), bool)
    steps[range(4), range(4), range(4)] = True
    assert length_of(steps, (2.0, 3.0, 6.0)) == pytest.approx(3 * 7)


@pytest.mark.parametrize(
    "skeleton, expected",
    [
        (drawn("#..", "###"), 3),  # a corner: no short cut across
        (drawn("#####", "..#..", "..#.."), 4 + 2),  # a junction: three arms
        (drawn(".#.", "###", ".#."), 4),  # a crossing
        (drawn("#.#", ".#.", "#.#"), 4 * math.sqrt(2)),  # a slanted crossing
        (drawn("##", "##"), 4),  # a square: its sides
        (drawn("###", "#.#", "###"), 8),  # a loop
        (drawn(".#.", "#.#", ".#."), 4 * math.sqrt(2)),  # the smallest loop
        (drawn("#.#"), 0),
    ],
)
def test_length_of_corners_junctions_and_loops(skeleton, expected):
    assert length_of(skeleton) == pytest.approx(expected)


def test_a_triangle_of_equal_edges_loses_one_of_them():
    triangle = np.zeros((2, 2, 2), bool)
    triangle[0, 0, 0] = triangle[1, 1, 0] = triangle[1, 0, 1] = True
    assert length_of(triangle, (1.0, 1.0, 1.0)) == pytest.approx(2 * math.sqrt(2))


def test_half_an_edge_is_covered_for_each_predicted_voxel():
    line = drawn("#####")
    assert skeleton_coverage(drawn("###.."), line, (1.0, 2.0)) == (8, pytest.approx(2.5 / 4))
    assert skeleton_coverage(drawn("#.#.#"), line, (1.0, 2.0)) == (8, pytest.approx(2 / 4))
    assert skeleton_coverage(~line, line, (1.0, 2.0)) == (8, 0)


def test_empty_references_and_single_voxels_have_length_zero_and_no_share():
    empty, voxel = np.zeros((3, 3), bool), drawn("...", ".#.", "...")
    for reference in (empty, voxel):
        length, share = skeleton_coverage(voxel, reference, (1.0, 1.0))
        assert length == 0 and math.isnan(share)


@settings(deadline=None, max_examples=80)
@given(seeds, shapes)
def test_length_is_that_of_a_graph_without_the_longest_edges_of_its_triangles(seed, shape):
    rng = np.random.default_rng(seed)
    mask, prediction = rng.random(shape) < 0.4, rng.random(shape) < 0.5
    spacing = np.sort(rng.uniform(0.5, 2, len(shape)))  # distances differ: no ties
    voxels = [tuple(voxel) for voxel in np.argwhere(mask)]
    near = {(u, v): float(np.linalg.norm(np.subtract(u, v) * spacing)) for u, v in itertools.combinations(voxels, 2)
            if np.abs(np.subtract(u, v)).max() == 1}
    near |= {(v, u): length for (u, v), length in near.items()}
    kept = [(u, v) for (u, v), length in near.items() if u < v and not any(
        near.get((u, w), np.inf) < length - 1e-9 and near.get((w, v), np.inf) < length - 1e-9 for w in voxels)]
    length = sum(near[edge] for edge in kept)
    covered = sum(near[edge] * (prediction[edge[0]] + float(prediction[edge[1]])) / 2 for edge in kept)
    result = coverage_of_skeleton(prediction, mask, spacing)
    assert result.length_mm == pytest.approx(length)
    assert math.isnan(result.covered_share) if length == 0 else result.covered_share == pytest.approx(covered / length)


def test_a_thick_bent_vessel_is_measured_along_its_middle():
    mask = np.zeros((40, 40, 9), bool)
    mask[3:37, 3:8, 2:7] = mask[32:37, 3:37, 2:7] = True
    length, share = skeleton_coverage(mask, mask, (1.0, 1.0, 2.0))
    assert share == 1
    assert 50 < length < 66  # the middle has 29 + 29, of which thinning takes some at the ends
    assert coverage_of_skeleton(mask, thin(mask), (1.0, 1.0, 2.0)) == (length, share)
