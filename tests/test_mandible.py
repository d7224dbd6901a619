"""The synthetic mandible in CT and MR."""

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  its customary name

from nnunet_topo.synthetic import mandible, mandible_pair


def voxels(image):
    return sitk.GetArrayFromImage(image)


def volume_ml(image):
    return voxels(image).sum() * np.prod(image.GetSpacing()) / 1000


@pytest.fixture(scope="module")
def pair():
    return mandible_pair(3, coarseness=2, images=True)


def test_the_same_seed_gives_the_same_pair(pair):
    again = mandible_pair(3, coarseness=2, images=True)
    for one, two in zip((pair.fixed, pair.moving, pair.fixed_image, pair.moving_image),
                        (again.fixed, again.moving, again.fixed_image, again.moving_image), strict=True):
        assert one == two and one.GetDirection() == two.GetDirection()
    assert pair.transform.GetParameters() == again.transform.GetParameters()


def test_the_true_transform_maps_the_ct_onto_the_mr_where_nothing_is_thinned():
    pair = mandible_pair(5, coarseness=2, thinning="none", cut_mm=0)
    moved = sitk.Resample(pair.moving, pair.fixed, pair.transform, sitk.sitkNearestNeighbor)
    one, two = voxels(pair.fixed) > 0, voxels(moved) > 0
    crowns = mandible(5).teeth  # some MR segmentations have no teeth
    assert len(crowns) and 2 * (one & two).sum() / (one.sum() + two.sum()) > 0.9


def test_landmarks_follow_the_true_transform_and_lie_in_the_bone(pair):
    assert len(pair.fixed_landmarks) == 16
    inside = 0
    for name, point in pair.fixed_landmarks.items():
        assert np.allclose(pair.transform.TransformPoint(point.tolist()), pair.moving_landmarks[name])
        index = pair.fixed.TransformPhysicalPointToIndex(point.tolist())
        inside += pair.fixed[index] == 1
    assert inside >= 14


def test_the_mr_segmentation_is_thinner_and_the_motion_within_its_limits(pair):
    assert 45 < volume_ml(pair.fixed) < 95
    even = mandible_pair(3, coarseness=2, thinning="even", cut_mm=0)
    assert volume_ml(even.moving) < 0.75 * volume_ml(even.fixed)
    assert pair.rotation_degrees <= 30 and pair.shift_mm <= 40 and pair.cut_mm <= 40


def test_images_change_nothing_of_the_shapes(pair):
    alone = mandible_pair(3, coarseness=2)
    assert alone.fixed_image is None and np.array_equal(voxels(alone.fixed), voxels(pair.fixed))
    assert np.array_equal(voxels(alone.moving), voxels(pair.moving))


def test_soft_tissue_does_not_move_along_with_the_bone():
    pair = mandible_pair(3, coarseness=2, thinning="none", cut_mm=0, images=True)
    bone = voxels(sitk.BinaryDilate(pair.fixed, [3] * 3)) > 0
    fat = (voxels(pair.fixed_image) < -20) & (voxels(pair.fixed_image) > -200) & ~bone
    moved = sitk.Resample(pair.moving_image, pair.fixed, pair.transform, sitk.sitkLinear, -1)
    bright = voxels(sitk.DiscreteGaussian(moved, 1.0)) > 200
    seen = (voxels(moved) >= 0) & ~bone
    agree = (fat == bright)[seen].mean()
    assert 0.6 < agree < 0.95  # fat is bright in MR, at about the same places


def test_cortex_is_bright_in_ct_and_dark_in_mr(pair):
    for image, label, brighter in ((pair.fixed_image, pair.fixed, True), (pair.moving_image, pair.moving, False)):
        mask = voxels(label) > 0
        near = sitk.GetArrayFromImage(sitk.BinaryDilate(label, [1] * 3)).astype(bool) & ~mask
        edge = voxels(image)[mask if brighter else near].mean()
        assert (edge > voxels(image)[~mask].mean()) == brighter


@pytest.mark.parametrize("options, words", [
    ({"thinning": "odd"}, "thinning must be one of"), ({"cut_mm": 90}, "cut_mm must be between"),
    ({"coarseness": 9}, "coarseness must be"), ({"rotation_degrees": -1}, "rotation_degrees must be"),
])
def test_arguments_out_of_range_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        mandible_pair(0, **options)
    with pytest.raises(ValueError, match="seed must be"):
        mandible_pair(-1)
