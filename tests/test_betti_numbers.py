"""Betti numbers of masks, against gudhi and against shapes whose topology is known."""

import gudhi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnunet_topo.homology import betti, betti_numbers
from nnunet_topo.homology.betti import euler_characteristic

CONNECTIVITIES = ("foreground", "background")


def betti_numbers_by_gudhi(mask: np.ndarray, connectivity: str) -> tuple[int, ...]:
    """Classes of the sublevel filtration (foreground 0, background 1) that are born at 0 and outlive it."""
    cells = np.where(mask, 0.0, 1.0)
    if connectivity == "foreground":
        filtration = gudhi.CubicalComplex(top_dimensional_cells=cells)
    else:
        filtration = gudhi.CubicalComplex(vertices=cells)
    filtration.compute_persistence()
    intervals = [filtration.persistence_intervals_in_dimension(k).reshape(-1, 2) for k in range(mask.ndim)]
    return tuple(int(np.sum((pairs[:, 0] == 0) & (pairs[:, 1] > 0))) for pairs in intervals)


def masks(shapes: st.SearchStrategy[tuple[int, ...]]) -> st.SearchStrategy[np.ndarray]:
    """Random masks from nearly empty to nearly full."""

    def at_density(shape: tuple[int, ...]) -> st.SearchStrategy[np.ndarray]:
        return st.builds(
            lambda seed, density: np.random.default_rng(seed).random(shape) < density,
            st.integers(0, 2**32 - 1),
            st.floats(0.02, 0.98),
        )

    return shapes.flatmap(at_density)


@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
@settings(max_examples=400, deadline=None)
@given(mask=masks(st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_agrees_with_gudhi_in_2d(mask, connectivity):
    assert betti_numbers(mask, connectivity) == betti_numbers_by_gudhi(mask, connectivity)


@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
@settings(max_examples=400, deadline=None)
@given(mask=masks(st.tuples(st.integers(1, 8), st.integers(1, 8), st.integers(1, 8))))
def test_agrees_with_gudhi_in_3d(mask, connectivity):
    assert betti_numbers(mask, connectivity) == betti_numbers_by_gudhi(mask, connectivity)


@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
@settings(max_examples=300, deadline=None)
@given(mask=st.one_of(masks(st.tuples(st.integers(1, 20), st.integers(1, 5))),
                      masks(st.tuples(st.integers(1, 20), st.integers(1, 5), st.integers(1, 5)))))
def test_masks_in_slabs_have_the_numbers_of_the_whole(mask, connectivity):
    whole = betti_numbers(mask, connectivity), euler_characteristic(mask, connectivity)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(betti, "_VOXELS_AT_ONCE", 1)
        assert len(list(betti._slabs(mask))) == -(-(len(mask) + 1) // 3)
        assert (betti_numbers(mask, connectivity), euler_characteristic(mask, connectivity)) == whole


@settings(max_examples=50, deadline=None)
@given(mask=hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=3, max_side=6)))
def test_alternating_sum_of_betti_numbers_is_the_euler_characteristic(mask):
    for connectivity in CONNECTIVITIES:
        numbers = betti_numbers(mask, connectivity)
        alternating = sum((-1) ** k * number for k, number in enumerate(numbers))
        assert euler_characteristic(mask, connectivity) == alternating


def box(shape: tuple[int, ...], *parts: tuple[slice, ...], without: tuple[tuple[slice, ...], ...] = ()) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    for part in parts:
        mask[part] = True
    for part in without:
        mask[part] = False
    return mask


ALL = slice(None)


@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        pytest.param(np.zeros((4, 5), bool), (0, 0), id="empty-2d"),
        pytest.param(np.zeros((4, 5, 6), bool), (0, 0, 0), id="empty-3d"),
        pytest.param(np.ones((4, 5), bool), (1, 0), id="full-2d"),
        pytest.param(np.ones((4, 5, 6), bool), (1, 0, 0), id="full-3d"),
        pytest.param(np.ones((0, 3), bool), (0, 0), id="no-pixel"),
        pytest.param(np.ones((3, 0, 2), bool), (0, 0, 0), id="no-voxel"),
        pytest.param(np.ones((1, 1), bool), (1, 0), id="one-pixel"),
        pytest.param(np.ones((1, 1, 1), bool), (1, 0, 0), id="one-voxel"),
        pytest.param(np.array([[1, 0, 1, 1, 0, 1]], bool), (3, 0), id="one-row"),
        pytest.param(box((3, 3), (ALL, ALL), without=((1, 1),)), (1, 1), id="ring-that-fills-the-image"),
        pytest.param(box((5, 5), (ALL, ALL), without=((slice(1, 5), 2),)), (1, 0), id="ring-open-at-the-border"),
        pytest.param(box((3, 3, 3), (ALL, ALL, ALL), without=((1, 1, 1),)), (1, 0, 1), id="hollow-ball"),
        pytest.param(box((3, 3, 3), (ALL, ALL, ALL), without=((1, 1, ALL),)), (1, 1, 0), id="torus"),
        pytest.param(box((1, 3, 3), (ALL, ALL, ALL), without=((0, 1, 1),)), (1, 1, 0), id="ring-in-one-slice"),
        pytest.param(
            box((3, 5, 3), (ALL, ALL, ALL), without=((1, 1, ALL), (1, 3, ALL))), (1, 2, 0), id="two-tunnels-beside"
        ),
        pytest.param(
            # A frame of twelve edges: a graph of 8 vertices and 12 edges has 12 - 8 + 1 loops.
            box((5, 5, 5), (ALL, ALL, ALL), without=((slice(1, 4), slice(1, 4), ALL),
                (slice(1, 4), ALL, slice(1, 4)), (ALL, slice(1, 4), slice(1, 4)))), (1, 5, 0), id="frame-of-a-cube"
        ),
    ],
)
def test_known_shapes_have_their_betti_numbers(mask, expected, connectivity):
    assert betti_numbers(mask, connectivity) == expected


@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
def test_two_linked_rings_are_two_components_with_a_loop_each(connectivity):
    one = box((9, 9, 13), (4, slice(1, 8), slice(1, 8)), without=((4, slice(2, 7), slice(2, 7)),))
    other = box((9, 9, 13), (slice(1, 8), 4, slice(4, 12)), without=((slice(2, 7), 4, slice(5, 11)),))
    mask = one | other
    assert betti_numbers(mask, connectivity) == (2, 2, 0)


def test_hollow_torus_has_two_tunnels_and_one_cavity():
    axes = np.indices((9, 29, 29)) - np.array([4, 14, 14]).reshape(3, 1, 1, 1)
    to_circle = np.hypot(np.hypot(axes[1], axes[2]) - 9, axes[0])
    assert betti_numbers((to_circle < 4) & (to_circle > 2)) == (1, 2, 1)


@pytest.mark.parametrize(
    ("mask", "foreground", "background"),
    [
        (np.eye(2, dtype=bool), (1, 0), (2, 0)),
        (np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], bool), (1, 1), (4, 0)),
        (np.stack([np.eye(2, dtype=bool), np.zeros((2, 2), bool)]), (1, 0, 0), (2, 0, 0)),
        (np.array([[[1, 0], [0, 0]], [[0, 0], [0, 1]]], bool), (1, 0, 0), (2, 0, 0)),
    ],
    ids=["diagonal-pixels", "diamond", "edge-to-edge-voxels", "corner-to-corner-voxels"],
)
def test_connectivity_decides_about_voxels_that_touch_at_corners(mask, foreground, background):
    assert betti_numbers(mask, "foreground") == foreground
    assert betti_numbers(mask, "background") == background


def test_memory_order_and_views_do_not_matter():
    mask = np.random.default_rng(0).random((9, 10, 11)) < 0.4
    expected = betti_numbers(mask)
    assert betti_numbers(np.asfortranarray(mask)) == expected
    assert betti_numbers(mask[::-1, :, ::-1]) == expected
    assert betti_numbers(mask.transpose(2, 0, 1)) == expected


@pytest.mark.parametrize(
    "mask",
    [np.zeros((3, 3), np.uint8), np.zeros((3, 3)), np.zeros(3, bool), np.zeros((2, 2, 2, 2), bool), [[True, False]]],
    ids=["uint8", "float", "one-axis", "four-axes", "list"],
)
def test_anything_but_a_boolean_image_is_refused(mask):
    with pytest.raises(ValueError, match="boolean numpy arrays of two or three axes"):
        betti_numbers(mask)


def test_unknown_connectivity_is_refused_with_both_names():
    with pytest.raises(ValueError, match='"foreground" or "background", not 26'):
        betti_numbers(np.ones((3, 3), bool), 26)
