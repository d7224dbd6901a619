"""What is wrong with a study's images and label maps is found before the first training, and looked for once."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import tifffile
from PIL import Image

from nnunet_topo.files import write_json
from nnunet_topo.nnunet import raw_cases
from nnunet_topo.nnunet.pipeline import nnunet_folders
from nnunet_topo.study import data_checks
from nnunet_topo.study.data_checks import require_sound_cases, require_test_images

NAME = "Dataset720_Data"
SITK, TIFF, PNG = (".nii.gz", "SimpleITKIO"), (".tif", "Tiff3DIO"), (".png", "NaturalImage2DIO")


class Data:
    """A raw data set of two test and two training cases of two channels, as after planning."""

    def __init__(self, root: Path, ending: str, reader: str) -> None:
        self.raw, self.ending = root / "nnUNet_raw" / NAME, ending
        self.plans = {"image_reader_writer": reader, "plans_name": "nnUNetPlans", "label_manager": "LabelManager"}
        (root / "nnUNet_preprocessed" / NAME).mkdir()
        write_json(root / "nnUNet_preprocessed" / NAME / "dataset.json", {
            "channel_names": {"0": "a", "1": "b"}, "labels": {"background": 0, "vessel": 1, "ignore": 2},
            "numTraining": 2, "file_ending": ending})
        rng = np.random.default_rng(0)
        self.shape = (30, 40) if ending == ".png" else (12, 30, 40)
        for part in ("Tr", "Ts"):
            for case in range(2):
                for channel in range(2):
                    self.write(f"images{part}/c{case}_000{channel}", rng.integers(0, 200, self.shape).astype(np.uint8))
                self.write(f"labels{part}/c{case}", rng.integers(0, 3, self.shape).astype(np.uint8))

    def file(self, name: str) -> Path:
        return self.raw / f"{name}{self.ending}"

    def write(self, name: str, array: np.ndarray, spacing: float = 0.5) -> None:
        file = self.file(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        if self.ending == ".tif":
            tifffile.imwrite(file, array)
            if name.startswith("images"):
                write_json(file.with_name(f"{file.stem[:-5]}.json"), {"spacing": [spacing, 1, 1]})
        elif self.ending == ".png":
            Image.fromarray(array).save(file)
        else:
            image = sitk.GetImageFromArray(array)
            image.SetSpacing((1, 1, spacing))
            sitk.WriteImage(image, str(file))

    def labels(self) -> np.ndarray:
        return np.ones(self.shape, np.uint8)

    def check(self) -> None:
        require_test_images(NAME)
        require_sound_cases(NAME, self.plans)


@pytest.fixture
def data(tmp_path):
    with nnunet_folders(tmp_path) as root:
        yield lambda ending, reader: Data(root, ending, reader)


@pytest.mark.parametrize("kind", [SITK, PNG])
def test_sound_cases_pass_and_are_read_once(data, kind, monkeypatch):
    read = []
    check = data_checks.require_sound
    monkeypatch.setattr(data_checks, "require_sound", lambda case: (read.append(case.label.parent.name), check(case)))
    made = data(*kind)
    for hidden in ("imagesTs/._c0_0000", "labelsTs/._c0", "imagesTr/._c0_0000"):
        made.file(hidden).write_text("of macOS")
    made.check()
    assert sorted(read) == ["labelsTr"] * 2 + ["labelsTs"] * 2
    made.check()
    assert len(read) == 4
    made.write("labelsTs/c1", made.labels())
    made.check()
    assert read[4:] == ["labelsTs"]


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize("name", ["imagesTr/c1_0001", "labelsTr/c1", "imagesTs/c1_0001", "labelsTs/c1"])
@pytest.mark.parametrize("kind", [SITK, PNG], ids=["nifti", "png"])
def test_a_file_that_was_cut_off_is_found_wherever_it_lies(data, kind, name):
    made = data(*kind)
    cut(made.file(name))
    if kind is SITK:
        assert sitk.ReadImage(str(made.file(name))).GetSize() == (40, 30, 12)  # read without a word
    with pytest.raises(ValueError, match=rf"1 of 4 case\(s\) of {NAME} cannot.*\n.*{made.file(name)} is cut off"):
        made.check()


@pytest.mark.parametrize("kind", [SITK, PNG, TIFF], ids=["nifti", "png", "tiff"])
@pytest.mark.parametrize("part", ["Tr", "Ts"])
def test_labels_that_dataset_json_does_not_name_are_found(data, kind, part):
    made = data(*kind)
    made.write(f"labels{part}/c1", 255 * made.labels())
    with pytest.raises(ValueError, match=r"c1\.[a-z.]+ holds the label\(s\) 255, but dataset.json allows 0, 1, 2"):
        made.check()


def test_a_label_map_on_another_grid_than_its_image_is_found(data):
    made = data(*SITK)
    made.write("labelsTs/c0", made.labels(), spacing=0.6)
    made.write("labelsTs/c1", made.labels()[:-1])
    with pytest.raises(ValueError) as error:
        made.check()
    assert "2 of 4 case(s)" in str(error.value)
    assert "they differ in spacing: (0.5, 1.0, 1.0) and (0.6, 1.0, 1.0)" in str(error.value)
    assert "they differ in shape: (12, 30, 40) and (11, 30, 40)" in str(error.value)


def test_a_label_map_without_a_spacing_file_has_the_spacing_of_its_image_and_another_one_contradicts(data):
    made = data(*TIFF)
    made.check()
    for spacing in (0.5, 0.6):
        write_json(made.raw / "labelsTs" / "c0.json", {"spacing": [spacing, 1, 1]})
        if spacing == 0.5:
            made.check()
    with pytest.raises(ValueError, match=r"c0.tif lies on another grid .* spacing: \(0.5, 1.0, 1.0\) and \(0.6, 1.0"):
        made.check()


def test_not_a_number_is_found(data):
    made = data(".nrrd", "SimpleITKIO")
    image = np.zeros(made.shape, np.float32)
    image[0, 0, :3] = np.nan
    made.write("imagesTs/c0_0001", image)
    with pytest.raises(ValueError, match=r"c0_0000.nrrd \(and 1 more file\(s\)\) holds 3 value\(s\) that are not"):
        made.check()


def test_channels_that_do_not_fit_each_other_are_found(data):
    made = data(*SITK)
    made.write("imagesTs/c0_0001", np.zeros((12, 30, 39), np.uint8))
    with pytest.raises(ValueError, match="cannot be read by nnU-Net's SimpleITKIO"):
        made.check()


def test_files_that_are_missing_or_too_many_are_found(data):
    made = data(*SITK)
    made.write("imagesTs/c0_0002", made.labels())
    made.file("imagesTs/c1_0001").unlink()
    with pytest.raises(ValueError) as error:
        made.check()
    assert "c0_0000.nii.gz (and 2 more file(s)) has 3 channel(s), but dataset.json names 2. Add" in str(error.value)
    assert "c1_0000.nii.gz has 1 channel(s), but dataset.json names 2. Add" in str(error.value)


def test_a_file_that_is_not_named_as_nnunet_needs_it_is_found(data):
    made = data(*SITK)
    made.write("imagesTs/c2", made.labels())
    with pytest.raises(ValueError, match=r"c2\.nii\.gz is not named as nnU-Net needs it, CASE_XXXX\.nii\.gz"):
        made.check()


def test_a_photograph_has_its_three_channels_in_one_file(data):
    made = data(*PNG)
    content = Path(os.environ["nnUNet_preprocessed"]) / NAME / "dataset.json"
    write_json(content, json.loads(content.read_text()) | {"channel_names": {"0": "R", "1": "G", "2": "B"}})
    for part in ("Tr", "Ts"):
        for case in range(2):
            made.file(f"images{part}/c{case}_0001").unlink()
            made.write(f"images{part}/c{case}_0000", np.zeros((*made.shape, 3), np.uint8))
    made.check()


def test_what_is_wrong_is_looked_at_again_and_what_was_sound_is_not(data, monkeypatch):
    made = data(*SITK)
    cut(made.file("labelsTs/c0"))
    for _ in range(2):
        with pytest.raises(ValueError, match="1 of 4 case"):
            made.check()
    made.write("labelsTs/c0", made.labels())
    checked = json.loads((Path(os.environ["nnUNet_preprocessed"]) / NAME / data_checks.CHECKED).read_text())
    assert len(checked) == 3
    made.check()


@pytest.mark.parametrize("kind", [SITK, PNG, TIFF], ids=["nifti", "png", "tiff"])
def test_cases_can_be_sent_to_other_processes(data, kind, monkeypatch):
    made, sent = data(*kind), []
    monkeypatch.setattr(data_checks, "processes_for", lambda files: 2)
    monkeypatch.setattr(data_checks, "outcomes", lambda function, tasks, processes: sent.append(
        (pickle.loads(pickle.dumps((function, tasks))), processes)) or ())
    made.check()
    ((function, cases), processes), = sent
    assert processes == 2 and len(cases) == 4
    for case in cases:
        function(case)


def test_training_cases_may_be_gone_or_lie_elsewhere(data, tmp_path):
    made = data(*SITK)
    (made.raw / "imagesTr").rename(tmp_path / "elsewhere")
    made.check()
    content = Path(os.environ["nnUNet_preprocessed"]) / NAME / "dataset.json"
    images = [str(tmp_path / "elsewhere" / f"c0_000{channel}.nii.gz") for channel in range(2)]
    write_json(content, json.loads(content.read_text()) | {
        "dataset": {"c0": {"images": images, "label": "labelsTr/c0.nii.gz"}}})
    made.check()
    cut(Path(images[1]))
    with pytest.raises(ValueError, match=f"{images[1]} is cut off"):
        made.check()


@pytest.mark.parametrize(("gigabytes", "processes"), [(0.1, 0), (0.4, 0), (0.6, 2), (1.1, 4), (50, 6)])
def test_processes_are_started_for_many_files_and_not_more_than_there_are_cores(
    gigabytes, processes, tmp_path, monkeypatch
):
    monkeypatch.setattr(raw_cases, "default_num_processes", 8)
    monkeypatch.setattr(raw_cases, "cores", lambda: 6)
    with (tmp_path / "large").open("wb") as file:
        file.truncate(int(gigabytes * 2**30))  # sparse
    assert raw_cases.processes_for([tmp_path / "large"]) == processes
