"""TopCoW's release, in miniature, becomes a data set of nnU-Net for one modality, or nothing at all."""

from __future__ import annotations

import json
import math
import shutil
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from nnunet_topo.commands.convert import main
from nnunet_topo.nnunet.pipeline import nnunet_folders

pytestmark = pytest.mark.usefixtures("quick_integrity")

PATIENTS = ("001", "002", "090", "131", "165")
PUBLISHED = (*range(13), 15)
SHAPES = {"ct": (5, 6, 7), "mr": (4, 8, 6)}


def write(file: Path, array: np.ndarray, shift: float = 0.0) -> None:
    """A volume in an oblique position, as TopCoW's are."""
    file.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.296875, 0.297, 0.6))
    image.SetOrigin((-75.1 + shift, 12.25, 1000 / 3))
    cosine, sine = math.cos(0.0153), math.sin(0.0153)
    image.SetDirection((cosine, 0, -sine, 0, 1, 0, sine, 0, cosine))
    sitk.WriteImage(image, str(file))


def labels_of(modality: str, patient: str) -> np.ndarray:
    return np.random.default_rng(int(patient)).choice(PUBLISHED, SHAPES[modality]).astype(np.uint8)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Five patients of both modalities, with the folders and files that are not read."""
    folder = tmp_path / "TopCoW2024_Data_Release"
    for modality in SHAPES:
        for patient in PATIENTS:
            labels = labels_of(modality, patient)
            write(folder / "imagesTr" / f"topcow_{modality}_{patient}_0000.nii.gz", labels.astype(np.int16) * 100 - 7)
            write(folder / "cow_seg_labelsTr" / f"topcow_{modality}_{patient}.nii.gz", labels)
            (folder / "roi_loc_labelsTr").mkdir(exist_ok=True)
            (folder / "roi_loc_labelsTr" / f"topcow_{modality}_{patient}.txt").write_text("--- ROI Meta Data ---\n")
        write(folder / "imagesVal" / f"topcow_{modality}_091_0000.nii.gz", labels)
    (folder / "imagesTr" / "._topcow_ct_001_0000.nii.gz").write_text("of a file manager")
    (folder / "License.txt").write_text("Open use.")
    return folder


@pytest.fixture
def raw(tmp_path):
    with nnunet_folders(tmp_path / "nnunet") as root:
        yield root / "nnUNet_raw"


def read(file: Path) -> sitk.Image:
    return sitk.ReadImage(str(file))


@pytest.mark.parametrize("modality", SHAPES)
def test_writes_one_modality_with_consecutive_labels_on_the_grids_of_the_images(release, raw, capsys, modality):
    assert main(["topcow", str(release), "-d", "603", "--modality", modality]) == 0
    assert "nnUNetv2_plan_and_preprocess -d 603" in capsys.readouterr().out
    folder = raw / f"Dataset603_TopCoW{modality.upper()}"
    assert json.loads((folder / "dataset.json").read_text()) | {"reference": "", "licence": ""} == {
        "channel_names": {"0": modality.upper()}, "numTraining": 5, "file_ending": ".nii.gz",
        "labels": {"background": 0, "BA": 1, "R-PCA": 2, "L-PCA": 3, "R-ICA": 4, "R-MCA": 5, "L-ICA": 6, "L-MCA": 7,
                   "R-Pcom": 8, "L-Pcom": 9, "Acom": 10, "R-ACA": 11, "L-ACA": 12, "3rd-A2": 13},
        "reference": "", "licence": ""}
    assert {file.name for file in folder.iterdir()} == {"dataset.json", "imagesTr", "labelsTr", "LICENSE.TopCoW"}
    assert sorted(file.name for file in (folder / "labelsTr").iterdir()) == [
        f"topcow_{modality}_{patient}.nii.gz" for patient in PATIENTS]
    for patient in PATIENTS:
        image = folder / "imagesTr" / f"topcow_{modality}_{patient}_0000.nii.gz"
        assert image.read_bytes() == (release / "imagesTr" / image.name).read_bytes()
        label, picture = read(folder / "labelsTr" / f"topcow_{modality}_{patient}.nii.gz"), read(image)
        expected = labels_of(modality, patient)
        expected[expected == 15] = 13
        assert np.array_equal(sitk.GetArrayFromImage(label), expected)
        for grid in ("Size", "Spacing", "Origin", "Direction"):
            of_label, of_image = (getattr(part, f"Get{grid}")() for part in (label, picture))
            assert of_label == pytest.approx(of_image, abs=1e-6)


def test_nnunet_finds_nothing_wrong_with_it(release, raw, require_integrity):
    assert main(["topcow", str(release.parent), "-d", "603", "--modality", "mr"]) == 0  # the folder above does too
    require_integrity(raw / "Dataset603_TopCoWMR")


def test_all_vessels_can_have_one_label(release, raw):
    assert main(["topcow", str(release), "-d", "603", "--modality", "ct", "--binary"]) == 0
    folder = raw / "Dataset603_TopCoWCTBinary"
    assert json.loads((folder / "dataset.json").read_text())["labels"] == {"background": 0, "vessel": 1}
    written = sitk.GetArrayFromImage(read(folder / "labelsTr" / "topcow_ct_090.nii.gz"))
    assert np.array_equal(written, labels_of("ct", "090") > 0)


def test_the_folds_that_nnunet_makes_have_the_same_patients_in_both_modalities(release, raw):
    from nnunetv2.utilities.crossval_split import generate_crossval_split
    from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

    folds = []
    for number, modality in enumerate(SHAPES, start=603):
        assert main(["topcow", str(release), "-d", str(number), "--modality", modality]) == 0
        folder = raw / f"Dataset{number}_TopCoW{modality.upper()}"
        cases = sorted(get_filenames_of_train_images_and_targets(str(folder)))
        folds.append([sorted(case.rpartition("_")[2] for case in fold["val"])
                      for fold in generate_crossval_split(cases)])
    assert folds[0] == folds[1] and sorted(chain(*folds[0])) == list(PATIENTS)


def spoil(release: Path, how: str) -> None:
    image, label = (release / "imagesTr" / "topcow_ct_002_0000.nii.gz",
                    release / "cow_seg_labelsTr" / "topcow_ct_002.nii.gz")
    labels = labels_of("ct", "002")
    if how == "grid":
        write(label, labels, shift=0.3)
    elif how == "size":
        write(label, labels[1:])
    elif how == "foreign":
        labels[0, 0, 0] = 13
        write(label, labels)
    elif how == "fraction":
        write(label, labels + np.float32(0.5))
    elif how == "empty":
        write(label, labels * 0)
    elif how == "unreadable":
        label.write_text("not a volume")
    elif how == "image":
        image.unlink()
    elif how == "label":
        label.unlink()
    elif how == "modality":
        for file in release.glob("*/topcow_ct_*"):
            file.unlink()
    elif how == "2023":
        shutil.move(label.parent, release / "mul_labelsTr")
    else:
        shutil.rmtree(release)


@pytest.mark.parametrize(("how", "sentence"), [
    ("grid", "topcow_ct_002.nii.gz lies on another grid than"),
    ("size", "topcow_ct_002.nii.gz lies on another grid than"),
    ("foreign", "topcow_ct_002.nii.gz holds the label(s) 13, but TopCoW's labels are 0 to 12 and 15"),
    ("fraction", "topcow_ct_002.nii.gz holds values that are not labels, e.g. "),
    ("empty", "topcow_ct_002.nii.gz is empty: it holds none of TopCoW's vessels"),
    ("unreadable", "topcow_ct_002.nii.gz cannot be read"),
    ("image", "such as topcow_ct_002, which has no image in imagesTr"),
    ("label", "such as topcow_ct_002, which has no label map in cow_seg_labelsTr"),
    ("modality", "has no files topcow_ct_NNN_0000.nii.gz. Give the folder of the whole release, or another --modality"),
    ("2023", "has no folder cow_seg_labelsTr, so it is not TopCoW's release of 2024, but that of 2023."),
    ("all", "has no folder imagesTr and no folder cow_seg_labelsTr, so it is not TopCoW's release of 2024. Unpack"),
])
def test_what_is_not_as_published_is_refused_and_nothing_is_left_behind(release, raw, capsys, how, sentence):
    spoil(release, how)
    assert main(["topcow", str(release), "-d", "603", "--modality", "ct"]) == 1
    assert sentence in capsys.readouterr().err
    assert list(raw.iterdir()) == []


def test_a_number_in_use_is_refused(release, raw, capsys):
    (raw / "Dataset603_Mine").mkdir()
    assert main(["topcow", str(release), "-d", "603", "--modality", "ct"]) == 1
    assert "Dataset603_Mine exists, so the number 603 is in use" in capsys.readouterr().err
    assert [folder.name for folder in raw.iterdir()] == ["Dataset603_Mine"]


def test_a_modality_must_be_named(release, raw, capsys):
    with pytest.raises(SystemExit):
        main(["topcow", str(release), "-d", "603"])
    assert "required: --modality" in capsys.readouterr().err
