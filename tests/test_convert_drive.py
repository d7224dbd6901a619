"""DRIVE, in miniature, becomes a data set of nnU-Net or nothing at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnunet_topo.commands.convert import main
from nnunet_topo.nnunet.pipeline import nnunet_folders

pytestmark = pytest.mark.usefixtures("quick_integrity")

CASES = {"training": ("21", "22", "40"), "test": ("01", "20")}
HEIGHT, WIDTH = 24, 20


def photograph(number: str) -> np.ndarray:
    return np.random.default_rng(int(number)).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def vessels(number: str) -> np.ndarray:
    return np.random.default_rng(100 + int(number)).random((HEIGHT, WIDTH)) < 0.3


def field_of_view() -> np.ndarray:
    y, x = np.indices((HEIGHT, WIDTH))
    return (y - HEIGHT / 2) ** 2 + (x - WIDTH / 2) ** 2 < 81


def write(file: Path, pixels: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The published folders with five photographs and the second observer's vessels."""
    for part, numbers in CASES.items():
        folder = tmp_path / "download" / part
        for number in numbers:
            write(folder / "images" / f"{number}_{part}.tif", photograph(number))
            write(folder / "1st_manual" / f"{number}_manual1.gif", vessels(number) * np.uint8(255))
            write(folder / "mask" / f"{number}_{part}_mask.gif", field_of_view() * np.uint8(255))
            if part == "test":
                write(folder / "2nd_manual" / f"{number}_manual2.gif", ~vessels(number) * np.uint8(255))
    return tmp_path / "download"


@pytest.fixture
def raw(tmp_path):
    with nnunet_folders(tmp_path / "nnunet") as root:
        yield root / "nnUNet_raw"


def pixels(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file))


def test_writes_photographs_and_labels_of_training_and_test(source, raw):
    assert main(["drive", str(source), "-d", "604"]) == 0
    folder = raw / "Dataset604_DRIVE"
    content = json.loads((folder / "dataset.json").read_text())
    assert content["channel_names"] == {"0": "R", "1": "G", "2": "B"}
    assert content["labels"] == {"background": 0, "vessel": 1} and content["numTraining"] == 3
    assert content["file_ending"] == ".png" and content["overwrite_image_reader_writer"] == "NaturalImage2DIO"
    for part, letters in (("training", "Tr"), ("test", "Ts")):
        assert sorted(file.name for file in (folder / f"labels{letters}").iterdir()) == [
            f"drive_{number}.png" for number in CASES[part]]
        for number in CASES[part]:
            assert np.array_equal(pixels(folder / f"images{letters}" / f"drive_{number}_0000.png"), photograph(number))
            assert np.array_equal(pixels(folder / f"labels{letters}" / f"drive_{number}.png"), vessels(number))


def test_nnunet_ignores_what_lies_outside_of_the_field_of_view_if_asked_to(source, raw, require_integrity):
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    source.rename(source.with_name("DRIVE"))  # the folder above does too
    assert main(["drive", str(source.parent), "-d", "604", "--ignore_outside"]) == 0
    folder = raw / "Dataset604_DRIVEFieldOfView"
    labels = json.loads((folder / "dataset.json").read_text())["labels"]
    assert LabelManager(labels, regions_class_order=None).ignore_label == 2
    expected = np.where(field_of_view(), vessels("21"), 2)
    assert np.array_equal(pixels(folder / "labelsTr" / "drive_21.png"), expected)
    assert np.array_equal(pixels(folder / "labelsTs" / "drive_01.png") == 2, ~field_of_view())
    require_integrity(folder)


def test_evaluation_leaves_out_what_has_the_ignore_label(source, raw, tmp_path):
    from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO

    from nnunet_topo.nnunet.evaluation.folders import evaluate_folder

    assert main(["drive", str(source), "-d", "604", "--ignore_outside"]) == 0
    for number in CASES["test"]:
        wrong_outside = np.where(field_of_view(), vessels(number), True).astype(np.uint8)
        write(tmp_path / "predictions" / f"drive_{number}.png", wrong_outside)
    settings = {"labels_or_regions": [1], "file_ending": ".png", "reader_writer": NaturalImage2DIO(), "processes": 0}
    labels = raw / "Dataset604_DRIVEFieldOfView" / "labelsTs"
    summary = evaluate_folder(predictions=tmp_path / "predictions", references=labels, output=tmp_path / "out",
                              ignore_label=2, **settings)
    found = [case["metrics"]["1"] for case in summary["metric_per_case"]]
    assert [(metrics["dice"], metrics["betti_error_sum"]) for metrics in found] == [(1, 0), (1, 0)]


@pytest.mark.parametrize("how", ["no labels", "empty folder of labels", "no test"])
def test_without_labels_of_the_test_there_are_no_test_cases(source, raw, capsys, how):
    shutil.rmtree(source / "test" / ("1st_manual" if how != "no test" else ""))
    if how == "empty folder of labels":
        (source / "test" / "1st_manual").mkdir()
        (source / "test" / "1st_manual" / "._01_manual1.gif").write_text("of macOS")
    assert main(["drive", str(source), "-d", "604"]) == 0
    assert "so the data set has no test cases" in capsys.readouterr().out
    folders = {file.name for file in (raw / "Dataset604_DRIVE").iterdir()}
    assert folders == {"dataset.json", "imagesTr", "labelsTr"}


def test_masks_are_needed_where_they_are_used_alone(source, raw, capsys):
    shutil.rmtree(source / "training" / "mask")
    assert main(["drive", str(source), "-d", "604", "--ignore_outside"]) == 1
    assert "lacks 3 file(s) that its images need, such as training/mask/21_training_mask.gif" in capsys.readouterr().err
    assert list(raw.iterdir()) == []
    assert main(["drive", str(source), "-d", "604"]) == 0


def spoil(source: Path, how: str) -> None:
    image, label, mask = (source / "training" / file for file in (
        "images/22_training.tif", "1st_manual/22_manual1.gif", "mask/22_training_mask.gif"))
    if how == "grey":
        write(image, photograph("22")[..., 0])
    elif how == "size of a label":
        write(label, vessels("22")[1:] * np.uint8(255))
    elif how == "size of a mask":
        write(mask, field_of_view()[:, 1:] * np.uint8(255))
    elif how == "values":
        write(label, vessels("22") * np.uint8(255) | np.uint8(1))
    elif how == "empty":
        write(label, np.zeros((HEIGHT, WIDTH), np.uint8))
    elif how == "pages":
        pages = [Image.fromarray(photograph("22"))] * 2
        pages[0].save(image, save_all=True, append_images=pages[1:])
    elif how == "transparent":
        write(label.with_suffix(".png"), np.stack([vessels("22") * np.uint8(255)] * 2, -1))
        label.with_suffix(".png").rename(label)
    elif how == "16 bit":
        write(label.with_suffix(".png"), vessels("22") * np.uint16(255))
        label.with_suffix(".png").rename(label)
    elif how == "black":
        write(mask, np.zeros((HEIGHT, WIDTH), np.uint8))
    elif how == "unreadable":
        image.write_text("no image")
    elif how == "cut image":
        image.write_bytes(image.read_bytes()[:-200])
    elif how == "cut label":
        label.write_bytes(label.read_bytes()[:-40])
    elif how == "label":
        label.unlink()
    elif how == "label of the test":
        (source / "test" / "1st_manual" / "20_manual1.gif").unlink()
    else:
        shutil.rmtree(source / "training")


@pytest.mark.parametrize(("how", "sentence"), [
    ("grey", "22_training.tif is not an RGB image (its mode is L), as all images of DRIVE are"),
    ("size of a label", "22_manual1.gif has (20, 23) pixels, but its image"),
    ("size of a mask", "22_training_mask.gif has (19, 24) pixels, but its image"),
    ("values", "22_manual1.gif has the values 1, 255 besides 0, but DRIVE's masks are black and white"),
    ("empty", "22_manual1.gif is black all over, but it must be white at vessels"),
    ("pages", "22_training.tif holds 2 pictures, but one is expected"),
    ("transparent", "22_manual1.gif has the mode LA, but a mask is black and white"),
    ("16 bit", "22_manual1.gif has the mode I;16, but a mask is black and white"),
    ("black", "22_training_mask.gif is black all over"),
    ("unreadable", "22_training.tif cannot be read as an image"),
    ("cut image", "22_training.tif cannot be read as an image"),
    ("cut label", "22_manual1.gif cannot be read as an image"),
    ("label", "lacks 1 file(s) that its images need, such as training/1st_manual/22_manual1.gif"),
    ("label of the test", "lacks 1 file(s) that its images need, such as test/1st_manual/20_manual1.gif"),
    ("no training", "has no files NN_training.tif, so"),
])
def test_what_is_not_as_published_is_refused_and_nothing_is_left_behind(source, raw, capsys, how, sentence):
    spoil(source, how)
    assert main(["drive", str(source), "-d", "604", "--ignore_outside"]) == 1
    assert sentence in capsys.readouterr().err
    assert list(raw.iterdir()) == []


def test_a_number_in_use_is_refused(source, raw, capsys):
    (raw / "Dataset604_Mine").mkdir()
    assert main(["drive", str(source), "-d", "604"]) == 1
    assert "Dataset604_Mine exists, so the number 604 is in use" in capsys.readouterr().err
    assert [folder.name for folder in raw.iterdir()] == ["Dataset604_Mine"]
