"""What would become a data set that means something else is refused in a sentence, or read as it was meant."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from nnunet_topo.commands.convert import main
from nnunet_topo.conversion.pairs import convert_pairs
from nnunet_topo.nnunet.pipeline import nnunet_folders

pytestmark = pytest.mark.usefixtures("quick_integrity")
SHAPE = (4, 6, 8)


def image_of(array: np.ndarray, spacing=(0.5, 1.0, 2.0), origin=(1.0, -2.0, 3.0)) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing[: array.ndim])
    image.SetOrigin(origin[: array.ndim])
    return image


@pytest.fixture
def raw(tmp_path):
    with nnunet_folders(tmp_path / "nnunet") as root:
        yield root / "nnUNet_raw"


@pytest.fixture
def convert(tmp_path, raw):
    """Writes images and label maps, calls the command, and returns its exit code."""
    rng = np.random.default_rng(0)

    def call(labels: list, *options: str, images: list | None = None, ending: str = ".nrrd") -> int:
        for kind, contents in (("labels", labels), ("images", images or [None] * len(labels))):
            (tmp_path / kind).mkdir(exist_ok=True)
            for case, content in enumerate(contents):
                if content is None:
                    content = rng.normal(size=SHAPE).astype(np.float32)
                content = image_of(content) if isinstance(content, np.ndarray) else content
                sitk.WriteImage(content, str(tmp_path / kind / f"c{case}{ending}"))
        return main(["pairs", str(tmp_path / "images"), str(tmp_path / "labels"), "-d", "610", "-n", "X", *options])

    return call


def mask(value: int = 1, dtype=np.uint8) -> np.ndarray:
    labels = np.zeros(SHAPE, dtype)
    labels[1:3, 2, 3:] = value
    return labels


def written(raw: Path, case: int = 0, ending: str = ".nrrd") -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(raw / "Dataset610_X" / "labelsTr" / f"c{case}{ending}")))


def refused(raw: Path, capsys, sentence: str) -> None:
    assert sentence in capsys.readouterr().err
    assert not raw.exists() or list(raw.iterdir()) == []


def test_layers_of_overlapping_segments_are_refused(convert, raw, capsys):
    layers = sitk.GetImageFromArray(np.stack([mask(), mask()[::-1]], -1), isVector=True)
    assert convert([layers], ending=".seg.nrrd") == 1
    refused(raw, capsys, "c0.seg.nrrd has 2 values a voxel, but images and label maps of one are taken here. Over")


@pytest.mark.parametrize(("options", "sentence"), [
    (["--foreground", "1"], "holds the label 1 (--foreground); they hold 0, 255. Choose one of these."),
    (["--foreground", "0"], "it is a label from 1 to 16777215, not 0"),
    (["--foreground", "255", "--classes", "artery", "vein"], "becomes one class"),
    (["--classes", "background", "vessel"], "'background' is named as a class, but classes are the labels 1, 2, ..."),
    (["--classes", "Background"], "'Background' is named as a class"),
    (["--classes", "vessel", "vessel"], "'vessel' is named 2 times"),
    (["--classes", "vessel", ""], "empty name"),
    (["--classes", "ignore"], "must be the highest, above at least one class"),
    (["--classes", "ignore", "vessel"], "must be the highest, above at least one class"),
    (["--classes", "vessel", "Ignore"], "Name it last, in small letters"),
    ([], "nnU-Net needs labels without gaps; number them 0, 1, 2, ... first"),
])
def test_names_and_values_that_do_not_mean_what_they_say_are_refused(convert, raw, capsys, options, sentence):
    assert convert([mask(255), mask(255)], *options) == 1
    refused(raw, capsys, sentence)


def test_label_maps_that_are_all_empty_are_refused_and_some_are_not(convert, raw, capsys):
    assert convert([mask(0), mask(0)]) == 1
    refused(raw, capsys, "are empty: they hold no class, so there is nothing to learn")
    assert convert([mask(0), mask(1)]) == 0
    assert written(raw, 0).sum() == 0 and written(raw, 1).sum() == 2 * 5  # counted by hand


def test_a_class_that_never_occurs_is_named(convert, raw, capsys):
    assert convert([mask(1)], "--classes", "artery", "vein") == 0
    assert "holds vein, so a network cannot learn it" in capsys.readouterr().out


def test_the_ignore_label_can_be_named_last(convert, raw, require_integrity):
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    labels = mask(1)
    labels[:, 5] = 2
    assert convert([labels], "--classes", "vessel", "ignore") == 0
    content = json.loads((raw / "Dataset610_X" / "dataset.json").read_text())
    assert LabelManager(content["labels"], regions_class_order=None).ignore_label == 2
    require_integrity(raw / "Dataset610_X")


@pytest.mark.parametrize(("labels", "sentence"), [
    (mask(2**24, np.uint32), "holds the label 16777216. Labels are whole numbers from 0 to 16777215: nnU-Net"),
    (mask(-1, np.int16), "holds the label -1. Labels are whole numbers"),
    (mask() * np.float32(0.5), "holds values that are not labels, e.g. 0.5. Labels are whole numbers"),
    (mask() * np.float64("nan"), "holds values that are not labels, e.g. nan"),
    (mask() + np.float32("inf"), "holds values that are not labels, e.g. inf"),
        (np.stack([mask(), mask()]), "c0.nrrd is an image of size (8, 6, 4, 2)"),
])
def test_values_that_are_not_labels_are_refused(convert, raw, capsys, labels, sentence):
    assert np.float32(2**24 + 1) == np.float32(2**24)  # so that nnU-Net could not tell these apart
    image = sitk.GetImageFromArray(labels, isVector=False)
    assert convert([image], "--foreground", "1", images=[np.zeros(SHAPE, np.float32)]) == 1
    refused(raw, capsys, sentence)


def test_the_highest_label_that_nnunet_reads_is_taken(convert, raw):
    assert convert([mask(2**24 - 1, np.uint32)], "--foreground", str(2**24 - 1)) == 0
    assert np.array_equal(written(raw), mask(1))


def test_labels_stored_as_floating_point_numbers_become_whole_ones(convert, raw):
    assert convert([mask(2).astype(np.float64)], "--classes", "a", "b") == 0
    assert np.array_equal(written(raw), mask(2)) and written(raw).dtype == np.uint8


def test_an_image_with_values_that_are_not_finite_is_refused(convert, raw, capsys):
    image = np.zeros(SHAPE, np.float32)
    image[0, 0, :3] = np.nan, np.inf, 1
    assert convert([mask()], images=[image]) == 1
    refused(raw, capsys, "c0.nrrd holds 2 value(s) that are not finite numbers")


def test_headers_that_differ_by_rounding_are_one_grid_that_of_the_image(convert, raw, require_integrity):
    image = image_of(np.zeros(SHAPE, np.float32), (0.4995, 1.0, 2.0), (0.00049999, 0.0, 0.0))
    label = image_of(mask(), (0.49950003, 1.0, 2.0), (0.00050001, 0.0, 0.0))
    assert convert([label], images=[image], ending=".mha") == 0
    require_integrity(raw / "Dataset610_X")
    files = [raw / "Dataset610_X" / name for name in ("imagesTr/c0_0000.mha", "labelsTr/c0.mha")]
    one, two = (sitk.ReadImage(str(file)) for file in files)
    assert (one.GetSpacing(), one.GetOrigin()) == (two.GetSpacing(), two.GetOrigin())
    assert np.array_equal(sitk.GetArrayFromImage(two), mask())


@pytest.mark.parametrize(("spacing", "origin", "sentence"), [
    ((0.5001, 1.0, 2.0), (1.0, -2.0, 3.0), "they differ in spacing: (0.5, 1.0, 2.0) and (0.5001, 1.0, 2.0)"),
    ((0.5, 1.0, 2.0), (1.006, -2.0, 3.0), "they differ in origin: (1.0, -2.0, 3.0) and (1.006, -2.0, 3.0)"),
])
def test_grids_that_differ_by_more_than_rounding_are_refused(convert, raw, capsys, spacing, origin, sentence):
    """By a five-thousandth of a voxel's edge in spacing, or a hundredth of it in place."""
    assert convert([image_of(mask(), spacing, origin)], ending=".mha") == 1
    refused(raw, capsys, sentence)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("flat", ["label", "image"])
def test_a_label_map_of_two_axes_belongs_to_an_image_of_one_slice_and_the_reverse(
    convert, raw, require_integrity, axis, flat
):
    plane = np.zeros((5, 7), np.uint8)
    plane[1, 2:6] = 1
    slab = np.expand_dims(plane, axis)
    spacing = tuple(np.delete([0.5, 1.0, 2.0], 2 - axis))
    thin, thick = image_of(plane, spacing), image_of(slab)
    pair = (thin, thick * 1.0) if flat == "label" else (thick, thin * 1.0)
    assert convert([pair[0]], images=[sitk.Cast(pair[1], sitk.sitkFloat32)], ending=".nii.gz") == 0
    require_integrity(raw / "Dataset610_X")
    assert np.array_equal(written(raw, ending=".nii.gz"), slab if flat == "label" else plane)


def test_complex_numbers_are_refused(convert, raw, capsys):
    assert convert([mask().astype(np.complex64)], ending=".nii.gz") == 1
    refused(raw, capsys, "of complex of 32-bit floats, but two or three axes of real numbers are taken here")


def test_a_sheared_affine_is_named(tmp_path, convert, raw, capsys):
    affine = np.eye(4)
    affine[0, 1] = 0.2
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
        nibabel.save(nibabel.Nifti1Image(mask(), affine), tmp_path / kind / "c0.nii.gz")
    assert convert([]) == 1
    refused(raw, capsys, "The axes of " + str(tmp_path / "images" / "c0.nii.gz") + " are not at right angles")


def test_hidden_files_are_not_looked_at(tmp_path, convert, raw):
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "._c0.nrrd").write_text("of macOS")
    assert convert([mask()]) == 0
    assert [file.name for file in (raw / "Dataset610_X" / "labelsTr").iterdir()] == ["c0.nrrd"]


@pytest.mark.parametrize("path", ["~/nnUNet_raw", '"/data/raw"'])
def test_no_folder_named_by_a_tilde_or_a_quote_is_made(tmp_path, convert, capsys, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("nnUNet_raw", path)
    before = sorted(tmp_path.iterdir())
    assert convert([mask()]) == 1
    assert "nnUNet_raw is not the folder that was meant" in capsys.readouterr().err
    assert {file.name for file in tmp_path.iterdir()} - {file.name for file in before} <= {"images", "labels"}


def test_nnunet_checks_a_data_set_before_it_takes_its_name(convert, raw, capsys, monkeypatch):
    from nnunetv2.experiment_planning import verify_dataset_integrity as nnunet

    def find(folder, num_processes):
        assert Path(folder).name == "Dataset610_X" and Path(folder).parent != raw
        print("Error: Unexpected labels found")
        raise RuntimeError("Some segmentation images contained unexpected labels.")

    monkeypatch.setattr(nnunet, "verify_dataset_integrity", find)
    assert convert([mask()]) == 1
    refused(raw, capsys, "found something wrong: Some segmentation images contained unexpected labels.\nError: Unexp")


def test_a_check_that_fails_leaves_nothing_behind(convert, raw, tmp_path):
    assert convert([]) == 1  # makes the folders
    sitk.WriteImage(image_of(mask()), str(tmp_path / "images" / "c0.nrrd"))
    sitk.WriteImage(image_of(mask()), str(tmp_path / "labels" / "c0.nrrd"))

    def check(folder):
        raise ValueError(folder.name)

    with pytest.raises(ValueError, match="Dataset610_X"):
        convert_pairs(tmp_path / "images", tmp_path / "labels", 610, "X", check=check)
    assert list(raw.iterdir()) == []
    assert convert_pairs(tmp_path / "images", tmp_path / "labels", 610, "X") == raw / "Dataset610_X"


@pytest.mark.parametrize("which", ["images", "labels"])
@pytest.mark.parametrize("part", ["training", "test"])
def test_a_file_that_was_cut_off_is_refused_though_simpleitk_reads_it(convert, raw, tmp_path, capsys, which, part):
    """As zeros from where it ends."""
    rng = np.random.default_rng(1)
    labels, picture = rng.integers(0, 2, (20, 50, 60)).astype(np.uint8), rng.normal(size=(20, 50, 60))
    options = []
    for kind, array in (("images", picture), ("labels", labels)):
        (tmp_path / "test" / kind).mkdir(parents=True)
        sitk.WriteImage(image_of(array), str(tmp_path / "test" / kind / "t0.nii.gz"))
        options += [f"--test-{kind}", str(tmp_path / "test" / kind)]
    assert convert([], *options) == 1  # nothing but the folders is there
    for kind, array in (("images", picture), ("labels", labels)):
        sitk.WriteImage(image_of(array), str(tmp_path / kind / "c0.nii.gz"))
    file = tmp_path / ("test" if part == "test" else "") / which / ("t0.nii.gz" if part == "test" else "c0.nii.gz")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert not sitk.GetArrayFromImage(sitk.ReadImage(str(file)))[-1].any()
    capsys.readouterr()
    assert convert([], *options) == 1
    refused(raw, capsys, f"{file} is cut off or damaged")
