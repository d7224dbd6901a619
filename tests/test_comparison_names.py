"""Names and folders of comparisons: no summary ever takes the place of another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from evaluation_cases import command, three_cases

from nnunet_topo.files import require_name


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return three_cases(tmp_path)


def dice_in(folder: Path) -> float:
    return json.loads((folder / "summary_topology.json").read_text())["mean"]["1"]["dice"]


@pytest.mark.parametrize("name", [".", "..", "../elsewhere", "a/b", "a\\b", "nul", "COM1.txt", "ends in a dot.", " ",
                                  "summary_topology.json", "Report.html", "nnunet_topo_evaluation",
                                  "nnUNet_topo_Pictures", "PREDICTED", "a:b", "a\nb", ".hidden", "x" * 250])
def test_names_that_are_no_names_of_their_own_are_refused_before_anything_is_written(folders, tmp_path, name, capsys):
    out = tmp_path / "out"
    assert command(folders, "-l", "1", "-o", str(out), "--report", "--compare", f"{name}={folders[0]}") == 1
    error = capsys.readouterr().err
    assert "NAME=FOLDER" in error and "Traceback" not in error
    assert sorted(file.name for file in tmp_path.iterdir()) == ["predicted", "true"]


def test_names_that_differ_in_case_alone_are_refused(folders, tmp_path, capsys):
    compared = f"Base={folders[0]}", f"base={folders[1]}"
    assert command(folders, "-l", "1", "-o", str(tmp_path / "out"), "--report", "--compare", *compared) == 1
    assert "Several prediction folders have the name 'Base'" in capsys.readouterr().err


def test_each_summary_lies_in_a_folder_of_its_own(folders, tmp_path):
    compared = f"the truth={folders[0]}", f"again={folders[1]}"
    out = tmp_path / "out"
    assert command(folders, "-l", "1", "-o", str(out), "--report", "--compare", *compared) == 0
    assert dice_in(out / "the truth") == 1 and dice_in(out) == dice_in(out / "again") < 1


@pytest.mark.parametrize(("output", "name", "owner"), [("a", "labels", "a"), ("b/labels", "baseline", "baseline")])
def test_no_summary_is_written_into_the_predictions_of_another(folders, tmp_path, output, name, owner, capsys):
    for folder, parent in zip(folders, ("b", "a"), strict=True):
        (tmp_path / parent).mkdir()
        folder.rename(tmp_path / parent / "labels")
    theirs, ours = tmp_path / "b" / "labels", tmp_path / "a" / "labels"
    assert command((theirs, ours), "-l", "1", "-o", str(tmp_path / output), "--report", "--compare",
                   f"{name}={theirs}") == 1
    assert f"which holds the predictions of {owner}" in capsys.readouterr().err
    assert not list(tmp_path.rglob("summary_topology.json"))


def test_a_name_may_have_letters_of_any_script():
    for name in ("clDice", "β = 0.5", "Mandíbula-2", "run 1, seed 2"):
        require_name(name)
