"""The tables of simple points against the definitions, by components, by homotopy and by counting."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from topology import betti_numbers_of_each, is_simple, keeps_euler_number, random_masks

from nnunet_topo.skeletons.simple_points import RULES, code_of, simple_point_table

DEFINITIONS = {"topological": is_simple, "euler": keeps_euler_number}
OFFSETS = [offset for offset in itertools.product((-1, 0, 1), repeat=3) if any(offset)]


def looked_up(rule: str, neighbourhoods: np.ndarray) -> np.ndarray:
    table = simple_point_table(rule, neighbourhoods.ndim - 1)
    codes = np.array([code_of(neighbourhood) for neighbourhood in neighbourhoods])
    return (table[codes >> 3] >> (codes & 7) & 1).astype(bool)


def with_centre(neighbourhoods: np.ndarray, value: bool) -> np.ndarray:
    result = neighbourhoods.copy()
    result[(slice(None), *[1] * (neighbourhoods.ndim - 1))] = value
    return result


def all_of_2d() -> np.ndarray:
    bits = np.arange(512)[:, None] >> np.arange(9) & 1
    return bits.astype(bool).reshape(-1, 3, 3)


@pytest.mark.parametrize("rule", RULES)
def test_equal_their_definition_on_neighbourhoods_of_all_densities(rule):
    neighbourhoods = random_masks(np.random.default_rng(0), 20000, 3, 3, 3)
    expected = DEFINITIONS[rule](neighbourhoods)
    assert np.array_equal(looked_up(rule, neighbourhoods), expected)
    assert 2000 < expected.sum() < 18000


@pytest.mark.parametrize("rule", RULES)
def test_equal_their_definition_on_all_neighbourhoods_of_2d(rule):
    assert np.array_equal(looked_up(rule, all_of_2d()), DEFINITIONS[rule](all_of_2d()))


@pytest.mark.parametrize("neighbourhoods", [random_masks(np.random.default_rng(1), 20000, 3, 3, 3), all_of_2d()],
                         ids=["3d", "2d"])
def test_a_point_is_simple_where_its_neighbours_are_one_piece_without_tunnel_and_cavity(neighbourhoods):
    """Another definition: the closed voxels around a simple point can be contracted, as those with the point can."""
    point = [1] + [0] * (neighbourhoods.ndim - 2)
    contractible = (betti_numbers_of_each(with_centre(neighbourhoods, False)) == point).all(1)
    assert np.array_equal(looked_up("topological", neighbourhoods), contractible)
    assert (betti_numbers_of_each(with_centre(neighbourhoods, True)) == point).all()


@pytest.mark.parametrize(("rule", "simple"), [("topological", 25_985_144), ("euler", 26_890_744)])
def test_number_of_simple_neighbourhoods(rule, simple):
    table = simple_point_table(rule, 3)
    assert table.shape == (2**23,) and table.dtype == np.uint8
    assert int(np.unpackbits(table).sum()) == simple


def test_euler_accepts_all_simple_points_and_in_2d_no_others():
    topological, euler = simple_point_table("topological", 3), simple_point_table("euler", 3)
    assert not (topological & ~euler).any()
    assert int(np.unpackbits(euler & ~topological).sum()) == 905_600
    assert np.array_equal(simple_point_table("topological", 2), simple_point_table("euler", 2))


def test_codes_count_the_neighbours_in_raster_order_without_the_voxel_itself():
    for axes in (2, 3):
        neighbours = [place for place in itertools.product(range(3), repeat=axes) if place != (1,) * axes]
        for bit, place in enumerate(neighbours):
            for centre in (0, 1):
                neighbourhood = np.zeros((3,) * axes, np.uint8)
                neighbourhood[place], neighbourhood[(1,) * axes] = 1, centre
                assert code_of(neighbourhood) == 1 << bit


def masks_of(cells: list[tuple[int, ...]]) -> np.uint32:
    return np.uint32(sum(1 << OFFSETS.index(cell) for cell in cells))


def by_bertrands_conditions(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Simple points of both rules by counting, without components (G. Bertrand, "A Boolean characterization of
    three-dimensional simple points", Pattern Recognition Letters 1996)."""

    def order(cell: tuple[int, ...]) -> int:
        return sum(map(abs, cell))

    def block(cell: tuple[int, ...]) -> list[tuple[int, ...]]:
        """What lies between a neighbour and the voxel, with the neighbour."""
        return [other for other in OFFSETS if all(a in (0, b) for a, b in zip(other, cell, strict=True))]

    def touching(cell: tuple[int, ...], share: int) -> list[tuple[int, ...]]:
        """Faces and edges of the neighbourhood that share a face (1), or at least a corner (3), with a neighbour."""
        steps = [(other, [abs(a - b) for a, b in zip(other, cell, strict=True)]) for other in OFFSETS]
        return [other for other, step in steps if order(other) <= 2 and max(step) == 1 and sum(step) <= share]

    def all_set(words: np.ndarray, mask: np.uint32) -> np.ndarray:
        return words & mask == mask

    faces, edges, corners = ([cell for cell in OFFSETS if order(cell) == n] for n in (1, 2, 3))
    empty = ~codes
    empty_faces = sum(all_set(empty, masks_of([cell])).view(np.int8) for cell in faces)
    empty_squares = sum(all_set(empty, masks_of(block(cell))).view(np.int8) for cell in edges)
    empty_cubes = sum(all_set(empty, masks_of(block(cell))).view(np.int8) for cell in corners)
    euler = empty_faces - empty_squares + empty_cubes == 1

    def single(neighbours: np.uint32) -> np.ndarray:
        there = codes & neighbours
        return (there != 0) & (there & (there - np.uint32(1)) == 0)

    def alone(words: np.ndarray, cells: list[tuple[int, ...]], among: dict) -> np.ndarray:
        """Whether one of the cells is set and none of those around it."""
        found = np.zeros(len(words), bool)
        for cell in cells:
            found |= words & masks_of([cell, *among[cell]]) == masks_of([cell])
        return found

    lone_corner = alone(codes, corners, {cell: [o for o in block(cell) if o != cell] for cell in corners})
    lone_edge = alone(codes, edges, {cell: touching(cell, 3) for cell in edges})
    lone_hole = alone(empty, faces, {cell: touching(cell, 1) for cell in faces})
    simple = (empty_faces == 1) | single(masks_of(OFFSETS)) | (single(masks_of(faces + edges)) & ~lone_corner)
    return simple | (euler & ~lone_corner & ~lone_edge & ~lone_hole), euler


def assert_equal_bertrands_conditions(codes: np.ndarray) -> None:
    for rule, expected in zip(("topological", "euler"), by_bertrands_conditions(codes), strict=True):
        table = simple_point_table(rule, 3)
        assert np.array_equal((table[codes >> 3] >> (codes & 7).astype(np.uint8) & 1).astype(bool), expected)


def test_equal_bertrands_conditions_on_all_neighbourhoods():
    for start in range(0, 2**26, 2**20):
        assert_equal_bertrands_conditions(np.arange(start, start + 2**20, dtype=np.uint32))
