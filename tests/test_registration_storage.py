"""However the voxels of one image are stored, left-handed and oblique too, the bone is where it is."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  its customary name
import torch
from matplotlib.image import imread
from scipy.spatial.transform import Rotation

from nnunet_topo.commands import register as command
from nnunet_topo.registration import register
from nnunet_topo.registration.transforms import LinearMotion
from nnunet_topo.registration.velocity import VelocityMotion
from nnunet_topo.registration.volumes import Grid, Volume
from nnunet_topo.report.registration_figure import registration_figure
from nnunet_topo.synthetic import mandible_pair


def stored(image, order):
    return sitk.DICOMOrient(image, order)


def handedness(image):
    return np.sign(np.linalg.det(np.reshape(image.GetDirection(), (3, 3))))


@pytest.fixture(scope="module")
def pair():  # the moving one is oblique
    return mandible_pair(11, coarseness=3, cut_mm=0, images=True)


@pytest.fixture(scope="module")
def result(pair):
    return register(pair.fixed, pair.moving)


def landmarks(pair):
    return {"fixed_landmarks": pair.fixed_landmarks, "moving_landmarks": pair.moving_landmarks}


@pytest.mark.parametrize("orders", [("LAS", "RAS"), ("RPS", "PIR"), ("LPS", "IAL")])
def test_the_true_motion_is_found_in_left_handed_storage_as_in_right_handed(orders, pair, result):
    fixed, moving = stored(pair.fixed, orders[0]), stored(pair.moving, orders[1])
    assert min(handedness(fixed), handedness(moving)) == -1
    found = register(fixed, moving, **landmarks(pair))
    assert found.sure and found.quality.target_registration_error_mm < 1.2
    for point in pair.fixed_landmarks.values():
        one, two = (np.array(made.transform.TransformPoint(point.tolist())) for made in (found, result))
        assert np.linalg.norm(one - two) < 0.25  # other voxels are met first when points are drawn
    assert found.moved_segmentation.GetDirection() == fixed.GetDirection()


def test_the_command_takes_left_handed_files_with_images_and_landmarks(pair, tmp_path, capsys):
    arguments = []
    for side in ("fixed", "moving"):
        for name, image in ((side, getattr(pair, side)), (f"{side}_image", getattr(pair, f"{side}_image"))):
            sitk.WriteImage(stored(image, "LAS"), str(tmp_path / f"{name}.nii.gz"))
            arguments += [f"-{name}", str(tmp_path / f"{name}.nii.gz")]
        rows = [f"{name},{x},{y},{z}" for name, (x, y, z) in getattr(pair, f"{side}_landmarks").items()]
        (tmp_path / f"{side}.csv").write_text("\n".join(["name,x,y,z", *rows]))
        arguments += [f"-landmarks_{side}", str(tmp_path / f"{side}.csv")]
    assert handedness(sitk.ReadImage(str(tmp_path / "moving.nii.gz"))) == -1
    out = tmp_path / "out"
    assert command.main([*arguments, "-o", str(out)]) == 0
    printed = capsys.readouterr().out
    assert float(printed.split("target_registration_error_mm")[1].split()[0]) < 1.2
    channels = [sitk.ReadImage(str(out / f"fixed_000{number}.nii.gz")) for number in (0, 1)]
    image = sitk.ReadImage(str(tmp_path / "moving_image.nii.gz"))
    transform = sitk.ReadTransform(str(out / "transform.tfm"))
    there = sitk.Resample(image, channels[0], transform, sitk.sitkLinear, float(sitk.GetArrayFromImage(image).min()))
    assert np.allclose(*map(sitk.GetArrayFromImage, (there, channels[1])), atol=1e-3)


@pytest.mark.slow
def test_a_deformation_is_found_in_left_handed_storage(pair):
    fixed, moving = stored(pair.fixed, "LAS"), stored(pair.moving, "LAS")
    found = register(fixed, moving, transform="deformable", **landmarks(pair))
    assert found.quality.target_registration_error_mm < 1.5 and found.quality.smallest_jacobian > 0.3


def left_handed_grid():
    direction = Rotation.from_euler("xyz", (20, -35, 80), degrees=True).as_matrix() @ np.diag([1.0, -1.0, 1.0])
    return Grid((12, 14, 9), np.array([0.8, 1.1, 2.0]), np.array([5.0, -20.0, 300.0]), direction)


def test_a_flow_on_a_left_handed_grid_equals_its_simpleitk_transform(tmp_path):
    grid = left_handed_grid()
    centre = grid.points(np.array([[6.0, 7, 4]]))[0]
    linear = LinearMotion("rigid", np.eye(3), centre, centre + 3, dtype=torch.float64)
    motion = VelocityMotion(linear, torch.tensor([1, -2, 3, 4, -5, 6.0], dtype=torch.float64), grid, knots_mm=8,
                            step_mm=2)
    parameters = torch.tensor(np.random.default_rng(1).standard_normal(motion.count) * 3)
    points = grid.points(np.random.default_rng(2).uniform(0, 8, (40, 3)))
    ours = motion.forward(parameters, torch.tensor(points)).numpy()
    sitk.WriteTransform(motion.to_sitk(parameters.numpy()), str(tmp_path / "flow.h5"))
    read = sitk.ReadTransform(str(tmp_path / "flow.h5"))
    assert np.linalg.norm(ours - points, axis=1).max() > 3
    assert np.abs(ours - [read.TransformPoint(point) for point in points.tolist()]).max() < 1e-6


def test_values_on_a_left_handed_oblique_grid_are_sampled_as_by_simpleitk():
    grid = left_handed_grid()
    values = np.random.default_rng(0).normal(size=grid.size[::-1])
    image = sitk.GetImageFromArray(values)
    image.CopyInformation(grid.like())
    points = grid.points(np.random.default_rng(2).uniform(0.1, 7.9, (60, 3)))
    ours = Volume(values, grid, dtype=torch.float64).sample(torch.tensor(points)).numpy()
    theirs = [image.EvaluateAtPhysicalPoint(point, sitk.sitkLinear) for point in points.tolist()]
    assert np.allclose(ours, theirs, atol=1e-9)


def test_a_picture_shows_the_same_however_the_files_are_stored(pair, result, tmp_path):
    pictures = []
    for order in ("LPS", "LAS"):
        moved = type(result)(result.transform, stored(result.moved_segmentation, order), None, result.quality, [])
        registration_figure(stored(pair.fixed, order), stored(pair.moving, order), moved, tmp_path / f"{order}.png",
                            fixed_image=stored(pair.fixed_image, order))
        pictures.append(imread(tmp_path / f"{order}.png"))
    assert np.abs(pictures[0] - pictures[1]).mean() < 1e-3 < np.abs(pictures[0][:, ::-1] - pictures[1]).mean()
