"""Critical regions and components of errors: by brute force, against reference values, and by hand."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from topology import betti_numbers_of_each, component_counts, random_masks

from nnunet_topo.homology import WrongRegions, betti_numbers, critical_components, critical_regions

GOLDEN = Path(__file__).parent / "golden" / "regions"
MANY = {(3, 3): 3000, (4, 5): 4000, (6, 6): 2000, (1, 7): 500, (2, 3, 3): 3000, (3, 3, 3): 2500, (4, 4, 4): 1000,
        (1, 4, 4): 1000}


def images_of(found: WrongRegions, shape: tuple[int, ...]) -> np.ndarray:
    """(regions, *S) bool, one mask a region."""
    masks = np.zeros((len(found.critical), int(np.prod(shape))), bool)
    masks[found.regions, found.voxels] = True
    return masks.reshape(-1, *shape)


def critical_image(found: WrongRegions, shape: tuple[int, ...]) -> np.ndarray:
    return images_of(found, shape)[found.critical].any(0)


def many_masks(shape: tuple[int, ...], count: int) -> zip:
    """Pairs (prediction, target), from nearly empty to nearly full, with few errors or many."""
    rng = np.random.default_rng(0)
    targets = random_masks(rng, count, *shape)
    errors = rng.random((count, *shape)) < rng.uniform(0.02, 0.6, (count, *[1] * len(shape)))
    return zip(targets ^ errors, targets, strict=True)


@pytest.mark.parametrize("shape", MANY, ids=str)
def test_flipping_a_region_changes_a_betti_number_if_and_only_if_it_is_critical(shape):
    critical, before, after, union = [], [], [], []
    for prediction, target in many_masks(shape, MANY[shape]):
        found = critical_regions(prediction, target)
        regions = images_of(found, shape)
        assert (regions.sum(0) == (prediction ^ target)).all()
        for region in regions:
            assert (prediction & ~target)[region].all() or (target & ~prediction)[region].all()
            before.append(target if prediction[region].all() else prediction)
            after.append(before[-1] | region)
            union.append(prediction | target)
        critical.append(found.critical)
    critical, before, after, union = np.concatenate(critical), np.array(before), np.array(after), np.array(union)
    changed = (betti_numbers_of_each(before) != betti_numbers_of_each(after)).any(1)
    assert 0.03 < critical.mean() < 0.97 and not changed[~critical].any()
    # in 3D, a background that the region would split may hang together through another error: not so in the union
    same = changed == critical
    assert same.all() or (len(shape) == 3 and same.mean() > 0.999)
    without = union & ~(after & ~before)
    in_union = (betti_numbers_of_each(without) != betti_numbers_of_each(union)).any(1)
    assert (changed | in_union)[critical].all()


@pytest.mark.parametrize("shape", MANY, ids=str)
def test_flipping_a_component_changes_the_number_of_those_in_both_masks_if_and_only_if_it_is_critical(shape):
    critical, before, after = [], [], []
    for prediction, target in many_masks(shape, MANY[shape] // 2):
        found = critical_components(prediction, target)
        components = images_of(found, shape)
        assert (components.sum(0) == (prediction ^ target)).all()
        both = prediction & target
        before.extend([both] * len(components))
        after.extend(both | component for component in components)
        critical.append(found.critical)
    critical = np.concatenate(critical)
    changed = component_counts(np.array(before), False) != component_counts(np.array(after), False)
    assert (changed == critical).all() and 0.03 < critical.mean() < 0.97


@pytest.mark.parametrize("shape", [(9, 10), (6, 6, 5)], ids=str)
def test_without_a_critical_region_the_masks_have_the_betti_numbers_of_their_union(shape):
    quiet = 0
    rng = np.random.default_rng(1)
    for _ in range(1500):
        target = rng.random(shape) < 0.15
        prediction = target ^ (rng.random(shape) < 0.03)
        if not critical_regions(prediction, target).critical.any():
            numbers = {betti_numbers(mask) for mask in (prediction, target, prediction | target)}
            assert len(numbers) == 1
            quiet += (prediction != target).any()
    assert quiet > 30


@pytest.mark.parametrize("name", ["2d_random", "3d_random", "3d_cut_ring", "3d_pierced_shell", "3d_two_cuts"])
def test_regions_equal_those_of_the_slow_version_which_takes_no_euler_numbers(name):
    data = np.load(GOLDEN / f"regions_ours_{name}.npz")
    found = critical_regions(data["prediction"], data["target"], outside="nothing")
    expected = [data["wrong_region"] == number for number in range(1, len(data["critical"]) + 1)]
    places = {region.tobytes(): i for i, region in enumerate(images_of(found, data["target"].shape))}
    assert len(places) == len(expected)
    for region, critical in zip(expected, data["critical"], strict=True):
        here = found.critical[places[region.tobytes()]]
        numbers = [betti_numbers(mask) for mask in flipped(region, data["prediction"], data["target"])]
        assert here == (critical or numbers[0] != numbers[1])


def flipped(region: np.ndarray, prediction: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mask that a region is added to, before and after."""
    other = target if prediction[region].all() else prediction
    return other, other | region


@pytest.mark.parametrize("name", ["smooth", "lines", "3_classes", "empty_target", "noise", "perfect"])
def test_critical_regions_are_the_authors(name):
    data = np.load(GOLDEN / f"topograph_{name}.npz")
    labels, (samples, classes) = data["logits"].argmax(1), data["critical"].shape[:2]
    for b, c in itertools.product(range(samples), range(classes)):
        expected = data["critical"][b, c]
        masks = labels[b] == c + 1, data["target"][b] == c + 1
        found = critical_regions(*masks, outside="nothing")
        assert np.array_equal(critical_image(found, expected.shape), expected > 0)
        assert found.critical.sum() == len(np.unique(expected[expected > 0]))


def test_the_authors_four_connectivity_finds_regions_that_change_nothing():
    # it never joins background at corners, so that the background falls into more pieces than there are
    data = np.load(GOLDEN / "topograph_four_connectivity.npz")
    harmless = 0
    for labels, target, critical in zip(data["logits"].argmax(1), data["target"], data["critical"][:, 0], strict=True):
        for number in np.unique(critical[critical > 0]):
            before, after = flipped(critical == number, labels == 1, target == 1)
            union = (labels | target) == 1
            harmless += (betti_numbers(before, "background") == betti_numbers(after, "background") and
                         betti_numbers(union, "background") == betti_numbers(union & ~(after & ~before), "background"))
    assert harmless > 0


@pytest.mark.parametrize("name", ["2d", "2d_rough", "2d_weights", "3d_weights"])
def test_critical_components_are_those_of_one_connectivity(name):
    data = np.load(GOLDEN / f"supervoxel_{name}.npz")
    official = 0
    for b, (logits, target) in enumerate(zip(data["logits"][:, 0], data["target"][:, 0], strict=True)):
        found = critical_components(logits > 0, target > 0)
        expected = data["critical_fn_full"][b] | data["critical_fp_full"][b]
        assert np.array_equal(critical_image(found, expected.shape), expected)
        official += (data["critical_fn"][b] | data["critical_fp"][b]).sum() - expected.sum()
    assert official != 0  # the authors' code labels across faces and walks across corners


def mask(*rows: str) -> np.ndarray:
    return np.array([[character == "#" for character in row] for row in rows])


def counts(prediction: np.ndarray, target: np.ndarray, **options: str) -> tuple[int, int]:
    """How many regions there are, and how many are critical."""
    found = critical_regions(prediction, target, **options)
    return len(found.critical), int(found.critical.sum())


def test_by_hand_in_2d():
    bar = mask(".........", ".#######.", ".#######.", ".........")
    cut, short = bar.copy(), bar.copy()
    cut[:, 4], short[:, 6:] = False, False
    assert counts(cut, bar) == counts(bar, cut) == (1, 1)
    assert counts(short, bar) == counts(bar, short) == (1, 0)
    assert counts(np.roll(bar, 1, 0), bar) == (2, 0)
    ring = mask(".....", ".###.", ".#.#.", ".###.", ".....")
    full = ring | mask(".....", ".....", "..#..", ".....", ".....")
    open_ring = ring & ~mask(".....", ".....", ".#...", ".....", ".....")
    assert counts(full, ring) == counts(ring, full) == counts(open_ring, ring) == (1, 1)
    assert not critical_components(open_ring, ring).critical.any()  # which knows no holes
    assert critical_components(cut, bar).critical.all() and critical_components(bar, cut).critical.all()


def test_the_outside_joins_what_a_structure_that_crosses_the_image_parts():
    crossing = mask(".......", "#######", ".......")
    at_the_border = crossing & ~mask(".......", "......#", ".......")
    assert counts(at_the_border, crossing) == (1, 0)
    assert counts(at_the_border, crossing, outside="nothing") == (1, 1)


def solid(*boxes: tuple[slice, ...], shape: tuple[int, ...] = (9, 9, 9)) -> np.ndarray:
    image = np.zeros(shape, bool)
    for box in boxes:
        image[box] = True
    return image


def test_by_hand_in_3d_tunnels_are_seen_by_their_euler_numbers():
    s = np.s_
    block = solid(s[2:7, 1:8, 1:8])
    torus = block & ~solid(s[:, 3:6, 3:6])
    cut = torus & ~solid(s[:, 4, :4])
    twice = cut & ~solid(s[:, 4, 5:])
    sealed = torus | solid(s[4, 3:6, 3:6])
    short, hollow = block & ~solid(s[:, :, 6:]), block & ~solid(s[4, 4, 4])
    pierced = hollow & ~solid(s[:4, 4, 4])
    slab = solid(s[2:7, 1:5, 1:8])
    handle = slab | solid(s[4, 5:7, 2], s[4, 5:7, 6], s[4, 7, 2:7])
    assert counts(cut, torus) == counts(sealed, torus) == counts(torus, sealed) == (1, 1)
    assert counts(twice, torus) == (2, 2)
    assert counts(short, block) == counts(block, short) == (1, 0)
    assert counts(handle, slab) == counts(slab, handle) == (1, 1)
    assert counts(hollow, block) == counts(block, hollow) == counts(pierced, hollow) == (1, 1)
    assert not critical_components(cut, torus).critical.any() and critical_components(twice, torus).critical.all()


@pytest.mark.parametrize("shape", [(30, 32), (12, 14, 13)], ids=str)
def test_mirrored_and_exchanged_masks_have_the_same_regions(shape):
    rng = np.random.default_rng(3)
    target = rng.random(shape) < 0.4
    prediction = target ^ (rng.random(shape) < 0.2)
    expected = critical_image(critical_regions(prediction, target), shape)
    assert 0 < expected.sum() < (prediction ^ target).sum()
    assert np.array_equal(critical_image(critical_regions(target, prediction), shape), expected)
    for order in itertools.permutations(range(len(shape))):
        turned = critical_regions(prediction.transpose(order), target.transpose(order))
        assert np.array_equal(critical_image(turned, tuple(shape[i] for i in order)), expected.transpose(order))
    back = critical_regions(np.flip(prediction), np.asfortranarray(np.flip(target)))
    assert np.array_equal(critical_image(back, shape), np.flip(expected))


@pytest.mark.parametrize("function", [critical_regions, critical_components])
def test_equal_masks_have_no_region_and_empty_ones_one_for_each_piece(function):
    target = mask("##..#", "##..#", ".....")
    assert len(function(target, target).critical) == len(function(target, target).voxels) == 0
    for masks in ((np.zeros_like(target), target), (target, np.zeros_like(target))):
        assert function(*masks).critical.tolist() == [True, True]
    voxels, regions = function(np.zeros_like(target), target).in_critical()
    pairs = sorted(zip(regions.tolist(), voxels.tolist(), strict=True))
    assert pairs == [(0, 0), (0, 1), (0, 5), (0, 6), (1, 4), (1, 9)]


@pytest.mark.parametrize(("call", "sentence"), [
    (lambda m: critical_regions(m, m, outside="sphere"), 'outside must be "background" or "nothing", not \'sphere\''),
    (lambda m: critical_regions(m, m[1:]), "masks of one shape, not of"),
    (lambda m: critical_components(m, m.astype(int)), "boolean numpy arrays of two or three axes, not of"),
    (lambda m: critical_components(m[0], m[0]), "boolean numpy arrays of two or three axes, not of"),
])
def test_bad_masks_are_refused_with_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(mask("##.", ".#."))
