"""TopoMortar's repository, in miniature, becomes data sets of nnU-Net or nothing at all."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnunet_topo.commands.convert import main
from nnunet_topo.conversion.topomortar import SETS
from nnunet_topo.nnunet.pipeline import nnunet_folders

pytest.importorskip("yaml")
pytestmark = pytest.mark.usefixtures("quick_integrity")
PARTS = {"train": ["001", "002", "003"], "val": ["004"], "test": ["005", "006"]}
GROUPS = {"005": "indistr", "006": "shadows"}


def ring(holes: int) -> np.ndarray:
    label = np.full((24, 24), 0, np.uint8)
    label[2:22, 2:22] = 255
    for hole in range(holes):
        label[5 + 5 * hole, 5:8] = 0
    return label


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The layout of github.com/jmlipman/TopoMortar with six images."""
    data = tmp_path / "TopoMortar" / "dataset"
    for part, images in PARTS.items():
        for image in images:
            for kind in ("images", "accurate", "noisy", "pseudo")[: 2 if part == "test" else None]:
                (data / part / kind).mkdir(parents=True, exist_ok=True)
                pixels = ring(int(image) % 3)
                if kind == "images":
                    pixels = np.random.default_rng(int(image)).integers(0, 255, (24, 24, 3)).astype(np.uint8)
                elif kind == "noisy":
                    pixels = pixels[::-1]
                Image.fromarray(np.ascontiguousarray(pixels)).save(data / part / kind / f"{image}.png")
    for file, training in (("splits.yaml", PARTS["train"]), ("splits_small.yaml", PARTS["train"][:1])):
        lines = ["1:"]
        for part, images in (PARTS | {"train": training}).items():
            lines += [f"  {part}:", *(f"  - dataset/{part}/images/{image}.png" for image in images)]
        (data / file).write_text("\n".join(lines) + "\n")
    (data / "dataset_types.txt").write_text("ID,group\n" + "".join(
        f"{image},{GROUPS.get(image, 'indistr')}\n" for images in PARTS.values() for image in images))
    (data / "betti_numbers.csv").write_text("ID,Betti0,Betti1,Betti2\n006,1,0,0\n005,1,2,0\n")
    (data.parent / "LICENSE").write_text("MIT")
    return data.parent


@pytest.fixture
def nnunet(tmp_path):
    with nnunet_folders(tmp_path / "nnunet") as root:
        yield root


def test_writes_a_data_set_for_each_size_and_kind_of_labels(repository, nnunet, capsys):
    assert main(["topomortar", str(repository), "-d", "501"]) == 0
    assert "nnUNetv2_plan_and_preprocess -d 501 502 503 504 505 506" in capsys.readouterr().out
    found = sorted(folder.name for folder in (nnunet / "nnUNet_raw").iterdir())
    assert found == [f"Dataset{501 + i}_TopoMortar{''.join(map(str.capitalize, which.split('_')))}"
                     for i, which in enumerate(SETS)]
    for name in found:
        folder = nnunet / "nnUNet_raw" / name
        training = ["TM_001", "TM_002", "TM_003"] if "Large" in name else ["TM_001"]
        assert json.loads((folder / "splits_final.json").read_text()) == [{"train": training, "val": ["TM_004"]}]
        placed = nnunet / "nnUNet_preprocessed" / name / "splits_final.json"
        assert placed.read_bytes() == (folder / "splits_final.json").read_bytes()
        assert {file.stem for file in (folder / "labelsTr").iterdir()} == {*training, "TM_004"}
        assert json.loads((folder / "dataset.json").read_text())["numTraining"] == len(training) + 1
        images = {file.name for file in (folder / "imagesTs").iterdir()}
        assert images == {"TM_005_0000.png", "TM_006_0000.png"}
        original = repository / "dataset" / "train" / "images" / "001.png"
        assert (folder / "imagesTr" / "TM_001_0000.png").read_bytes() == original.read_bytes()
        truth = ring(1)[::-1] if "Noisy" in name else ring(1)
        assert np.array_equal(np.asarray(Image.open(folder / "labelsTr" / "TM_001.png")), truth // 255)
        assert np.array_equal(np.asarray(Image.open(folder / "labelsTs" / "TM_005.png")), ring(2) // 255)
        rows = {row["case"]: row for row in csv.DictReader((folder / "manifest.csv").open())}
        assert [rows["TM_006"][key] for key in ("split", "group", "betti0", "betti1")] == ["test", "shadows", "1", "0"]
        assert rows["TM_004"]["split"] == "val" and rows["TM_001"]["betti0"] == ""
        assert (folder / "LICENSE.TopoMortar").read_text() == "MIT"


def test_nnunet_itself_finds_nothing_wrong_with_it(repository, nnunet, require_integrity):
    assert main(["topomortar", str(repository / "dataset"), "-d", "7", "--sets", "small_pseudo"]) == 0
    require_integrity(nnunet / "nnUNet_raw" / "Dataset007_TopoMortarSmallPseudo")


def test_pixels_of_another_value_become_background_and_are_reported(repository, nnunet, capsys):
    file = repository / "dataset" / "test" / "accurate" / "005.png"
    pixels = ring(2)
    pixels[0, 0] = 8
    Image.fromarray(pixels).save(file)
    assert main(["topomortar", str(repository), "-d", "501"]) == 0
    assert capsys.readouterr().out.count("test/accurate/005.png: 1 pixel(s) are neither 0 nor 255") == 1
    written = nnunet / "nnUNet_raw" / "Dataset501_TopoMortarLargeAccurate" / "labelsTs" / "TM_005.png"
    assert np.array_equal(np.asarray(Image.open(written)), ring(2) // 255)


def spoilt(repository: Path, how: str) -> None:
    data = repository / "dataset"
    if how == "betti":
        Image.fromarray(ring(1)).save(data / "test" / "accurate" / "006.png")
    elif how == "values":
        Image.fromarray(ring(1) // 255).save(data / "train" / "noisy" / "001.png")
    elif how == "size":
        Image.fromarray(ring(1)[:20]).save(data / "train" / "pseudo" / "001.png")
    elif how == "grey":
        Image.fromarray(ring(1)).save(data / "train" / "images" / "001.png")
    elif how == "unreadable":
        (data / "val" / "noisy" / "004.png").write_text("no image")
    elif how == "cut":
        file = data / "test" / "images" / "005.png"
        file.write_bytes(file.read_bytes()[:-100])
    elif how == "file":
        (data / "val" / "noisy" / "004.png").unlink()
    elif how == "group":
        (data / "dataset_types.txt").write_text("ID,group\n001,indistr\n")
    elif how == "split":
        (data / "splits.yaml").write_text("1: {train: [a]}")
    else:
        shutil.rmtree(data / how, ignore_errors=True)
        (data / how).unlink(missing_ok=True)


@pytest.mark.parametrize(("how", "sentence"), [
    ("betti", r"006.png has the Betti numbers \(1, 1\) .* says \(1, 0\)"),
    ("size", "001.png has .* pixels, but its image"),
    ("values", "001.png has no pixel of the value 255, so it shows no mortar; it holds 0, 1. Get"),
    ("grey", "001.png is not an RGB image"),
    ("unreadable", "004.png cannot be read as an image"),
    ("cut", "005.png cannot be read as an image"),
    ("file", "lacks 1 file"),
    ("group", "no group for the image"),
    ("split", "is not as published"),
    ("dataset_types.txt", "Clone https://github.com/jmlipman/TopoMortar"),
    ("splits.yaml", "has no file splits.yaml"),
])
def test_what_is_not_as_published_is_refused_and_nothing_is_left_behind(repository, nnunet, capsys, how, sentence):
    spoilt(repository, how)
    assert main(["topomortar", str(repository), "-d", "501"]) == 1
    assert re.search(sentence, capsys.readouterr().err)
    assert list((nnunet / "nnUNet_raw").iterdir()) == list((nnunet / "nnUNet_preprocessed").iterdir()) == []


@pytest.mark.parametrize("place", ["nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"])
def test_a_number_in_use_is_refused(repository, nnunet, capsys, place):
    (nnunet / place / "Dataset503_Mine").mkdir()
    assert main(["topomortar", str(repository), "-d", "501"]) == 1
    assert "Dataset503_Mine exists, so the number 503 is in use" in capsys.readouterr().err
    assert [file.name for file in (nnunet / "nnUNet_raw").iterdir()] == ["Dataset503_Mine"] * (place == "nnUNet_raw")


def test_numbers_that_nnunet_does_not_have_are_refused(repository, nnunet, capsys):
    assert main(["topomortar", str(repository), "-d", "995"]) == 1
    assert "1000 is not one of these" in capsys.readouterr().err


def test_without_betti_numbers_there_is_no_check_of_them(repository, nnunet):
    (repository / "dataset" / "betti_numbers.csv").unlink()
    spoilt(repository, "betti")
    assert main(["topomortar", str(repository), "-d", "501", "--sets", "small_accurate"]) == 0
