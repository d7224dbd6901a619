"""Labels stay labels in whatever type and number they come; images are interpolated; the bone is what was named."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  its customary name
from matplotlib.image import imread

from nnunet_topo.registration import on_fixed_grid, register
from nnunet_topo.registration.cases import Case, register_case
from nnunet_topo.registration.checks import foreground_probabilities
from nnunet_topo.registration.labels import named_labels
from nnunet_topo.report.registration_figure import registration_figure
from nnunet_topo.synthetic import mandible_pair

TYPES = [(np.uint8, 1), *((dtype, 250) for dtype in (np.int16, np.uint16, np.int32, np.int64, np.float32, np.float64))]


def like(values, image):
    made = sitk.GetImageFromArray(values)
    made.CopyInformation(image)
    return made


@pytest.fixture(scope="module")
def pair():
    return mandible_pair(11, coarseness=3, cut_mm=0)


@pytest.fixture(scope="module")
def result(pair):
    return register(pair.fixed, pair.moving)


def of_117_labels(image, dtype, step=1):
    """As TotalSegmentator has them, each label a slab of voxels, and background between."""
    z, y, x = np.indices(sitk.GetArrayViewFromImage(image).shape)
    values = (x + 2 * y + 3 * z) % 118 * step
    values[:, ::4] = 0
    return like(values.astype(dtype), image)


@pytest.mark.parametrize("dtype, step", TYPES)
def test_moved_labels_equal_simpleitks_nearest_neighbour_with_the_written_transform(
    dtype, step, pair, result, tmp_path
):
    labels = of_117_labels(pair.moving, dtype, step)
    transform = sitk.ReadTransform(str(result.write(tmp_path)[0]))
    ours = on_fixed_grid(labels, pair.fixed, result.transform, segmentation=True)
    theirs = sitk.Resample(labels, pair.fixed, transform, sitk.sitkNearestNeighbor, 0)
    assert ours.GetPixelID() == labels.GetPixelID()
    assert np.array_equal(sitk.GetArrayFromImage(ours), sitk.GetArrayFromImage(theirs))
    assert set(np.unique(sitk.GetArrayFromImage(ours))) <= set(np.unique(sitk.GetArrayFromImage(labels)))


def test_a_registration_of_labels_in_floating_point_returns_the_labels_it_was_given(pair, result):
    fixed, moving = (like(sitk.GetArrayFromImage(image) * 2.0, image) for image in (pair.fixed, pair.moving))
    found = register(fixed, moving)
    assert set(np.unique(sitk.GetArrayFromImage(found.moved_segmentation))) == {0, 2}
    assert found.transform.GetParameters() == result.transform.GetParameters()


def test_probabilities_are_linear_between_voxels(pair, result):
    soft = like(np.random.default_rng(0).uniform(0, 1, pair.moving.GetSize()[::-1]), pair.moving)
    ours = on_fixed_grid(soft, pair.fixed, result.transform, segmentation=True)
    theirs = sitk.Resample(soft, pair.fixed, result.transform, sitk.sitkLinear, 0.0)
    assert np.array_equal(sitk.GetArrayFromImage(ours), sitk.GetArrayFromImage(theirs))


@pytest.mark.parametrize("low, high", [(-1024, 3071), (0, 40), (0, 2)])
def test_images_are_interpolated_though_they_hold_whole_numbers(low, high, pair, result):
    values = np.random.default_rng(0).integers(low, high, pair.moving.GetSize()[::-1], endpoint=True)
    ct = like(values.astype(np.int16), pair.moving)
    ours = on_fixed_grid(ct, pair.fixed, result.transform, segmentation=False)
    theirs = sitk.Resample(ct, pair.fixed, result.transform, sitk.sitkLinear, low)
    assert np.array_equal(sitk.GetArrayFromImage(ours), sitk.GetArrayFromImage(theirs))


def two_labels(pair, named, other):
    """The mandible as one label, and a block beside it as another one."""
    made = []
    for image, number in zip((pair.fixed, pair.moving), named, strict=True):
        values = sitk.GetArrayFromImage(image).astype(np.float64) * number
        values[:3, :, :][values[:3, :, :] == 0] = other
        made.append(like(values, image))
    return made


def test_the_bone_may_have_another_label_in_each_or_several(pair):
    fixed, moving = two_labels(pair, (2, 1005), 7)
    truth = [sitk.GetArrayFromImage(image) for image in (pair.fixed, pair.moving)]
    for found, true in zip(foreground_probabilities(fixed, moving, 2, 1005), truth, strict=True):
        assert np.array_equal(found, true)
    together = foreground_probabilities(fixed, moving, [2, 7], [1005, 7])
    assert [int(one.sum()) for one in together] == [int((sitk.GetArrayFromImage(image) > 0).sum()) for image in
                                                    (fixed, moving)]
    with pytest.raises(ValueError, match=r"labels \[2, 7\], the moving one \[7, 1005\]. Say by label"):
        foreground_probabilities(fixed, moving)
    with pytest.raises(ValueError, match=r"moving segmentation has no label 2, only \[7, 1005\]"):
        foreground_probabilities(fixed, moving, 2)


@pytest.mark.parametrize("label", [-1, 0, [], [1, 0], True, 1.5])
def test_a_label_that_no_bone_can_have_is_refused(label, pair):
    with pytest.raises(ValueError, match="whole number of at least 1"):
        foreground_probabilities(pair.fixed, pair.moving, label)


@pytest.mark.parametrize("values, words", [
    ((0, 0.5, 3.0), "neither labels"), ((-1, 0, 5), "neither labels"), ((0, np.nan, 1), "neither labels"),
    ((0, np.inf, 1), "neither labels")])
def test_what_is_neither_labels_nor_probabilities_is_refused(values, words, pair):
    odd = like(np.resize(np.array(values), pair.moving.GetSize()[::-1]), pair.moving)
    with pytest.raises(ValueError, match=words):
        foreground_probabilities(pair.fixed, odd)


def files(pair, folder):
    """Two predictions of nnU-Net, each with its own numbers for the mandible."""
    fixed, moving = two_labels(pair, (2, 5), 7)
    for name, image, labels in (("ct", fixed, {"background": 0, "mandible": 2, "block": 7}),
                                ("mr", moving, {"background": 0, "mandible": [5, 6], "block": 7})):
        (folder / name / "fold_0" / "validation").mkdir(parents=True)
        sitk.WriteImage(image, str(folder / name / "fold_0" / "validation" / "a.nii.gz"))
        (folder / name / "dataset.json").write_text(json.dumps({"labels": labels}))
    return Case("a", *(folder / name / "fold_0" / "validation" / "a.nii.gz" for name in ("ct", "mr")))


def test_a_name_means_in_each_file_what_its_own_dataset_json_says(pair, result, tmp_path):
    case = files(pair, tmp_path)
    found, given = register_case(case, "mandible")
    assert np.allclose(found.transform.GetParameters(), result.transform.GetParameters(), atol=1e-3)
    assert (given["label"], given["moving_label"]) == ((2,), (5, 6))
    assert [named_labels(name, case.fixed) for name in ("2", "6, 5", "block")] == [(2,), (5, 6), (7,)]
    for name, words in (("jaw", r"no label 'jaw' for a bone, only 'mandible' \(2\)"), ("background", "no label"),
                        ("-1", "at least 1")):
        with pytest.raises(ValueError, match=words):
            register_case(case, name)
    (tmp_path / "mr" / "dataset.json").write_text("[]")
    with pytest.raises(ValueError, match=r"is not a dataset\.json of nnU-Net"):
        register_case(case, "mandible")
    (tmp_path / "mr" / "dataset.json").unlink()
    with pytest.raises(ValueError, match=r"is a name, but there is no dataset\.json"):
        register_case(case, "mandible")


def test_a_picture_shows_the_named_bone_alone(pair, result, tmp_path):
    fixed, moving = two_labels(pair, (2, 5), 7)
    moved = on_fixed_grid(moving, pair.fixed, result.transform, segmentation=True)
    for name, one, two, after, labels in (
        ("alone", pair.fixed, pair.moving, result.moved_segmentation, {}),
        ("named", fixed, moving, moved, {"label": 2, "moving_label": 5}), ("all", fixed, moving, moved, {}),
    ):
        registered = type(result)(result.transform, after, None, result.quality, [])
        registration_figure(one, two, registered, tmp_path / f"{name}.png", **labels)
    alone, named, everything = (imread(tmp_path / f"{name}.png") for name in ("alone", "named", "all"))
    assert np.array_equal(named, alone) and not np.array_equal(everything, alone)
