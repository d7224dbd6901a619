"""Surface distances: exact on small masks, and against distances of all pairs of voxel corners."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.spatial.distance import cdist
from topology import seeds, shapes

from nnunet_topo.metrics import surface_distances


def box(shape, *sides):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


def corners(mask, spacing):
    """Corners in mm that have foreground and background around them, by looking at each."""
    framed = np.pad(mask, 1)
    found = []
    for corner in itertools.product(*(range(size + 1) for size in mask.shape)):
        around = framed[tuple(slice(c, c + 2) for c in corner)]
        if around.any() and not around.all():
            found.append(np.multiply(corner, spacing))
    return np.array(found).reshape(-1, mask.ndim)


def random_case(seed, shape):
    rng = np.random.default_rng(seed)
    return rng.random(shape) < rng.random(), rng.random(shape) < rng.random(), rng.uniform(0.3, 3, len(shape))


def test_a_cube_shifted_along_an_axis_of_wide_spacing():
    one, two = box((8, 8, 8), (1, 4), (1, 4), (1, 4)), box((8, 8, 8), (2, 5), (1, 4), (1, 4))
    distances = surface_distances(one, two, (3.0, 1.0, 1.0))
    assert distances.hausdorff_mm() == 3
    # Of 4 x 4 x 4 corners the 56 outer ones; the end at 1 is 3 mm away, the middle of the plane at 4 only 1 mm.
    assert sorted(set(distances.prediction_to_reference_mm)) == [0, 1, 3]
    np.testing.assert_array_equal(np.bincount(distances.prediction_to_reference_mm.astype(int)), [36, 4, 0, 16])
    # Area of an end: 4 corners within, 8 at edges, 4 at vertices; faces there are 1 mm2 and 3 mm2 at the sides.
    end = 4 * 1 + 8 * math.hypot(0.5, 1.5) + 4 * math.hypot(0.25, 0.75, 0.75)
    sides = 2 * 4 * (2 * 3 + math.hypot(1.5, 1.5))
    assert distances.prediction_areas.sum() == pytest.approx(2 * end + sides)
    assert distances.normalised_surface_dice(1) == pytest.approx((end + sides) / (2 * end + sides))
    assert distances.normalised_surface_dice(3) == 1
    assert distances.average_symmetric_mm() == pytest.approx((3 * end + 4 * 1 * 1) / (2 * end + sides))


def test_two_pixels_at_a_distance():
    one, two = box((1, 8), (0, 1), (0, 1)), box((1, 8), (0, 1), (4, 5))
    distances = surface_distances(one, two, (1.0, 0.5))
    assert sorted(distances.prediction_to_reference_mm) == [1.5, 1.5, 2, 2]
    np.testing.assert_allclose(distances.prediction_areas, math.hypot(0.5, 0.25))
    assert (distances.hausdorff_mm(), distances.hausdorff_mm(50), distances.hausdorff_mm(51)) == (2, 1.5, 2)
    assert distances.average_symmetric_mm() == pytest.approx(1.75)
    assert distances.normalised_surface_dice(1.5) == pytest.approx(0.5)


def test_percentiles_and_shares_are_by_area():
    prediction = box((3, 40), (1, 2), (0, 20)) | box((3, 40), (1, 2), (39, 40))
    distances = surface_distances(prediction, box((3, 40), (1, 2), (0, 20)), (1.0, 1.0))
    near, far = 2 * 19 + 4 * math.sqrt(0.5), 4 * math.sqrt(0.5)
    assert distances.hausdorff_mm(100 * near / (near + far)) == 0
    assert distances.hausdorff_mm(100 * near / (near + far) + 0.01) == 19
    assert distances.normalised_surface_dice(0) == pytest.approx(2 * near / (2 * near + far))


@pytest.mark.parametrize("step, plane", [((1, 1, 0), 2**0.5), ((1, 1, 1), 3**0.5), ((1, 0, 0), 1)])
def test_a_slanted_plane_has_its_own_area_and_not_that_of_its_stairs(step, plane):
    size = 24
    mask = np.tensordot(step, np.indices((size,) * 3), 1) < size
    areas = np.zeros((size + 1,) * 3)
    distances = surface_distances(mask, mask, (1.0, 1.0, 1.0))
    framed = np.pad(mask, 1)
    windows = np.lib.stride_tricks.sliding_window_view(framed, (2, 2, 2)).sum((3, 4, 5))
    areas[(windows > 0) & (windows < 8)] = distances.prediction_areas
    if step == (1, 0, 0):
        assert areas[size, 5:10, 5:10].sum() == pytest.approx(25)
    else:  # seen along the first axis, a column of the plane has its area divided by the slant
        assert areas[1:-1, 5:10, 5:10].sum() == pytest.approx(25 * plane)


def test_pieces_that_touch_in_a_corner_have_areas_of_their_own():
    apart = surface_distances(np.eye(2, dtype=bool), np.eye(2, dtype=bool), (1.0, 1.0))
    assert apart.prediction_areas.sum() == pytest.approx(8 * math.sqrt(0.5))
    hollow = np.pad(~np.eye(2, dtype=bool), 1, constant_values=True)
    complement = surface_distances(hollow, hollow, (1.0, 1.0))
    assert complement.prediction_areas.sum() == pytest.approx(4 * 3 + 4 * math.sqrt(0.5) + 8 * math.sqrt(0.5))


def test_the_surface_of_a_ball_is_close_to_that_of_a_sphere():
    radius = 15.5
    mask = ((np.indices((32, 32, 16)).T * (1, 1, 2) - (15.5, 15.5, 15)) ** 2).sum(-1).T < radius**2
    areas = surface_distances(mask, mask, (1.0, 1.0, 2.0)).prediction_areas
    assert areas.sum() == pytest.approx(4 * math.pi * radius**2, rel=0.1)


def test_distances_of_empty_masks():
    empty, mask = np.zeros((4, 4, 4), bool), box((4, 4, 4), (1, 3), (1, 3), (1, 3))
    for distances in (surface_distances(mask, empty, (1, 1, 1)), surface_distances(empty, mask, (1, 1, 1))):
        assert distances.hausdorff_mm() == distances.hausdorff_mm(95) == distances.average_symmetric_mm() == math.inf
        assert distances.normalised_surface_dice(2) == 0
    both = surface_distances(empty, empty, (1, 1, 1))
    assert math.isnan(both.hausdorff_mm()) and math.isnan(both.hausdorff_mm(95))
    assert math.isnan(both.average_symmetric_mm()) and math.isnan(both.normalised_surface_dice(2))


def test_rounding_does_not_put_a_distance_beyond_an_equal_tolerance():
    one, two = box((1, 9), (0, 1), (0, 1)), box((1, 9), (0, 1), (0, 4))
    distances = surface_distances(one, two, (0.1, 0.1))
    assert distances.hausdorff_mm() > 0.3  # 3 * 0.1 in floating point
    assert distances.normalised_surface_dice(0.3) == 1


@settings(deadline=None, max_examples=60)
@given(seeds, shapes)
def test_distances_are_those_of_all_pairs_of_corners(seed, shape):
    prediction, reference, spacing = random_case(seed, shape)
    distances = surface_distances(prediction, reference, spacing)
    pairs = cdist(corners(prediction, spacing), corners(reference, spacing))
    np.testing.assert_allclose(distances.prediction_to_reference_mm, pairs.min(1, initial=np.inf), atol=1e-12)
    np.testing.assert_allclose(distances.reference_to_prediction_mm, pairs.min(0, initial=np.inf), atol=1e-12)
    assert (distances.prediction_areas > 0).all() and (distances.reference_areas > 0).all()


@settings(deadline=None, max_examples=60)
@given(seeds, shapes)
def test_areas_do_not_change_with_flips_and_order_of_axes(seed, shape):
    mask, _, spacing = random_case(seed, shape)
    areas = np.sort(surface_distances(mask, mask, spacing).prediction_areas)
    for changed, its_spacing in ((np.flip(mask, 0), spacing), (mask.T, spacing[::-1])):
        others = np.sort(surface_distances(changed, changed, its_spacing).prediction_areas)
        np.testing.assert_allclose(others, areas)


@settings(deadline=None, max_examples=60)
@given(seeds, shapes)
def test_metrics_are_symmetric_scale_with_spacing_and_are_in_order(seed, shape):
    prediction, reference, spacing = random_case(seed, shape)
    one, other = (surface_distances(*masks, spacing) for masks in ((prediction, reference), (reference, prediction)))
    twice = surface_distances(prediction, reference, 2 * spacing)
    for read in (lambda d: d.hausdorff_mm(), lambda d: d.hausdorff_mm(95), lambda d: d.average_symmetric_mm()):
        np.testing.assert_allclose(read(other), read(one))
        np.testing.assert_allclose(read(twice), 2 * read(one))
    np.testing.assert_allclose(twice.normalised_surface_dice(2), one.normalised_surface_dice(1))
    if prediction.any() and reference.any():
        assert one.hausdorff_mm(50) <= one.hausdorff_mm(95) <= one.hausdorff_mm()
        assert one.average_symmetric_mm() <= one.hausdorff_mm() + 1e-12
        assert one.normalised_surface_dice(one.hausdorff_mm()) == pytest.approx(1)


def test_hausdorff_distance_bounds_that_of_simpleitk_between_voxel_centres():
    import SimpleITK as sitk  # noqa: N813

    prediction, reference = box((9, 9, 9), (1, 5), (2, 6), (2, 5)), box((9, 9, 9), (4, 8), (2, 6), (1, 5))
    images = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in (prediction, reference)]
    for image in images:
        image.SetSpacing((0.5, 1.0, 2.0))  # x, y, z
    independent = sitk.HausdorffDistanceImageFilter()
    independent.Execute(*images)
    # Boxes shifted by three slices of 2 mm: corners and centres of voxels are equally far.
    assert surface_distances(prediction, reference, (2.0, 1.0, 0.5)).hausdorff_mm() == pytest.approx(
        independent.GetHausdorffDistance()
    )


@pytest.mark.parametrize("spacing", [(1, 1), (1, 1, 0), (1, 1, math.nan), (1, 1, -1), (1, 1, 1, 1)])
def test_a_spacing_that_does_not_fit_is_refused(spacing):
    with pytest.raises(ValueError, match="3 positive lengths in mm"):
        surface_distances(np.ones((2, 2, 2), bool), np.ones((2, 2, 2), bool), spacing)


def test_tolerances_and_percentiles_out_of_range_are_refused():
    distances = surface_distances(np.ones((2, 2), bool), np.ones((2, 2), bool), (1, 1))
    for tolerance in (-1, math.nan, math.inf):
        with pytest.raises(ValueError, match="tolerance must be"):
            distances.normalised_surface_dice(tolerance)
    for percentile in (0, 101):
        with pytest.raises(ValueError, match="percentile must be"):
            distances.hausdorff_mm(percentile)
