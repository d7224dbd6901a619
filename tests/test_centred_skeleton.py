"""The centred skeleton: topology, its invariance, its spurs, and a plain implementation of its rule."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial import cKDTree
from test_betti_numbers import betti_numbers_by_gudhi
from topology import betti_numbers_of_each, is_simple, random_masks, seeds, shapes

from nnunet_topo.homology import betti_numbers
from nnunet_topo.skeletons import centred, centred_skeleton
from nnunet_topo.skeletons.centred import skeleton_and_spurs
from nnunet_topo.synthetic import vessel_tree

SPACINGS = st.lists(st.sampled_from([0.5, 0.7, 1.0, 1.5, 3.0]), min_size=3, max_size=3)


def smooth_mask(seed: int, *shape: int) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2.5)
    return noise > np.quantile(noise, 0.8)


def tube(end, radius: float, shape=(24, 24, 60), start=(10.0, 11.0, 8.0), spacing=(1.0, 1.0, 1.0)) -> np.ndarray:
    """Voxels within a radius of a line, with flat ends."""
    points = np.moveaxis(np.indices(shape), 0, -1) * np.array(spacing) - start
    along = (np.array(end) - start) / np.linalg.norm(np.subtract(end, start))
    place = points @ along
    away = np.linalg.norm(points - place[..., None] * along, axis=-1)
    return (away <= radius) & (place >= 0) & (place <= np.linalg.norm(np.subtract(end, start)))


def end_count(skeleton: np.ndarray) -> int:
    around = ndimage.convolve(skeleton.astype(int), np.ones((3,) * skeleton.ndim, int), mode="constant")
    return int(np.sum(skeleton & (around == 2)))


def distances(mask, spacing):
    """From each voxel of the mask to all faces of the background, one by one."""
    outside = np.argwhere(~np.pad(mask, 1)) - 1
    apart = np.abs(np.argwhere(mask)[:, None] - outside[None]) - 0.5
    return np.sqrt(((np.maximum(apart, 0) * spacing) ** 2).sum(-1)).min(1)


def plain_thin(mask, spacing):
    """The rule by its words, without spurs: levels, passes of faces, most neighbours first, raster order at last."""
    whole, present = np.zeros(np.add(mask.shape, 2), int), np.pad(mask, 1)
    whole[present] = np.rint(distances(mask, spacing) / min(spacing) * 1024)
    box = np.ones((3,) * mask.ndim, int)
    once = np.where(present, 27 * whole + ndimage.convolve(whole, box, mode="constant"), 0)
    levels = (729 * whole + ndimage.convolve(once, box, mode="constant")) // 128
    offsets = [offset for offset in itertools.product((-1, 0, 1), repeat=mask.ndim) if any(offset)]
    axes = range(mask.ndim)
    faces = [tuple(sign * (axis == other) for other in axes) for axis in axes for sign in (-1, 1)]

    def block(voxel):
        return present[tuple(slice(i - 1, i + 2) for i in voxel)]

    for level in np.unique(levels[present]):
        active = [tuple(voxel) for voxel in np.argwhere(present & (levels == level))]
        while active:
            following = []
            for face in faces:
                open_ones = [v for v in active if present[v] and not present[tuple(np.add(v, face))]]
                open_ones.sort(key=lambda voxel: -block(voxel).sum())
                for voxel in open_ones:
                    if block(voxel).sum() == 2 or not is_simple(block(voxel)[None])[0]:
                        continue
                    present[voxel] = False
                    for offset in offsets:
                        other = tuple(np.add(voxel, offset))
                        if present[other] and levels[other] <= level and other not in following:
                            following.append(other)
            active = [voxel for voxel in following if present[voxel]]
    return present[(slice(1, -1),) * mask.ndim]


@settings(max_examples=30, deadline=None)
@given(shapes, SPACINGS, seeds)
def test_equals_the_plain_implementation_where_no_spur_is_taken_off(shape, spacing, seed):
    mask = random_masks(np.random.default_rng(seed), 1, *shape)[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(centred, "SPUR_FACTOR", -np.inf)
        thinned = centred_skeleton(mask, spacing[:mask.ndim])
    assert np.array_equal(thinned, plain_thin(mask, spacing[:mask.ndim]))


@settings(max_examples=40, deadline=None)
@given(shapes, SPACINGS, seeds)
def test_depth_is_the_distance_to_the_surface(shape, spacing, seed):
    mask = random_masks(np.random.default_rng(seed), 1, *shape)[0]
    found = skeleton_and_spurs(mask, spacing[:mask.ndim])
    expected = np.zeros(mask.shape)
    expected[mask] = distances(mask, spacing[:mask.ndim])
    assert np.allclose(found.depth_mm, expected[tuple(found.voxels.T)], rtol=1e-5)


@pytest.mark.parametrize(("shape", "spacing"), [((7, 7, 7), (1, 1, 1)), ((5, 6, 9), (1.5, 0.5, 0.7)),
                                                ((12, 13), (1, 1)), ((9, 15), (2, 0.6))])
def test_betti_numbers_are_those_of_the_mask(shape, spacing):
    masks = random_masks(np.random.default_rng(3), 700, *shape)
    skeletons = np.stack([centred_skeleton(mask, spacing) for mask in masks])
    assert np.array_equal(betti_numbers_of_each(skeletons), betti_numbers_of_each(masks))
    assert not (skeletons & ~masks).any()


@pytest.mark.parametrize("seed", range(4))
def test_betti_numbers_of_rough_objects_by_gudhi(seed):
    mask = smooth_mask(seed, 24, 26, 28)
    skeleton = centred_skeleton(mask, (1, 0.8, 2))
    assert betti_numbers_by_gudhi(skeleton, "foreground") == betti_numbers_by_gudhi(mask, "foreground")
    assert skeleton.sum() < mask.sum() / 8


@settings(max_examples=25, deadline=None)
@given(seeds, SPACINGS, st.lists(st.integers(0, 5), min_size=3, max_size=3))
def test_it_moves_with_the_mask(seed, spacing, shift):
    mask = smooth_mask(seed, 14, 15, 16)
    moved = np.pad(mask, [(step, 6 - step) for step in shift])
    there = centred_skeleton(moved, spacing)[tuple(slice(step, step + size)
                                                   for step, size in zip(shift, mask.shape, strict=True))]
    assert np.array_equal(there, centred_skeleton(mask, spacing))


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("mirrored", [(), (0,), (1, 2)])
def test_mirrored_or_with_other_axes_it_is_the_same_within_a_voxel(axes, mirrored):
    mask = vessel_tree((48, 48, 48), seed=5).label > 0
    spacing = np.array([1.0, 1.0, 1.0])
    plain = centred_skeleton(mask, spacing)
    other = centred_skeleton(np.flip(mask, mirrored).transpose(axes), spacing[list(axes)])
    back = np.flip(other.transpose(np.argsort(axes)), mirrored)
    assert betti_numbers(back) == betti_numbers(plain) and end_count(back) == end_count(plain)
    there, here = np.argwhere(back), np.argwhere(plain)
    moved = cKDTree(there).query(here)[0]
    assert moved.max() < 2 and moved.mean() < 0.1


@pytest.mark.parametrize("flips", [(), (0,), (1,), (2,), (0, 1, 2)])
def test_a_straight_tube_of_odd_width_has_its_axis_for_skeleton(flips):
    mask = np.zeros((11, 13, 41), bool)
    mask[3:8, 4:9, 4:37] = True
    skeleton = np.flip(centred_skeleton(np.flip(mask, flips), (1, 1, 1)), flips)
    assert skeleton[5, 6, 7:34].all() and skeleton[:, :, 7:34].sum() == 27 and end_count(skeleton) == 2


@pytest.mark.parametrize("size", [(4, 4, 20), (4, 4, 100), (2, 2, 30), (6, 8, 40)])
def test_boxes_of_even_width_keep_their_length(size):
    for axes in itertools.permutations(range(3)):
        box = np.pad(np.ones(np.array(size)[list(axes)], bool), 2)
        skeleton = centred_skeleton(box, (1, 1, 1))
        length = np.ptp(np.argwhere(skeleton), axis=0).max() + 1
        assert end_count(skeleton) == 2 and length >= max(size) - min(size) - 4


@pytest.mark.parametrize("radius", [1.5, 2.5, 3.5])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 0.7, 2.1)])
def test_it_runs_along_the_middle_of_an_oblique_tube(radius, spacing):
    shape = tuple(np.ceil(np.array([24, 24, 62]) / spacing).astype(int))
    start, end = np.array([8.0, 9.0, 8.0]), np.array([16.0, 13.0, 52.0])
    mask = tube(end, radius, shape, start, spacing)
    skeleton = centred_skeleton(mask, spacing)
    points = np.argwhere(skeleton) * spacing - start
    along = (end - start) / np.linalg.norm(end - start)
    place = points @ along
    inner = (place > 2 * radius) & (place < np.linalg.norm(end - start) - 2 * radius)
    away = np.linalg.norm(points - place[:, None] * along, axis=1)[inner]
    assert end_count(skeleton) == 2 and away.mean() < 0.4 * max(spacing[:2]) + 0.1 * spacing[2]


def test_a_ball_and_a_cube_become_a_voxel_and_say_so():
    around = np.moveaxis(np.indices((31, 31, 31)), 0, -1) - 15.0
    for mask in ((around**2).sum(-1) <= 144, np.pad(np.ones((20, 20, 20), bool), 2)):
        found = skeleton_and_spurs(mask, (1, 1, 1))
        assert len(found.voxels) == 1 and found.depth_mm[0] > 9 and len(found.spurs.ends) > 0


def test_bumps_are_no_branches_but_thin_branches_are():
    mask = np.pad(np.ones((9, 9, 60), bool), ((2, 12), (2, 2), (2, 2)))
    bumpy = mask.copy()
    bumpy[11:13, 5:8, 20:23] = True  # two voxels high, three wide
    branched = mask.copy()
    branched[11:20, 5:8, 20:23] = True  # nine high
    ends = [end_count(centred_skeleton(shape, (1, 1, 1))) for shape in (mask, bumpy, branched)]
    assert ends == [2, 2, 3]


def test_a_spurs_reach_and_width_are_in_mm():
    around = np.moveaxis(np.indices((41, 41)), 0, -1) - 20.0
    disk = (around**2).sum(-1) <= 100
    disk[18:23, 28:33] = True  # a bump of 2.5 pixels beyond the circle, 5 wide
    spurs = skeleton_and_spurs(disk, (2, 2)).spurs
    furthest = spurs.reach_mm.argmax()
    assert 3 <= spurs.reach_mm[furthest] <= 9 and 2 <= spurs.width_mm[furthest] <= 6


@pytest.mark.parametrize("length", [3, 20, 60])
def test_a_thin_tail_of_a_ball_is_a_branch_where_it_is_no_bump(length):
    around = np.moveaxis(np.indices((41, 41, 120)), 0, -1) - 20.0
    mask = (around**2).sum(-1) <= 225
    mask[18:23, 18:23, 35:35 + length] = True
    skeleton = centred_skeleton(mask, (1, 1, 1))
    assert end_count(skeleton) == (2 if length > 3 else 0) and (skeleton.sum() > length) == (length > 3)


@pytest.mark.parametrize("mask", [np.zeros((3, 4, 5), bool), np.zeros((0, 4), bool), np.zeros((4, 5), bool)])
def test_empty_masks_stay_empty(mask):
    assert not centred_skeleton(mask, (1,) * mask.ndim).any()


def test_one_voxel_and_a_plane_have_values():
    voxel = np.zeros((3, 3, 3), bool)
    voxel[1, 1, 1] = True
    assert np.array_equal(centred_skeleton(voxel, (1, 1, 1)), voxel)
    assert betti_numbers(centred_skeleton(np.ones((1, 20, 30), bool), (1, 1, 1))) == (1, 0, 0)
    hollow = np.pad(np.ones((9, 9, 9), bool), 1)
    hollow[4:7, 4:7, 4:7] = False
    assert betti_numbers(centred_skeleton(hollow, (1, 1, 1))) == (1, 0, 1)


@pytest.mark.parametrize(("mask", "spacing", "words"), [
    (np.ones((2, 2)), (1, 1), "boolean numpy array"),
    (np.ones((2, 2, 2, 2), bool), (1, 1, 1, 1), "two or three axes"),
    (np.ones((2, 2), bool), (1, 0), "positive lengths"),
    (np.ones((2, 2), bool), (1, 1, 1), "2 positive lengths"),
    (np.ones((2, 2), bool), (1, np.nan), "positive lengths"),
])
def test_what_cannot_be_thinned_is_refused(mask, spacing, words):
    with pytest.raises(ValueError, match=words):
        centred_skeleton(mask, spacing)
