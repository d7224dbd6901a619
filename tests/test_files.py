"""Files that are whole or not there: names, leftovers of processes that were killed, and disks that are full."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  its customary name
import torch
from matplotlib.figure import Figure

from nnunet_topo import files
from nnunet_topo.disk import NotWrittenError, require_writable
from nnunet_topo.files import unfinished_folder, write_image, write_json, written_at_once

NOISE = np.random.default_rng(0).integers(0, 255, (60, 60, 60)).astype(np.uint8)
KILLED = """
import os, signal, sys
from pathlib import Path
from nnunet_topo.files import written_at_once

with written_at_once(sys.argv[1]) as temporary:
    temporary.write_text("a half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def limited():
    """No file of more than 20 kB can be written, which a writer meets as it meets a full disk."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def with_torch(path: Path) -> None:
    with written_at_once(path) as temporary:
        torch.save({"weights": torch.rand(10_000)}, temporary)


def with_numpy(path: Path) -> None:
    with written_at_once(path) as temporary:
        np.savez(temporary, noise=NOISE)


def with_matplotlib(path: Path) -> None:
    figure = Figure()
    figure.subplots().imshow(NOISE[0])
    with written_at_once(path) as temporary:
        figure.savefig(temporary, dpi=300)


WRITERS = {
    "a.json": lambda path: write_json(path, NOISE.ravel().tolist()),
    "a.nii.gz": lambda path: write_image(sitk.GetImageFromArray(NOISE), path),  # of which SimpleITK says nothing
    "a.nii": lambda path: write_image(sitk.GetImageFromArray(NOISE), path),  # nor of this
    "a.mha": lambda path: write_image(sitk.GetImageFromArray(NOISE), path),  # here it raises RuntimeError
    "a.nrrd": lambda path: write_image(sitk.GetImageFromArray(NOISE), path),
    "a.pth": with_torch,
    "a.npz": with_numpy,
    "a.png": with_matplotlib,
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_does_not_fit_is_named_with_the_reason_and_what_was_there_is_kept(name, tmp_path, limited):
    path = tmp_path / name
    path.write_text("before")
    with pytest.raises(NotWrittenError) as caught:
        WRITERS[name](path)
    assert str(caught.value).startswith(f"{path} could not be written: it is larger than its disk, or a limit")
    assert os.listdir(tmp_path) == [name] and path.read_text() == "before"


def test_a_full_disk_is_named_with_its_folder(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(NotWrittenError) as caught:
        write_json(tmp_path / "a.json", {})
    assert str(caught.value) == (f"{tmp_path / 'a.json'} could not be written: the disk of {tmp_path} is full. Make "
                                 "room there, or choose a folder on another disk.")
    assert not any(tmp_path.iterdir())


def test_errors_of_other_files_are_left_as_they_are(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"), written_at_once(tmp_path / "a"):
        (tmp_path.parent / "missing").read_text()
    with pytest.raises(RuntimeError, match="no disk") as caught, written_at_once(tmp_path / "a"):
        raise RuntimeError("no disk")
    assert type(caught.value) is RuntimeError


def test_a_writer_that_stops_short_on_a_disk_with_room_is_not_believed(tmp_path, monkeypatch):
    monkeypatch.setattr(sitk, "WriteImage", lambda image, name: Path(name).write_bytes(b""))
    with pytest.raises(RuntimeError, match=r"a\.nii\.gz was not written as a whole; check its disk"):
        write_image(sitk.GetImageFromArray(NOISE), tmp_path / "a.nii.gz")
    assert not any(tmp_path.iterdir())


def test_what_is_unfinished_is_no_case_for_nnunet(tmp_path):
    from nnunetv2.utilities.utils import get_identifiers_from_splitted_dataset_folder as cases_of

    (tmp_path / ".hidden_0000.nii.gz").write_text("")  # it takes hidden files too
    with written_at_once(tmp_path / "case_0000.nii.gz") as temporary:
        temporary.write_text("a half")
        assert temporary.name == "case_0000.nii.gz"  # by its end the format is chosen
        assert len(os.listdir(tmp_path)) == 2 and list(cases_of(str(tmp_path), ".nii.gz")) == [".hidden"]
    assert list(cases_of(str(tmp_path), ".nii.gz")) == [".hidden", "case"]


def test_a_name_as_long_as_the_disk_takes_can_be_written(tmp_path):
    name = "a" * 250 + ".json"
    write_json(tmp_path / name, {})
    assert os.listdir(tmp_path) == [name]


@pytest.mark.skipif(os.name == "nt", reason="other signals")
def test_the_next_process_removes_what_a_killed_one_left(tmp_path):
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a.json")])
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.is_dir() and os.listdir(left) == ["a.json"]
    write_json(tmp_path / "b.json", {})
    assert os.listdir(tmp_path) == ["b.json"]


@pytest.mark.skipif(os.name == "nt", reason="numbers of processes are not looked up")
def test_what_a_process_that_lives_has_not_finished_is_left_alone(tmp_path):
    with unfinished_folder(tmp_path) as folder:
        (folder / "half").write_text("")
        files.remove_leftovers.cache_clear()
        write_json(tmp_path / "b.json", {})
        assert (folder / "half").exists()


@pytest.mark.parametrize(("hours", "left"), [(1, True), (25, False)])
def test_of_other_machines_what_has_not_changed_for_a_day_is_removed(hours, left, tmp_path):
    folder = tmp_path / ".nnunet_topo-othermachine-1-abc"
    (folder / "Dataset501_A").mkdir(parents=True)
    (folder / "Dataset501_A" / "dataset.json").write_text("")
    before = time.time() - hours * 3600
    for entry in (folder / "Dataset501_A" / "dataset.json", folder / "Dataset501_A", folder):
        os.utime(entry, (before, before))
    write_json(tmp_path / "b.json", {})
    assert folder.exists() == left


@pytest.mark.parametrize(("folder", "reason"), [
    ("file", "a file is there, where a folder is needed"), ("file/deeper", "a part of this path is a file"),
    ("x" * 300, "the path or a name in it is too long"),
])
def test_a_folder_that_cannot_be_one_is_refused_with_the_reason(folder, reason, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotWrittenError, match=f"could not be written: {reason}"):
        require_writable(tmp_path / folder)


@pytest.mark.skipif(os.name == "nt" or not os.getuid(), reason="who may write everywhere")
def test_a_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(NotWrittenError, match="there is no permission"):
        require_writable(tmp_path)
