"""nnU-Net's ``.npz``, as its readers and label manager really write it: which channel, and in which order of axes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  its customary name
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from scipy.spatial.transform import Rotation

from nnunet_topo.registration.cases import Case, read_segmentation, register_case
from nnunet_topo.synthetic import mandible_pair

CLASSES = {"background": 0, "maxilla": 1, "mandible": 2}
REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "tip": 3}
TILT = (12, -9, 20)
STORED = {"LPS": (0, 0, 0), "RAS": TILT, "LAS": (0, 0, 0), "LPI": TILT, "PIR": (0, 0, 0), "SAR": TILT}
READERS = (SimpleITKIO, NibabelIO, NibabelIOWithReorient)


def soft_image(stored="LPS", tilt=(0, 0, 0), channels=1):
    """Lumps without any symmetry, values of 0 to 1, as the image of one case for each channel."""
    rng = np.random.default_rng(3)
    images = []
    for channel in range(channels):
        z, y, x = np.indices((9, 11, 13))
        values = np.zeros((9, 11, 13), np.float32)
        for centre, radius in (((4, 5, 4), 4.0 - channel), ((6, 8, 9), 2.5), ((2, 3, 10), 2.0)):
            squared = (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2
            values = np.maximum(values, np.clip(1.2 - squared / (2 * radius**2) - 0.2 * channel, 0, 0.95))
        image = sitk.GetImageFromArray((values * rng.uniform(0.9, 1, values.shape)).astype(np.float32))
        image.SetSpacing((0.7, 0.8, 1.1))
        image.SetOrigin((10.0, -20.0, 30.0))
        image.SetDirection(Rotation.from_euler("xyz", tilt, degrees=True).as_matrix().ravel().tolist())
        images.append(sitk.DICOMOrient(image, stored))
    return images


def predict(folder, reader, images, labels, order=None, ending=".nii.gz", name="a"):
    """As nnU-Net's export does: what its network said of the images as read, and the label map by its own writer."""
    files = [str(folder / f"{name}_{number:04d}.nii.gz") for number in range(len(images))]
    for image, file in zip(images, files, strict=True):
        sitk.WriteImage(image, file)
    read, properties = reader().read_images(files)
    manager = LabelManager(labels, order)
    probabilities = read if manager.has_regions else np.concatenate([1 - read.sum(0, keepdims=True), read])
    np.savez_compressed(folder / f"{name}.npz", probabilities=probabilities)
    segmentation = manager.convert_probabilities_to_segmentation(probabilities)
    reader().write_seg(segmentation, str(folder / f"{name}{ending}"), properties)
    (folder / "dataset.json").write_text(json.dumps({"labels": labels, "regions_class_order": order}))
    return folder / f"{name}.npz"


def values(image):
    return sitk.GetArrayFromImage(image)


def test_some_of_these_storages_are_left_handed():
    handed = [np.linalg.det(np.reshape(soft_image(*one)[0].GetDirection(), (3, 3))) for one in STORED.items()]
    assert np.allclose(handed, [1, 1, -1, -1, 1, -1])


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("reader", READERS)
def test_probabilities_lie_where_the_image_does_whatever_reader_wrote_them(reader, stored, tmp_path):
    (image,) = soft_image(stored, STORED[stored])
    found = read_segmentation(predict(tmp_path, reader, [image], {"background": 0, "bone": 1}))
    assert np.array_equal(values(found), values(image))
    for setting in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert np.allclose(getattr(found, setting)(), getattr(image, setting)(), atol=1e-5)


@pytest.mark.parametrize("stored", ["LPS", "PIR"])
def test_classes_are_chosen_by_label_alone_or_together(stored, tmp_path):
    one, two = soft_image(stored, channels=2)
    halves = [one * 0.5, two * 0.45]
    file = predict(tmp_path, NibabelIOWithReorient, halves, CLASSES)
    for label, expected in (((1,), values(halves[0])), ((2,), values(halves[1])),
                            ((1, 2), values(halves[0]) + values(halves[1]))):
        assert np.allclose(values(read_segmentation(file, label)), expected, atol=1e-6)
    with pytest.raises(ValueError, match=r"labels 1 to 2 \('maxilla' \(1\), 'mandible' \(2\)\). Say by label"):
        read_segmentation(file)
    with pytest.raises(ValueError, match="has no label 7"):
        read_segmentation(file, (7,))


@pytest.mark.parametrize("stored", ["LPS", "SAR"])
@pytest.mark.parametrize("reader", [SimpleITKIO, NibabelIOWithReorient])
def test_regions_are_chosen_by_all_their_labels_since_they_have_no_background_channel(reader, stored, tmp_path):
    images = soft_image(stored, (5, 10, -15), channels=3)
    file = predict(tmp_path, reader, images, REGIONS, [1, 2, 3])
    for label, image in zip(((1, 2, 3), (2, 3), (3,)), images, strict=True):
        assert np.array_equal(values(read_segmentation(file, label)), values(image))
    for label, words in ((None, "Say by name"), ((1,), "The labels 1 are not among them")):
        with pytest.raises(ValueError, match=words):
            read_segmentation(file, label)
    (tmp_path / "dataset.json").unlink()
    with pytest.raises(ValueError, match=r"only the dataset\.json of the training tells"):
        read_segmentation(file, (3,))


def test_a_single_region_needs_no_name(tmp_path):
    (image,) = soft_image("LAS")
    file = predict(tmp_path, NibabelIOWithReorient, [image], {"background": 0, "whole": [1, 2]}, [1])
    assert np.array_equal(values(read_segmentation(file)), values(image))
    (tmp_path / "dataset.json").unlink()
    assert np.array_equal(values(read_segmentation(file)), values(image))


def test_half_precision_and_other_endings_are_read(tmp_path):
    (image,) = soft_image("RAS")
    file = predict(tmp_path, SimpleITKIO, [image], {"background": 0, "bone": 1}, ending=".nrrd")
    with np.load(file) as content:
        half = content["probabilities"].astype(np.float16)
    np.savez(file, probabilities=half)
    assert np.allclose(values(read_segmentation(file)), values(image), atol=1e-3)
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "a.nrrd")), str(tmp_path / "a.nii.gz"))
    with pytest.raises(ValueError, match="there are 2"):
        read_segmentation(file)


def test_a_label_map_that_contradicts_the_probabilities_is_refused(tmp_path):
    (image,) = soft_image()
    file = predict(tmp_path, SimpleITKIO, [image], {"background": 0, "bone": 1})
    label_map = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    label_map[:, :, :4] = 0  # as post-processing may leave it
    sitk.WriteImage(label_map, str(tmp_path / "a.nii.gz"))
    with pytest.raises(ValueError, match=r"contradict each other in .* voxels, in whatever order"):
        read_segmentation(file)
    sitk.WriteImage(label_map[:-1], str(tmp_path / "a.nii.gz"))
    with pytest.raises(ValueError, match=r"has the size \(9, 11, 13\), its label map \(9, 11, 12\)"):
        read_segmentation(file)
    (tmp_path / "a.nii.gz").unlink()
    with pytest.raises(ValueError, match="needs, beside itself"):
        read_segmentation(file)


def damaged(kind, whole, file):
    """Ways in which a copy is interrupted or something else has the name."""
    if kind == "cut":
        file.write_bytes(whole[: len(whole) // 2])
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "flipped":  # within the compressed values
        file.write_bytes(whole[:200] + bytes(255 - byte for byte in whole[200:260]) + whole[260:])
    elif kind == "flipped, not compressed":
        with np.load(file) as content:
            np.savez(file, **content)
        whole = file.read_bytes()
        file.write_bytes(whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:])
    elif kind == "text":
        file.write_text("not an archive")
    elif kind == "array":
        with file.open("wb") as stream:
            np.save(stream, np.zeros((2, 9, 11, 13), np.float32))
    elif kind == "pickle":
        file.write_bytes(b"\x80\x04\x95")
    else:
        np.savez(file, **{"objects": {"probabilities": np.array([{}], object)},
                          "name": {"softmax": np.zeros((2, 9, 11, 13), np.float32)},
                          "labels": {"probabilities": np.zeros((2, 9, 11, 13), np.uint8)},
                          "logits": {"probabilities": np.full((2, 9, 11, 13), 3.0)},
                          "nan": {"probabilities": np.full((2, 9, 11, 13), np.nan)}}[kind])


@pytest.mark.parametrize("kind", ["cut", "empty", "flipped", "flipped, not compressed", "text", "array", "pickle",
                                  "objects", "name", "labels", "logits", "nan"])
def test_a_damaged_file_of_probabilities_is_named_in_a_sentence(kind, tmp_path):
    file = predict(tmp_path, SimpleITKIO, soft_image(), {"background": 0, "bone": 1})
    damaged(kind, file.read_bytes(), file)
    with pytest.raises(ValueError, match=r"a\.npz (cannot be read as nnU-Net's probabilities|holds )"):
        read_segmentation(file)


def test_a_pose_from_probabilities_of_a_reorienting_reader_is_right(tmp_path):
    pair = mandible_pair(11, coarseness=3, cut_mm=0)
    fixed = sitk.DICOMOrient(pair.fixed, "LAS")
    soft = sitk.Clamp(sitk.SmoothingRecursiveGaussian(sitk.Cast(fixed, sitk.sitkFloat32), 0.5), sitk.sitkFloat32, 0, 1)
    file = predict(tmp_path, NibabelIOWithReorient, [soft], {"background": 0, "mandible": 1})
    sitk.WriteImage(pair.moving, str(tmp_path / "moving.nii.gz"))
    result, _ = register_case(Case("a", file, tmp_path / "moving.nii.gz"), "mandible",
                              fixed_landmarks=pair.fixed_landmarks, moving_landmarks=pair.moving_landmarks)
    assert result.sure and result.quality.target_registration_error_mm < 1.5
