"""The doctor reports every broken piece with how to fix it, and never raises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nnunet_topo._discovery import trainers_folder
from nnunet_topo.commands import doctor
from nnunet_topo.commands.doctor import Check

ROOT = Path(__file__).resolve().parents[1]
PATHS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
OUR_TRAINER = "nnUNetTrainerClDice"


@pytest.fixture
def ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment in which training can start; the folder of its three paths."""
    for variable in PATHS:
        (tmp_path / variable).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setenv("nnUNet_extTrainer", trainers_folder())
    return tmp_path


def write_trainer(folder: Path, file: str, text: str) -> str:
    folder.mkdir()
    (folder / f"{file}.py").write_text(text)
    return str(folder)


# --- The whole command ---


def test_everything_in_place_gives_zero(ready: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main([]) == 0
    printed = capsys.readouterr().out
    assert "[WRONG]" not in printed and "Training can start." in printed
    for name in ("python", "nnunet_topo", "torch", "nnunetv2", "SimpleITK", "numba", *PATHS, *doctor.our_trainers()):
        assert f"[ok]    {name} " in printed
    assert OUR_TRAINER in doctor.our_trainers()


@pytest.mark.parametrize("variable", PATHS)
def test_unset_path_gives_one_and_the_mend(
    variable: str, ready: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(variable)
    assert doctor.main([]) == 1
    printed = capsys.readouterr().out
    assert f"[WRONG] {variable:20} not set\n" in printed
    assert f'-> export {variable}="/path/to/{variable}" (PowerShell: $Env:{variable} = ' in printed
    assert "1 thing(s) keep training from starting." in printed


def test_trainers_that_nnunet_does_not_find_give_one(
    ready: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("nnUNet_extTrainer")
    assert doctor.main([]) == 1
    printed = capsys.readouterr().out
    assert f"[WRONG] {OUR_TRAINER:20} not found by nnU-Net" in printed
    assert "$(nnUNetv2_topo_trainers)" in printed


def test_missing_packages_are_reported_without_a_traceback() -> None:
    code = (
        "import sys; sys.modules.update(torch=None, nnunetv2=None, numba=None, SimpleITK=None);"
        "from nnunet_topo.commands.doctor import main; sys.exit(main([]))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True, capture_output=True
    )
    assert finished.returncode == 1 and finished.stderr == ""
    for name in ("torch", "nnunetv2", "SimpleITK", "numba"):
        assert f"[WRONG] {name:20} not installed\n" in finished.stdout
    assert '-> Install it: pip install "nnunetv2>=2.8"' in finished.stdout


def test_help_names_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        doctor.main(["--help"])
    assert "Exit code 1 if anything is [WRONG]" in capsys.readouterr().out


# --- Single checks ---


def test_path_that_is_a_file_or_missing_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "missing"):
        monkeypatch.setenv("nnUNet_results", str(folder))
        check = doctor.check_path("nnUNet_results")
        assert not check.ok and check.needed and check.detail == f"{folder} is not a folder"
        assert check.fix.startswith(f"mkdir -p {folder}, or")


@pytest.mark.skipif(os.name != "posix", reason="no shell")
def test_the_mends_of_a_path_are_commands_that_a_shell_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: str) -> str:
        script = f'{command} && printf %s "$nnUNet_results"'
        return subprocess.run(["sh", "-c", script], cwd=tmp_path, env={"HOME": "/home/me", "PATH": os.environ["PATH"]},
                              text=True, capture_output=True, check=True).stdout

    monkeypatch.setenv("HOME", "/home/me")
    for given, meant in (("~/my results", "/home/me/my results"), ('"/data/results"', "/data/results"),
                         ("'/data/$x'", "/data/$x"), (" /data/results", "/data/results")):
        monkeypatch.setenv("nnUNet_results", given)
        check = doctor.check_path("nnUNet_results")
        assert not check.ok and check.needed and run(check.fix) == meant
    folder = tmp_path / "it's \"my\" $HOME"
    monkeypatch.setenv("nnUNet_results", str(folder))
    run(doctor.check_path("nnUNet_results").fix.partition(", or let")[0])
    assert folder.is_dir() and doctor.check_path("nnUNet_results").ok


def test_two_variables_of_one_folder_are_wrong(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("nnUNet_results", str(ready / "nnUNet_results" / ".." / "nnUNet_raw"))
    check = doctor.check_path("nnUNet_results")
    assert not check.ok and check.needed and check.detail.endswith("is nnUNet_raw too")
    assert not doctor.check_path("nnUNet_raw").ok and doctor.check_path("nnUNet_preprocessed").ok


def test_a_relative_path_is_noted(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ready)
    monkeypatch.setenv("nnUNet_results", "nnUNet_results")
    check = doctor.check_path("nnUNet_results")
    assert not check.ok and not check.needed
    assert check.fix == f"export nnUNet_results={ready / 'nnUNet_results'}"


def test_path_that_cannot_be_written_to_is_wrong_unless_it_is_only_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:  # the superuser may write everywhere, so permissions cannot stand in for it
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    check = doctor.check_path("nnUNet_raw")
    assert check == Check("nnUNet_raw", False, f"{tmp_path} cannot be written to (Permission denied)", check.fix)
    assert "write permission" in check.fix
    assert not doctor.check_path("nnUNet_raw", must_write=False).needed


def test_old_nnunet_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    for version, ok in {"2.7.9": False, "1.9": False, "2.8": True, "2.8.0rc1": True, "2.10.0": True}.items():
        monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name, version=version: version)
        check = doctor.check_package("nnunetv2", "json", minimum=(2, 8))
        assert check.ok == ok, version
        assert check.detail == (version if ok else f"{version} is too old")
    assert doctor.check_package("x", "json", minimum=(9,)).fix == 'Update it: pip install --upgrade "x>=9"'


def test_package_that_fails_on_import_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "raises_on_import.py").write_text("raise OSError('libsomething.so: cannot open')")
    (tmp_path / "misses_a_package.py").write_text("import a_package_that_is_missing")
    check = doctor.check_package("raises", "raises_on_import")
    assert check.detail == "cannot be imported: OSError: libsomething.so: cannot open" and not check.ok
    check = doctor.check_package("misses", "misses_a_package")
    assert check.fix == "Install what it misses: pip install a_package_that_is_missing" and not check.ok


def test_discovery_names_who_set_the_variable(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # not syspath_prepend: its undoing would bring this shortened list back
    bare = [entry for entry in sys.path if not Path(entry, "nnunet_topo.pth").is_file()]
    monkeypatch.setattr(sys, "path", bare)
    assert doctor.check_discovery().detail == f"{trainers_folder()} (by your export)"
    (ready / "nnunet_topo.pth").touch()
    monkeypatch.setattr(sys, "path", [str(ready), *bare])
    assert str(ready / "nnunet_topo.pth") in doctor.check_discovery().detail
    monkeypatch.setenv("nnUNet_extTrainer", str(ready))
    assert not doctor.check_discovery().ok


def test_own_trainer_of_the_same_name_before_ours_is_wrong(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    same_name = (
        "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n"
        f"class {OUR_TRAINER}(nnUNetTrainer): pass"
    )
    mine = write_trainer(ready / "mine", OUR_TRAINER, same_name)
    monkeypatch.setenv("nnUNet_extTrainer", os.pathsep.join([mine, trainers_folder()]))
    check = doctor.check_trainer(OUR_TRAINER)
    assert not check.ok and check.needed and check.detail == f"another of this name comes first, in {mine}"
    monkeypatch.setenv("nnUNet_extTrainer", os.pathsep.join([trainers_folder(), mine]))
    assert doctor.check_trainer(OUR_TRAINER).ok


def test_trainer_of_nnunet_with_the_same_name_is_wrong(ready: Path) -> None:
    check = doctor.check_trainer("nnUNetTrainer_1epoch")  # stands in for one of ours that nnU-Net takes up later
    assert not check.ok and check.detail.startswith("nnU-Net prefers its own nnunetv2.training.nnUNetTrainer.variants")


@pytest.mark.parametrize("text", ["import a_package_that_is_missing", "raise SystemExit('stopped')", "def ("])
def test_own_file_that_fails_on_import_is_named(ready: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    mine = write_trainer(ready / "mine", "nnUNetTrainerBroken", text)
    monkeypatch.setenv("nnUNet_extTrainer", os.pathsep.join([mine, trainers_folder()]))
    check = doctor.check_trainer(OUR_TRAINER)
    assert not check.ok and check.detail.startswith("nnU-Net's lookup stops at nnUNetTrainerBroken: ")


def test_numba_cache_follows_the_variable_and_says_when_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numba

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    assert doctor.check_numba_cache().detail.startswith(str(tmp_path))

    assert not list(tmp_path.rglob("*.kernel"))

    def full() -> None:
        raise OSError(28, "No space left on device", str(tmp_path))

    monkeypatch.setattr("nnunet_topo.kernels.jit.try_cache", full)
    check = doctor.check_numba_cache()
    assert not check.ok and not check.needed and "No space left on device" in check.detail
    assert "Free space there" in check.fix and "NUMBA_CACHE_DIR" in check.fix


@pytest.mark.parametrize(("reason", "ok", "detail"), [
    ("", True, "by Triton's kernels, on the GPU"),
    ("RuntimeError: Failed to find C compiler\nmore", False, "by torch operations")])
def test_what_computes_skeletons_on_a_gpu_is_named(
    reason: str, ok: bool, detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("nnunet_topo.skeletons._device.why_not_triton", lambda device: reason)
    check = doctor.check_skeletons()
    assert check.ok is ok and check.detail.startswith(detail) and "more" not in check.detail
    assert ok or ("C compiler" in check.detail and "gcc" in check.fix and not check.needed)
