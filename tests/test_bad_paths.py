"""Outputs that cannot be written and names that cannot be read: a sentence and 1, before time is lost."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  its customary name

from nnunet_topo.commands import convert, demo, evaluate, register
from nnunet_topo.files import files_of

FILE, BELOW, LONG = "a file is there, where a folder", "a part of this path is a file", "too long"
OUTPUTS = {"taken": FILE, "taken/below": BELOW, "x" * 300: LONG}


@pytest.fixture
def volumes(tmp_path):
    """Folders of one image and its label map, and a file where a folder is asked for."""
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
        array = np.zeros((8, 8, 8), np.uint8)
        array[2:5, 2:6, 2:6] = 1
        sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / name / "a.nii.gz"))
    (tmp_path / "taken").write_text("mine")
    return tmp_path


def run(command, folder, output, monkeypatch):
    images, labels = str(folder / "images"), str(folder / "labels")
    if command == "evaluate":
        return evaluate.main([images, labels, "-l", "1", "-np", "0", "-o", output])
    if command == "register":
        return register.main(["-fixed", f"{images}/a.nii.gz", "-moving", f"{labels}/a.nii.gz", "-o", output])
    if command == "convert":
        monkeypatch.setenv("nnUNet_raw", output)
        return convert.main(["pairs", images, labels, "-d", "7", "-n", "Name"])
    return demo.main(["-o", output])


@pytest.mark.parametrize("output", OUTPUTS, ids=["a file", "below a file", "too long"])
@pytest.mark.parametrize("command", ["evaluate", "register", "convert", "demo"])
def test_an_output_that_cannot_be_a_folder(command, output, volumes, monkeypatch, capsys):
    assert run(command, volumes, str(volumes / output), monkeypatch) == 1
    error = capsys.readouterr().err
    assert "Error: " in error and str(volumes / output) in error and "Errno" not in error
    assert OUTPUTS[output] in error or (output == "taken" and "is a file" in error)
    assert (volumes / "taken").read_text() == "mine"


@pytest.mark.skipif(os.name == "nt" or not os.getuid(), reason="who may write everywhere")
@pytest.mark.parametrize("command", ["evaluate", "register", "convert", "demo"])
def test_an_output_without_permission(command, volumes, monkeypatch, capsys):
    (volumes / "closed").mkdir(mode=0o555)
    assert run(command, volumes, str(volumes / "closed" / "out"), monkeypatch) == 1
    error = capsys.readouterr().err
    assert "there is no permission" in error and str(volumes / "closed") in error and "Errno" not in error


@pytest.mark.skipif(sys.platform != "linux", reason="a disk that takes such names")
def test_names_that_are_not_utf_8(tmp_path):
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    done = subprocess.run([sys.executable, "-m", "nnunet_topo.commands.evaluate", folder, folder, "-l", "1"],
                          capture_output=True)
    assert done.returncode == 1 and b"caf\\xe9' is not UTF-8" in done.stderr and b"Traceback" not in done.stderr
    with open(folder + b".nii.gz", "w"):
        pass
    with pytest.raises(ValueError, match="is not UTF-8, which the readers of images need"):
        files_of(tmp_path, ".nii.gz")
