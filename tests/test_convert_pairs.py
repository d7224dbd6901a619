"""Folders of volumes and label maps become a data set of nnU-Net, or nothing at all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from nnunet_topo.commands.convert import main
from nnunet_topo.nnunet.pipeline import nnunet_folders

pytestmark = pytest.mark.usefixtures("quick_integrity")


def write(file: Path, array: np.ndarray, spacing: float = 0.5) -> None:
    file.parent.mkdir(exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((spacing, 1.0, 2.0))
    sitk.WriteImage(image, str(file))


@pytest.fixture
def folders(tmp_path):
    """Three volumes with vessels of label 1 and 2."""
    for case in range(3):
        labels = np.zeros((4, 6, 8), np.uint8)
        labels[1:3, 2, case:] = 1
        labels[1:3, 4, :] = 2
        write(tmp_path / "images" / f"c{case}.nii.gz", labels * np.float32(1.5))
        write(tmp_path / "labels" / f"c{case}.nii.gz", labels)
    return [str(tmp_path / "images"), str(tmp_path / "labels")]


@pytest.fixture
def raw(tmp_path):
    with nnunet_folders(tmp_path / "nnunet") as root:
        yield root / "nnUNet_raw"


def test_writes_a_data_set_that_nnunet_accepts(folders, raw, require_integrity):
    command = ["pairs", *folders, "-d", "610", "-n", "Vessels", "--classes", "artery", "vein", "--channel", "MR"]
    assert main([*command, "--test_images", folders[0], "--test_labels", folders[1]]) == 0
    folder = raw / "Dataset610_Vessels"
    assert json.loads((folder / "dataset.json").read_text()) == {
        "channel_names": {"0": "MR"}, "labels": {"background": 0, "artery": 1, "vein": 2}, "numTraining": 3,
        "file_ending": ".nii.gz"}
    for part in ("Tr", "Ts"):
        assert [file.name for file in sorted((folder / f"images{part}").iterdir())] == [
            f"c{case}_0000.nii.gz" for case in range(3)]
        assert (folder / f"labels{part}" / "c1.nii.gz").read_bytes() == Path(folders[1], "c1.nii.gz").read_bytes()
    require_integrity(folder)


def test_one_label_value_can_be_the_foreground(folders, raw):
    assert main(["pairs", *folders, "-d", "610", "-n", "Veins", "--foreground", "2"]) == 0
    written, source = (sitk.ReadImage(str(file)) for file in (raw / "Dataset610_Veins" / "labelsTr" / "c0.nii.gz",
                                                              Path(folders[1], "c0.nii.gz")))
    assert np.array_equal(sitk.GetArrayFromImage(written), sitk.GetArrayFromImage(source) == 2)
    assert written.GetSpacing() == source.GetSpacing()


@pytest.mark.parametrize(("how", "sentence"), [
    ("classes", "holds the label(s) 2, but with 1 class(es)"),
    ("alone", "1 file(s) without a partner, such as c9.nii.gz"),
    ("grid", "lies on another grid"),
    ("unreadable", "cannot be read"),
    ("formats", "files of several formats"),
    ("none", "is not a folder"),
    ("name", "is not a name of a data set"),
    ("test", "go together"),
])
def test_what_does_not_fit_is_refused_and_nothing_is_left_behind(folders, raw, capsys, how, sentence):
    options = ["--classes", "artery"] if how == "classes" else ["--classes", "artery", "vein"]
    options += ["--test_images", folders[0]] if how == "test" else []
    last = np.zeros((4, 6, 8), np.uint8)
    if how == "alone":
        write(Path(folders[0], "c9.nii.gz"), last)
    elif how == "grid":
        write(Path(folders[1], "c2.nii.gz"), last, spacing=0.6)
    elif how == "unreadable":
        Path(folders[1], "c2.nii.gz").write_text("not a volume")
    elif how == "formats":
        for folder in folders:
            write(Path(folder, "d.nrrd"), last)
    elif how == "none":
        folders[1] += "2"
    name = "My_Vessels" if how == "name" else "Vessels"
    assert main(["pairs", *folders, "-d", "610", "-n", name, *options]) == 1
    assert sentence in capsys.readouterr().err
    assert not raw.exists() or list(raw.iterdir()) == []
