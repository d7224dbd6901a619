"""Where no start leads to the right pose, or the bone slides along itself."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  its customary name
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from nnunet_topo.registration import exploration, register, search
from nnunet_topo.registration.procedure import shapes_of
from nnunet_topo.registration.stages import Pair
from nnunet_topo.registration.transforms import LinearMotion
from nnunet_topo.synthetic import mandible_pair


def volume(values, spacing=1.0):
    image = sitk.GetImageFromArray(values)
    image.SetSpacing([spacing] * 3)
    return image


def bars(slide):
    """Label and image of a bar with an L as its section, which ends at both faces, and the same ``slide`` mm further.

    Its shape says nothing of the slide; its texture does.
    """
    rng = np.random.default_rng(0)
    texture = gaussian_filter(rng.standard_normal((40, 40, 120)), 1.5)
    texture /= texture.std()
    section = np.zeros((40, 40), bool)
    section[8:32, 8:16] = section[24:32, 8:28] = True
    label = np.repeat(section[:, :, None], 80, axis=2)
    made = []
    for first in (0, slide):
        image = np.where(label, 4.0, 0.0) + texture[:, :, first: first + 80]
        made.append((volume(label.astype(np.uint8)), volume(image.astype(np.float32))))
    return made


def slide_of(result):
    """Where the middle of the bar goes along it, in mm."""
    return result.transform.TransformPoint((39.5, 15.0, 20.0))[0] - 39.5


@pytest.fixture(scope="module")
def slid_bars():
    return bars(slide=9)


def test_shapes_that_slide_are_brought_into_place_by_the_images(slid_bars):
    (fixed, fixed_image), (moving, moving_image) = slid_bars
    result = register(fixed, moving, fixed_image=fixed_image, moving_image=moving_image)
    assert slide_of(result) == pytest.approx(-9, abs=0.3)


def test_without_looking_along_the_slide_they_stay_where_they_are(slid_bars, monkeypatch):
    monkeypatch.setattr(search, "slid", lambda *_: None)
    (fixed, fixed_image), (moving, moving_image) = slid_bars
    result = register(fixed, moving, fixed_image=fixed_image, moving_image=moving_image)
    assert abs(slide_of(result) + 9) > 3


def test_shapes_alone_that_slide_are_not_sure(slid_bars):
    (fixed, _), (moving, _) = slid_bars
    result = register(fixed, moving)
    assert not result.sure and "slides" in " ".join(result.quality.warnings)


@pytest.fixture(scope="module")
def half():
    """A mandible, of which the moving image has one half, so that their moments have nothing in common."""
    pair = mandible_pair(12, coarseness=2, cut_mm=0)
    return pair, pair.moving[:, :, pair.moving.GetSize()[2] // 2:]


def test_poses_all_over_the_place_find_what_no_start_leads_to(half):
    pair, moving = half
    result = register(pair.fixed, moving, fixed_landmarks=pair.fixed_landmarks, moving_landmarks=pair.moving_landmarks)
    assert result.sure and result.quality.target_registration_error_mm < 1
    again = register(pair.fixed, moving)
    assert again.transform.GetParameters() == result.transform.GetParameters()


def test_without_them_the_pose_is_far_off_and_not_sure(half, monkeypatch):
    monkeypatch.setattr(search, "elsewhere", lambda *_: [])
    pair, moving = half
    result = register(pair.fixed, moving, fixed_landmarks=pair.fixed_landmarks, moving_landmarks=pair.moving_landmarks)
    assert not result.sure and result.quality.target_registration_error_mm > 20


def test_a_pose_that_is_tried_lays_a_point_of_one_ridge_onto_the_other(half):
    shapes = Pair(*shapes_of(half[0].fixed, half[1]))
    motion = LinearMotion("rigid", np.eye(3), shapes.fixed.centre, shapes.moving.centre)
    poses = exploration._drawn(shapes, motion, 20, np.random.default_rng(0))
    angles = np.degrees(np.linalg.norm(poses[:, 3:6], axis=1) / 40)
    assert poses.shape == (20, 7) and 10 < angles.mean() < 40
    ridge = cKDTree(shapes.moving.ridge.numpy())
    for pose in poses:
        placed = motion.forward(shapes.fixed.tensor(pose[:6]), shapes.fixed.ridge)
        assert ridge.query(placed.numpy())[0].min() < 1e-3
