"""The demo's refusals; .ci/run runs the demo itself."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from nnunet_topo.commands import evaluate
from nnunet_topo.commands.demo import TRAINERS, _report_command, main


def test_refuses_a_folder_that_holds_something_and_leaves_it_alone(tmp_path, capsys):
    (tmp_path / "mine").write_text("")
    assert main(["-o", str(tmp_path)]) == 1 and "is not empty" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["mine"]


def test_hidden_files_do_not_fill_a_folder(tmp_path, monkeypatch):
    (tmp_path / ".DS_Store").write_text("")
    monkeypatch.setattr("nnunet_topo.disk.require_writable", lambda folder: 1 / 0)  # what comes next
    with pytest.raises(ZeroDivisionError):
        main(["-o", str(tmp_path)])


def test_refuses_a_folder_that_cannot_be_made(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["-o", str(tmp_path / "file" / "demo")]) == 1
    assert "could not be written: a part of this path is a file" in capsys.readouterr().err


@pytest.mark.parametrize("epochs", ["0", "-1", "two"])
def test_refuses_numbers_of_epochs_that_are_none(epochs, capsys):
    with pytest.raises(SystemExit):
        main(["--epochs", epochs])
    assert "is not a positive number of epochs" in capsys.readouterr().err


def test_the_next_step_that_it_prints_is_a_command_that_evaluate_understands():
    folders = {trainer: Path("/a b") / trainer for trainer in TRAINERS}
    program, *arguments = shlex.split(_report_command(Path("/a b/labelsTs"), folders, Path("/model"), Path("/out")))
    options = evaluate._parser().parse_args(arguments)
    assert program == "nnUNetv2_topo_evaluate" and options.report
    assert (options.pred_folder, options.compare) == (f"/a b/{TRAINERS[1]}", [("", Path(f"/a b/{TRAINERS[0]}"))])
    assert (options.djfile, options.pfile, options.o) == ("/model/dataset.json", "/model/plans.json", "/out")
