"""Bad input of nnUNetv2_topo_evaluate: each is named in a sentence, with exit code 1."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from evaluation_cases import by_case, command, dataset_files, evaluate, three_cases, write
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from skimage import io
from training import label_map

from nnunet_topo.nnunet.evaluation.label_maps import read_label_map


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return three_cases(tmp_path)


def refused(folders: tuple[Path, Path], capsys, *arguments: str) -> str:
    """What the command says on the error stream, which must not be a traceback."""
    assert command(folders, *(arguments or ("-l", "1", "2"))) == 1
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error


def test_a_missing_prediction_is_refused_unless_chill(folders, capsys):
    (folders[1] / "tiny_1.nii.gz").unlink()
    error = refused(folders, capsys)
    assert f"1 of 3 reference(s) have no prediction in {folders[1]}: tiny_1.nii.gz." in error and "--chill" in error
    assert not (folders[1] / "summary_topology.json").exists()
    assert command(folders, "-l", "1", "--chill") == 0
    assert "no prediction: tiny_1.nii.gz" in capsys.readouterr().out
    summary = json.loads((folders[1] / "summary_topology.json").read_text())
    assert summary["missing_predictions"] == ["tiny_1.nii.gz"] and len(summary["metric_per_case"]) == 2


@pytest.mark.parametrize("chill", [[], ["--chill"]])
def test_a_missing_reference_is_refused_even_with_chill(folders, chill, capsys):
    (folders[0] / "tiny_1.nii.gz").unlink()
    error = refused(folders, capsys, "-l", "1", *chill)
    assert f"1 of 3 prediction(s) have no reference in {folders[0]}: tiny_1.nii.gz." in error


LABELS_1 = label_map(1)
TURNED = (0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
BAD_PREDICTIONS = {
    "differ in shape: (20, 40, 40) and (20, 40, 39)": lambda file: write(LABELS_1[:, :, :-1].copy(), file),
    "differ in spacing: (1.5, 1.0, 0.5) and (1.5, 1.0, 0.6)": lambda file: write(LABELS_1, file, (1.5, 1.0, 0.6)),
    "differ in origin: (0.0, 0.0, 0.0) and (0.0, 0.1, 0.0)": lambda file: write(LABELS_1, file, origin=(0.0, 0.1, 0.0)),
    "differ in direction": lambda file: write(LABELS_1, file, direction=TURNED),
    "holds the label(s) 7, but dataset.json allows 0, 1, 2": lambda file: write(LABELS_1 + 5 * (LABELS_1 == 2), file),
    "cannot be read by nnU-Net's SimpleITKIO": lambda file: file.write_bytes(b"nothing"),
    "cut off or damaged: its compressed data end too early": lambda file: file.write_bytes(file.read_bytes()[:-100]),
    "holds labels of 16777216 or more": lambda file: write(LABELS_1 + np.int32(2**24) * (LABELS_1 == 2), file),
    "holds values that are not labels, e.g. 0.5": lambda file: write(LABELS_1.astype(np.float32) / 2, file),
}


@pytest.mark.parametrize("sentence", BAD_PREDICTIONS)
def test_a_bad_file_is_named_and_the_other_cases_are_evaluated(folders, sentence, tmp_path, capsys):
    BAD_PREDICTIONS[sentence](folders[1] / "tiny_1.nii.gz")
    error = refused(folders, capsys, *dataset_files(tmp_path, "classes"))
    assert sentence in error and str(folders[1] / "tiny_1.nii.gz") in error
    summary = json.loads((folders[1] / "summary_topology.json").read_text())
    assert by_case(summary).keys() == {"tiny_0", "tiny_2"} and sentence in summary["failed"]["tiny_1"]


def test_differences_of_rounding_in_the_header_are_accepted(folders):
    write(LABELS_1, folders[1] / "tiny_1.nii.gz", (1.50001, 1.0, 0.5), origin=(0.0, 0.001, 0.0))
    assert command(folders, "-l", "1") == 0


def test_the_ignore_label_is_allowed_in_references_only(tmp_path, capsys):
    folders = tmp_path / "true", tmp_path / "predicted"
    labels = label_map(0, ignore=True)
    write(labels, folders[0] / "case.nii.gz")
    write(labels, folders[1] / "case.nii.gz")
    files = dataset_files(tmp_path, "regions_ignore")
    error = refused(folders, capsys, *files)
    assert f"{folders[1] / 'case.nii.gz'} holds the label(s) 3, but dataset.json allows 0, 1, 2 there" in error
    assert "None of the 1 case(s) could be evaluated" in error
    write(labels % 3, folders[1] / "case.nii.gz")
    assert command(folders, *files) == 0


def test_an_empty_or_absent_folder_is_named(folders, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert f"{tmp_path / 'empty'} holds no label map" in refused((tmp_path / "empty", folders[1]), capsys)
    assert f"{tmp_path / 'empty'} holds no file that ends in .nii.gz" in refused((folders[0], tmp_path / "empty"),
                                                                                capsys)
    files = dataset_files(tmp_path, "classes")
    assert f"{tmp_path / 'empty'} holds no file" in refused((tmp_path / "empty", folders[1]), capsys, *files)
    assert f"The folder {tmp_path / 'nowhere'} does not exist" in refused((tmp_path / "nowhere", folders[1]), capsys)


def test_references_none_of_which_can_be_read_are_named(folders, capsys):
    for file in folders[0].iterdir():
        file.write_bytes(b"nothing")
    assert f"None of the 3 file(s) .nii.gz in {folders[0]} can be read" in refused(folders, capsys)


def test_references_of_several_endings_are_refused_without_a_dataset_json(folders, capsys):
    write(LABELS_1, folders[0] / "tiny_1.mha")
    assert "several endings (.mha, .nii.gz)" in refused(folders, capsys)


def test_a_label_map_in_colours_is_refused(tmp_path):
    io.imsave(str(tmp_path / "case.png"), np.zeros((5, 6, 3), np.uint8), check_contrast=False)
    with pytest.raises(ValueError, match="one channel"):
        read_label_map(tmp_path / "case.png", NaturalImage2DIO())


def test_unusable_json_files_and_outputs_are_named(folders, tmp_path, capsys):
    djfile, pfile = dataset_files(tmp_path, "classes")[1::2]
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    for bad, sentence in (("broken.json", "is not a JSON file"), ("list.json", "holds a list"),
                          ("absent.json", "cannot be read"), ("plans.json", "KeyError: 'labels'")):
        assert sentence in refused(folders, capsys, "-djfile", str(tmp_path / bad), "-pfile", pfile)
    dataset_files(tmp_path, "classes", reader="NoReader")
    assert "Unable to find reader writer class 'NoReader'" in refused(folders, capsys, "-djfile", djfile,
                                                                      "-pfile", pfile)
    assert "-o is a folder" in refused(folders, capsys, "-l", "1", "-o", str(tmp_path / "summary.json"))
    (tmp_path / "file").touch()
    assert str(tmp_path / "file") in refused(folders, capsys, "-l", "1", "-o", str(tmp_path / "file"))


def test_labels_that_cannot_be_evaluated_are_refused(folders, tmp_path, capsys):
    assert "is the ignore label and cannot be evaluated" in refused(folders, capsys, "-l", "1", "2", "-il", "2")
    with pytest.raises(ValueError, match=r"7 to evaluate are not in dataset.json"):
        evaluate(folders, tmp_path, labels_or_regions=[(1, 7)], known_labels=[0, 1, 2])
    with pytest.raises(ValueError, match="nothing to evaluate"):
        evaluate(folders, tmp_path, labels_or_regions=[])


def test_a_label_that_is_in_no_file_is_pointed_out(folders, capsys):
    assert command(folders, "-l", "1", "9", "--regions", "1,2") == 0
    printed = capsys.readouterr().out
    assert "Empty in all files: 9." in printed and "(1, 2)" in printed


@pytest.mark.parametrize("arguments", [
    [], ["-djfile", "a"], ["-pfile", "a"], ["-l", "1", "-djfile", "a", "-pfile", "b"], ["--regions", "1;2"],
    ["-djfile", "a", "-pfile", "b", "-il", "2"], ["-l", "1", "--tolerances_mm", "-1"],
    ["-l", "1", "-np", "-1"]])
def test_contradicting_flags_are_an_error_of_use(folders, arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        command(folders, *arguments)
    assert stop.value.code == 2 and "error:" in capsys.readouterr().err
