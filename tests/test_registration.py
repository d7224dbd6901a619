"""Registration of a bone in two modalities: what is found, written and refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  its customary name
import torch
from other_device import DEVICE, OtherDevice
from scipy.spatial.transform import Rotation

from nnunet_topo.registration import register
from nnunet_topo.registration.volumes import Grid, Volume
from nnunet_topo.synthetic import mandible, mandible_pair
from nnunet_topo.synthetic.deformation import deformed_label, deformed_points, smooth_deformation


def array(image):
    return sitk.GetArrayFromImage(image)


def like(values, image):
    made = sitk.GetImageFromArray(values)
    made.CopyInformation(image)
    return made


def moved(transform, points):
    return np.array([transform.TransformPoint(point) for point in np.asarray(points, float).tolist()])


def some_points(image, count=50):
    rng = np.random.default_rng(0)
    grid = Grid.of(image)
    return grid.points(rng.uniform(0, 1, (count, 3)) * (np.array(grid.size) - 1))


@pytest.fixture(scope="module")
def pair():
    return mandible_pair(11, coarseness=1.6, images=True)


@pytest.fixture(scope="module")
def result(pair):  # one image is moved along, and not looked at
    return register(pair.fixed, pair.moving, moving_image=pair.moving_image, fixed_landmarks=pair.fixed_landmarks,
                    moving_landmarks=pair.moving_landmarks)


def test_a_cut_and_thinned_mandible_is_found_from_far_away(pair, result):
    assert pair.shift_mm > 30 and pair.cut_mm > 20
    quality = result.quality
    assert result.sure and quality.target_registration_error_mm < 1.2
    assert abs(quality.rotation_degrees - pair.rotation_degrees) < 1.5
    assert 0.3 < quality.thickness_offset_mm < 2 and quality.inlier_share > 0.8 and quality.runner_up_gap > 0.5
    assert quality.smallest_jacobian == pytest.approx(1, abs=1e-5)
    assert result.history[0][1] > 0 and result.history[-1][0] == "surface 1.2 mm"


def test_even_thinning_is_estimated_and_hardly_costs_accuracy():
    pair = mandible_pair(21, coarseness=1.6, thinning="even", cut_mm=0)
    result = register(pair.fixed, pair.moving, fixed_landmarks=pair.fixed_landmarks,
                      moving_landmarks=pair.moving_landmarks)
    assert result.quality.target_registration_error_mm < 0.4
    assert 1.0 < result.quality.thickness_offset_mm < 2.2


def test_the_same_seed_gives_the_same_result(pair, result):
    again = register(pair.fixed, pair.moving)
    assert again.transform.GetParameters() == result.transform.GetParameters()
    assert again.quality.runner_up_gap == result.quality.runner_up_gap


def test_exchanging_the_images_gives_the_inverse(pair, result):
    back = register(pair.moving, pair.fixed)
    points = np.array(list(pair.fixed_landmarks.values()))
    assert np.linalg.norm(moved(back.transform, moved(result.transform, points)) - points, axis=1).max() < 0.1
    assert back.quality.thickness_offset_mm == pytest.approx(-result.quality.thickness_offset_mm, abs=0.05)


@pytest.fixture(scope="module")
def with_images(pair):
    return register(pair.fixed, pair.moving, fixed_image=pair.fixed_image, moving_image=pair.moving_image,
                    fixed_landmarks=pair.fixed_landmarks, moving_landmarks=pair.moving_landmarks)


def test_both_images_refine_what_the_segmentations_found(result, with_images):
    assert with_images.sure and with_images.history[-1][0] == "surface+intensity 1.2 mm"
    assert with_images.history[:4] == result.history[:4] and with_images.quality.runner_up_gap > 0.5
    assert with_images.quality.target_registration_error_mm < 0.7


def test_exchanging_segmentations_and_images_gives_the_inverse(pair, with_images):
    back = register(pair.moving, pair.fixed, fixed_image=pair.moving_image, moving_image=pair.fixed_image)
    points = np.array(list(pair.fixed_landmarks.values()))
    assert np.linalg.norm(moved(back.transform, moved(with_images.transform, points)) - points, axis=1).max() < 0.1


@pytest.mark.slow
def test_a_probability_map_gives_what_its_label_map_gives(pair, result):
    soft = sitk.SmoothingRecursiveGaussian(sitk.Cast(pair.moving, sitk.sitkFloat32), 0.5)
    soft = sitk.Clamp(soft, sitk.sitkFloat32, 0, 1)
    other = register(pair.fixed, soft)
    points = np.array(list(pair.fixed_landmarks.values()))
    assert np.linalg.norm(moved(other.transform, points) - moved(result.transform, points), axis=1).max() < 0.6
    assert other.moved_segmentation.GetPixelID() == sitk.sitkFloat32


def test_a_transform_written_and_read_back_moves_points_identically(pair, result, tmp_path):
    files = result.write(tmp_path)
    assert [file.name for file in files] == ["transform.tfm", "moved_segmentation.nii.gz", "moved_image.nii.gz",
                                             "quality.json"]
    read = sitk.ReadTransform(str(files[0]))
    points = some_points(pair.fixed)
    assert np.allclose(moved(read, points), moved(result.transform, points), rtol=0, atol=1e-10)
    assert array(sitk.ReadImage(str(files[1]))).shape == array(pair.fixed).shape
    written = json.loads(files[-1].read_text())
    assert written["sure"] is True and written["warnings"] == [] and len(written["landmark_errors_mm"]) == 16
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(file.name for file in files)


def test_the_moved_image_lies_on_the_fixed_grid(pair, result):
    for image in (result.moved_segmentation, result.moved_image):
        assert image.GetSize() == pair.fixed.GetSize() and image.GetDirection() == pair.fixed.GetDirection()
    assert set(np.unique(array(result.moved_segmentation))) == {0, 1}
    assert array(result.moved_image).min() >= array(pair.moving_image).min()


def test_our_sampling_agrees_with_simpleitk_in_oblique_space(pair, result):
    volume = Volume(array(pair.moving_image), Grid.of(pair.moving_image))
    resampled = sitk.Resample(pair.moving_image, pair.fixed, result.transform, sitk.sitkLinear)
    grid = Grid.of(pair.fixed)
    index = np.argwhere(np.ones(array(pair.fixed).shape, bool))[::997][:, ::-1]
    places = moved(result.transform, grid.points(index.astype(float)))
    inside = volume.box.depth_mm(torch.tensor(places, dtype=torch.float32)).numpy() > 0
    ours = volume.sample(torch.tensor(places, dtype=torch.float32)).numpy()[inside]
    theirs = array(resampled)[tuple(index[inside].T[::-1])]
    assert inside.sum() > 100
    assert np.abs(ours - theirs).max() < 2e-3 * np.abs(theirs).max()


def test_a_known_motion_of_an_oblique_grid_is_recovered():
    pair = mandible_pair(4, coarseness=2, thinning="none", cut_mm=0)
    turned = sitk.Image(pair.fixed)  # the same voxels, elsewhere in space
    rotation = Rotation.from_euler("xyz", (20, -35, 80), degrees=True).as_matrix()
    direction = rotation @ np.array(pair.fixed.GetDirection()).reshape(3, 3)
    turned.SetDirection(direction.ravel().tolist())
    turned.SetOrigin((rotation @ np.array(pair.fixed.GetOrigin()) + (30, -20, 10)).tolist())
    result = register(pair.fixed, turned)
    points = np.array(list(pair.fixed_landmarks.values()))
    assert np.linalg.norm(moved(result.transform, points) - (points @ rotation.T + (30, -20, 10)), axis=1).max() < 0.02


@pytest.mark.slow
def test_a_known_smooth_deformation_is_recovered_to_below_the_voxel_size_without_folding():
    pair = mandible_pair(2, coarseness=1.3, thinning="even", cut_mm=0)
    deformation = smooth_deformation(pair.moving, seed=2, rms_mm=2.0)
    deformed = deformed_label(pair.moving, deformation)
    bone = mandible(2)
    points = bone.points[::97] + pair.fixed_landmarks["menton"] - bone.landmarks["menton"]
    truth = deformed_points(moved(pair.transform, points), deformation)
    errors = {}
    for transform in ("rigid", "similarity", "affine", "deformable"):
        result = register(pair.fixed, deformed, transform=transform)
        errors[transform] = np.linalg.norm(moved(result.transform, points) - truth, axis=1).mean()
        assert result.quality.smallest_jacobian > 0.3
    assert errors["deformable"] < 0.9 < errors["rigid"]
    assert max(deformed.GetSpacing()) > 0.9


def test_a_scale_and_a_shear_are_recovered():
    pair = mandible_pair(4, coarseness=2, thinning="none", cut_mm=0)
    points = np.array(list(pair.fixed_landmarks.values()))
    shear = np.array([[1.06, 0.08, 0], [0, 0.95, 0], [0, 0, 1]])
    for kind, matrix in (("similarity", 1.08 * np.eye(3)), ("affine", shear)):
        known = sitk.AffineTransform(3)
        known.SetMatrix(np.linalg.inv(matrix).ravel().tolist())  # from the new space to the old one
        known.SetCenter(points.mean(axis=0).tolist())
        grid = sitk.Image(pair.fixed)
        grid.SetSpacing([1.15 * step for step in pair.fixed.GetSpacing()])
        soft = sitk.Resample(sitk.Cast(pair.fixed, sitk.sitkFloat32), grid, known, sitk.sitkLinear, 0.0)
        result = register(pair.fixed, sitk.Cast(soft > 0.5, sitk.sitkUInt8), transform=kind)
        truth = moved(known.GetInverse(), points)
        assert np.linalg.norm(moved(result.transform, points) - truth, axis=1).mean() < 0.4


@pytest.mark.slow
def test_intensities_are_registered_by_mutual_information():
    pair = mandible_pair(6, coarseness=1.6, cut_mm=0, images=True)
    result = register(pair.fixed, pair.moving, by="intensity", fixed_image=pair.fixed_image,
                      moving_image=pair.moving_image, fixed_landmarks=pair.fixed_landmarks,
                      moving_landmarks=pair.moving_landmarks)
    assert result.quality.target_registration_error_mm < 0.8 and result.quality.runner_up_gap > 0.15


@pytest.mark.slow
def test_on_a_device_that_is_not_the_cpu_it_finds_the_same(pair):
    with_both = {"fixed_image": pair.fixed_image, "moving_image": pair.moving_image}
    with OtherDevice():
        there = register(pair.fixed, pair.moving, device=DEVICE, **with_both)
    here = register(pair.fixed, pair.moving, **with_both)
    points = some_points(pair.fixed)
    np.testing.assert_allclose(moved(there.transform, points), moved(here.transform, points), atol=1e-3)
    assert there.sure and here.sure
