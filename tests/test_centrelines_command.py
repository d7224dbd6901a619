"""nnUNetv2_topo_centrelines: places in space, tables, resumed runs and refusals."""

from __future__ import annotations

import csv
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  its customary name

from nnunet_topo.centrelines import folders
from nnunet_topo.commands.centrelines import FORMATS, main

SPACING = (0.8, 0.5, 1.2)
FIRST, LAST = (4, 9, 12), (25, 9, 12)  # x, y, z of a tube's ends


def oblique() -> sitk.Image:
    """A straight tube of label 1 on an oblique grid."""
    labels = np.zeros((20, 24, 30), np.uint8)  # z, y, x
    labels[11:14, 6:13, 4:26] = 1
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing(SPACING)
    image.SetOrigin((-30.0, 12.0, 100.0))
    turn = sitk.VersorTransform((0.2, 0.3, 0.9), 0.7)
    image.SetDirection(turn.GetMatrix())
    return image


STORED = {
    "as_it_is": oblique,
    "axes_permuted": lambda: sitk.PermuteAxes(oblique(), [2, 0, 1]),
    "left_handed": lambda: sitk.Flip(oblique(), [True, False, False]),
    "permuted_and_flipped": lambda: sitk.Flip(sitk.PermuteAxes(oblique(), [1, 0, 2]), [False, True, True]),
}


def folder_with(tmp_path: Path, **images: sitk.Image) -> tuple[str, str]:
    labels, output = tmp_path / "labels", tmp_path / "out"
    labels.mkdir()
    for name, image in images.items():
        sitk.WriteImage(image, str(labels / f"{name}.nii.gz"))
    return str(labels), str(output)


def run(labels: str, output: str, *more: str) -> int:
    return main(["-i", labels, "-o", output, "-np", "0", *more])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def points_of(file: Path) -> np.ndarray:
    points = ElementTree.parse(file).find("PolyData/Piece/Points/DataArray")
    return np.array(points.text.split(), float).reshape(-1, 3)


def test_formats_of_the_command_are_those_that_there_are():
    assert FORMATS == tuple(folders.FORMATS)


@pytest.mark.parametrize("storage", STORED)
def test_a_tube_lies_in_space_where_simpleitk_has_it_however_it_is_stored(tmp_path, storage):
    labels, output = folder_with(tmp_path, tube=STORED[storage]())
    assert run(labels, output, "--format", *FORMATS) == 0
    first, last = (np.array(oblique().TransformIndexToPhysicalPoint(index)) for index in (FIRST, LAST))
    along = (last - first) / np.linalg.norm(last - first)
    points = points_of(Path(output) / "tube" / "1.vtp") - first
    aside = np.linalg.norm(points - np.outer(points @ along, along), axis=1)
    assert aside.max() < 0.3  # mm
    reach = points @ along
    assert abs(reach.min()) < 1.0 and abs(reach.max() - np.linalg.norm(last - first)) < 1.0
    (case,), (branch,) = (rows(Path(output) / name) for name in (folders.CASES, folders.BRANCHES))
    assert (case["branch_count"], case["ends"], case["loops"], case["components"]) == ("1", "2", "0", "1")
    assert float(branch["length_mm"]) == pytest.approx(float(case["length_mm"])) == pytest.approx(17.2, abs=1.0)
    assert {file.name for file in (Path(output) / "tube").iterdir()} == {
        "1.vtp", "1.swc", "1.graphml", "1_nodes.csv", "1_edges.csv", "1.mrk.json"}


def test_a_slice_is_2d_along_whichever_axis_it_is_stored(tmp_path):
    flat = np.zeros((24, 30), np.uint8)
    flat[9:14, 3:27] = 1
    image = sitk.GetImageFromArray(flat)
    slices = {f"axis_{axis}": sitk.GetImageFromArray(np.expand_dims(flat, axis)) for axis in range(3)}
    labels, output = folder_with(tmp_path, plain=image, **slices)
    assert run(labels, output) == 0
    lengths = [row["length_mm"] for row in rows(Path(output) / folders.CASES)]
    assert len(lengths) == 4 and len(set(lengths)) == 1 and float(lengths[0]) > 15


def test_labels_and_regions_are_chosen(tmp_path):
    labels = np.zeros((9, 9, 40), np.uint8)
    labels[3:6, 3:6, 2:20], labels[3:6, 3:6, 20:38] = 1, 2
    places, output = folder_with(tmp_path, case=sitk.GetImageFromArray(labels))
    assert run(places, output) == 0
    assert [row["label"] for row in rows(Path(output) / folders.CASES)] == ["1", "2"]
    assert run(places, output, "-l", "2", "5", "--regions", "1,2") == 0
    second, absent, both = rows(Path(output) / folders.CASES)
    assert (second["label"], absent["label"], both["label"]) == ("2", "5", "1_2")
    assert absent["components"] == "0" and float(absent["length_mm"]) == 0
    assert float(both["length_mm"]) > 1.8 * float(second["length_mm"])


def test_what_is_done_is_not_done_again_until_its_file_changes(tmp_path, monkeypatch):
    labels, output = folder_with(tmp_path, one=oblique(), two=oblique())
    assert run(labels, output) == 0
    calls, original = [], folders.centreline_graph
    monkeypatch.setattr(folders, "centreline_graph", lambda *given: calls.append(1) or original(*given))
    before = (Path(output) / folders.CASES).read_text()
    assert run(labels, output) == 0 and not calls
    (Path(output) / "two" / "1.vtp").unlink()
    assert run(labels, output) == 0 and len(calls) == 1
    assert (Path(output) / folders.CASES).read_text() == before


def test_a_damaged_file_is_named_and_the_others_are_written(tmp_path, capsys):
    labels, output = folder_with(tmp_path, good=oblique(), cut=oblique())
    cut = Path(labels) / "cut.nii.gz"
    cut.write_bytes(cut.read_bytes()[:-60])
    likely = sitk.Cast(oblique(), sitk.sitkFloat32) * 0.5
    sitk.WriteImage(likely, str(Path(labels) / "probabilities.nii.gz"))
    assert run(labels, output) == 1
    said = capsys.readouterr().err
    assert "2 case(s) have no centrelines" in said and "cut.nii.gz" in said and "not whole numbers" in said
    assert [row["case"] for row in rows(Path(output) / folders.CASES)] == ["good"]
    assert not (Path(output) / "cut").exists()


@pytest.mark.parametrize(("more", "words"), [
    (["-l", "0"], "whole numbers of at least 1"),
    ([], "holds two label maps of tube"),
])
def test_refusals_come_before_anything_is_written(tmp_path, capsys, more, words):
    labels, output = folder_with(tmp_path, tube=oblique())
    if not more:
        sitk.WriteImage(oblique(), str(Path(labels) / "tube.nrrd"))
    assert run(labels, output, *more) == 1
    assert words in capsys.readouterr().err and not Path(output).exists()


def test_folders_that_cannot_serve_are_refused(tmp_path, capsys):
    labels, _ = folder_with(tmp_path, tube=oblique())
    assert run(labels, labels) == 1 and "is the folder of label maps" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert run(str(tmp_path / "empty"), str(tmp_path / "out")) == 1
    assert "holds no label map" in capsys.readouterr().err
