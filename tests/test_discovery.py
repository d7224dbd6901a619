"""nnU-Net finds our trainers without configuration: each case in a light virtual environment and a process of its own.

An environment's own site-packages receive nnU-Net and our package through pip; everything else (torch, numpy, ...)
comes from links to the packages of the Python that runs the tests.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import pkgutil
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

Finished = subprocess.CompletedProcess[str]
ROOT = Path(__file__).resolve().parents[1]
OURS = ["nnUNetTrainerClDice"]
VARIABLE = "nnUNet_extTrainer"
PRINT_VARIABLE = f"import os; print(os.environ.get('{VARIABLE}'))"

LOOK_UP = """
import contextlib, importlib, io, json, multiprocessing, os, sys

def look_up(name):
    if not name.startswith("nnUNetTrainer"):
        return [importlib.import_module(name).__file__]
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            return [base.__module__ + "." + base.__qualname__ for base in
                    recursive_find_trainer_class_by_name(name).__mro__]
        except Exception as error:
            return [type(error).__name__ + ": " + str(error)]

if __name__ == "__main__":
    spawned, *names = sys.argv[1:]
    found = {name: look_up(name) for name in names}
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found["spawned"] = pool.apply(look_up, (spawned,))
    print(json.dumps(found))
"""


@dataclass
class Environment:
    """A light virtual environment."""

    python: Path
    site: Path

    def run(self, *arguments: str | Path, cwd: Path | None = None, folders: str | None = None) -> Finished:
        """Run its Python in a clean environment, with ``folders`` as nnUNet_extTrainer; fails loudly."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("nnUNet", "PYTHON", "COV"))}
        if folders is not None:
            clean[VARIABLE] = folders
        command = [self.python, *arguments]
        finished = subprocess.run(command, cwd=cwd or self.site, env=clean, text=True, capture_output=True)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished

    def look_up(self, *names: str, spawned: str = "os", folders: str | None = None) -> dict[str, list[str]]:
        """Each trainer's method resolution order as nnU-Net's lookup finds it, or its error.

        A spawned process then looks up a trainer or imports a module; its result is called "spawned".
        """
        script = self.site.parent / "look_up.py"
        script.write_text(LOOK_UP)
        output = self.run(script, spawned, *names, folders=folders).stdout
        return json.loads(output.splitlines()[-1])

    def pip(self, *arguments: str | Path) -> None:
        """Run pip on it, offline."""
        command = [sys.executable, "-m", "pip", "--python", self.python, "--disable-pip-version-check", *arguments]
        finished = subprocess.run([*map(str, command)], text=True, capture_output=True)
        assert finished.returncode == 0, finished.stdout + finished.stderr

    def install(self, *what: str | Path) -> None:
        """Install wheels or checkouts without their dependencies."""
        self.pip("install", "--no-deps", "--no-index", "--no-build-isolation", *what)


def build_wheel(checkout: Path, folder: Path) -> Path:
    command = ["pip", "wheel", "--no-deps", "--no-index", "--no-build-isolation", "-w", str(folder), str(checkout)]
    finished = subprocess.run([sys.executable, "-m", *command], text=True, capture_output=True)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return next(folder.glob("*.whl"))


def files_in(folder: Path) -> dict[str, str]:
    """Every file but byte code, with its hash."""
    files = (file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this checkout, so that building leaves nothing behind in it."""
    copy = tmp_path_factory.mktemp("ours") / "checkout"
    no_caches = shutil.ignore_patterns("__pycache__")
    for folder in ("nnunet_topo", "trainers"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=no_caches)
    for file in ("setup.py", "pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / file).exists():
            shutil.copy(ROOT / file, copy)
    return copy


@pytest.fixture(scope="session")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(checkout, tmp_path_factory.mktemp("our_wheel"))


def test_wheel_holds_every_file_of_the_package(checkout: Path, wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    package = checkout / "nnunet_topo"
    assert {f"nnunet_topo/{name}" for name in files_in(package) if "egg-info" not in name} <= held


@pytest.fixture(scope="session")
def nnunet_checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed nnU-Net as a project that can be installed in every way."""
    copy = tmp_path_factory.mktemp("nnunet") / "checkout"
    specification = importlib.util.find_spec("nnunetv2")
    assert specification is not None and specification.submodule_search_locations
    no_caches = shutil.ignore_patterns("__pycache__")
    shutil.copytree(specification.submodule_search_locations[0], copy / "nnunetv2", ignore=no_caches)
    (copy / "pyproject.toml").write_text(
        f'[project]\nname = "nnunetv2"\nversion = "{importlib.metadata.version("nnunetv2")}"\n'
        '[tool.setuptools.packages.find]\ninclude = ["nnunetv2*"]\n'
    )
    return copy


@pytest.fixture(scope="session")
def nnunet_wheel(nnunet_checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(nnunet_checkout, tmp_path_factory.mktemp("nnunet_wheel"))


@pytest.fixture(scope="session")
def everything_else(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Links to all installed packages but nnU-Net and ours, without their start-up files."""
    links = tmp_path_factory.mktemp("everything_else")
    for folder in map(Path, sys.path):
        if folder.name in ("site-packages", "dist-packages") and folder.is_dir():
            for entry in folder.iterdir():
                ours = entry.name.lower().startswith(("nnunet", "__editable__", "__pycache__"))
                if not ours and entry.suffix != ".pth" and not (links / entry.name).exists():
                    (links / entry.name).symlink_to(entry)
    return links


@pytest.fixture
def make_environment(tmp_path: Path, everything_else: Path) -> Callable[..., Environment]:
    def make(*what: str | Path) -> Environment:
        folder = tmp_path / f"environment_{len(list(tmp_path.iterdir()))}"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        python = folder / "bin" / "python"
        code = "import sysconfig; print(sysconfig.get_path('purelib'))"
        site = Path(subprocess.run([python, "-c", code], check=True, text=True, capture_output=True).stdout.strip())
        (site / "zz_everything_else.pth").write_text(f"{everything_else}\n")
        environment = Environment(python, site)
        if what:
            environment.install(*what)
        return environment

    return make


def users_folder(parent: Path, trainer: str) -> Path:
    """A folder with a trainer of the user's own."""
    folder = parent / f"folder_of_{trainer}"
    folder.mkdir(parents=True)
    (folder / f"{trainer}.py").write_text(
        "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n"
        f"class {trainer}(nnUNetTrainer): pass\n"
    )
    return folder


def is_ours(bases: list[str]) -> bool:
    return "nnunet_topo.nnunet.training.trainer.TopologyTrainer" in bases


# --- What nnU-Net finds (each starts torch and nnU-Net, about ten seconds) ---


@pytest.mark.slow  # half a minute and more where others are at work
def test_wheel_is_enough_even_if_nnunet_is_reinstalled_after_it(
    make_environment: Callable[..., Environment], nnunet_wheel: Path, wheel: Path, tmp_path: Path
) -> None:
    environment = make_environment(nnunet_wheel, wheel)
    environment.install("--force-reinstall", nnunet_wheel)
    mine = [users_folder(tmp_path, "nnUNetTrainerMineBefore"), users_folder(tmp_path, "nnUNetTrainerMineAfter")]
    ours = environment.site / "nnunet_topo" / "trainers"
    variants = ["nnUNetTrainerClDice_NoMirroring", "nnUNetTrainerClDice_20epochs_onlyMirror01"]
    plain = "nnUNetTrainer_SelfDistillation_30epochs"
    found = environment.look_up(
        *["nnUNetTrainerMineAfter", "nnUNetTrainerMineBefore", "nnUNetTrainer_1epoch", *OURS, *variants, plain],
        spawned=OURS[0],
        folders=os.pathsep.join([str(mine[0]), str(ours), str(mine[1])]),
    )
    for name in OURS:
        assert found[name][0] == f"{name}.{name}" and is_ours(found[name])
    assert is_ours(found["spawned"])
    for name in variants:
        assert found[name][1] == f"{OURS[0]}.{OURS[0]}" and any("irror" in base for base in found[name][2:])
    assert found[plain][1] == "nnunet_topo.nnunet.distillation.trainer.SelfDistillationTrainer"
    assert found["nnUNetTrainerMineBefore"][0] == "nnUNetTrainerMineBefore.nnUNetTrainerMineBefore"
    assert found["nnUNetTrainerMineAfter"][0] == "nnUNetTrainerMineAfter.nnUNetTrainerMineAfter"
    assert found["nnUNetTrainer_1epoch"][0].startswith("nnunetv2.training.nnUNetTrainer.variants.training_length")


def test_wheel_is_enough_beside_an_editable_nnunet_and_without_numba(
    make_environment: Callable[..., Environment], nnunet_checkout: Path, wheel: Path
) -> None:
    environment = make_environment(wheel)
    environment.install("-e", nnunet_checkout)
    assert not (environment.site / "nnunetv2").exists()
    (environment.site / "aa_missing.pth").write_text("import sys; sys.modules.update(numba=None)\n")
    found = environment.look_up(*OURS, "nnUNetTrainer_1epoch")
    for name in OURS:
        assert is_ours(found[name]), found[name]
    assert found["nnUNetTrainer_1epoch"][0].startswith("nnunetv2.")


def test_editable_installation_is_enough(
    make_environment: Callable[..., Environment], nnunet_wheel: Path, checkout: Path
) -> None:
    environment = make_environment(nnunet_wheel)
    environment.install("-e", checkout)
    assert environment.run("-c", PRINT_VARIABLE).stdout.strip() == str(checkout / "trainers")
    assert is_ours(environment.look_up(*OURS)[OURS[0]])
    environment.pip("uninstall", "-y", "nnunet_topo")
    assert environment.run("-c", PRINT_VARIABLE).stdout.strip() == "None"


def test_exported_folder_of_a_checkout_is_enough(
    make_environment: Callable[..., Environment], nnunet_wheel: Path, checkout: Path, tmp_path: Path
) -> None:
    environment = make_environment(nnunet_wheel)
    mine = users_folder(tmp_path, "nnUNetTrainerMine")
    folders = os.pathsep.join([str(checkout / "trainers"), str(mine)])
    found = environment.look_up("nnUNetTrainerMine", *OURS, spawned="nnunet_topo", folders=folders)
    assert found["nnUNetTrainerMine"][0] == "nnUNetTrainerMine.nnUNetTrainerMine"
    assert is_ours(found[OURS[0]]) and found["spawned"] == [str(checkout / "nnunet_topo" / "__init__.py")]


@pytest.mark.slow  # half a minute and more where others are at work
def test_uninstalling_leaves_nnunet_as_it_was(
    make_environment: Callable[..., Environment], nnunet_wheel: Path, wheel: Path
) -> None:
    environment = make_environment(nnunet_wheel)
    before = files_in(environment.site)
    environment.install(wheel)
    installed = files_in(environment.site)
    assert {name: value for name, value in installed.items() if name in before} == before
    assert all(name.startswith("nnunet_topo") for name in installed.keys() - before.keys())
    environment.run("-c", "import nnunet_topo._discovery")
    environment.pip("uninstall", "-y", "nnunet_topo")
    assert files_in(environment.site) == before
    assert not (environment.site / "nnunet_topo").exists()
    assert environment.run("-c", PRINT_VARIABLE).stdout.strip() == "None"
    found = environment.look_up("nnUNetTrainer_1epoch", *OURS)
    assert found["nnUNetTrainer_1epoch"][0].startswith("nnunetv2.")
    assert found[OURS[0]][0].startswith("RuntimeError: Could not find requested nnunet trainer")


# --- What happens at the start of Python (quick) ---


@pytest.mark.parametrize("mode", ["lenient", "strict", "compat"])
def test_every_editable_mode_sets_the_variable(
    make_environment: Callable[..., Environment], checkout: Path, tmp_path: Path, mode: str
) -> None:
    copy = shutil.copytree(checkout, tmp_path / "checkout")
    environment = make_environment()
    environment.install("--config-settings", f"editable_mode={mode}", "-e", copy)
    folder = Path(environment.run("-c", PRINT_VARIABLE).stdout.strip())
    assert (folder / "nnUNetTrainerClDice.py").samefile(copy / "trainers" / "nnUNetTrainerClDice.py")
    environment.run("-c", "import nnunet_topo.commands.trainers")


def test_own_folders_stay_first_and_ours_is_added_once(
    make_environment: Callable[..., Environment], wheel: Path, tmp_path: Path
) -> None:
    environment = make_environment(wheel)
    ours = str(environment.site / "nnunet_topo" / "trainers")
    mine = str(tmp_path / "mine")
    in_a_child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {PRINT_VARIABLE!r}], check=True)"
    for given, expected in {
        "": [ours],
        mine: [mine, ours],
        os.pathsep.join([ours, mine]): [ours, mine],
        ours + os.sep: [ours + os.sep],
        os.pathsep + mine + os.pathsep: [mine, ours],
    }.items():
        printed = environment.run("-c", in_a_child, folders=given).stdout.strip()
        assert printed.split(os.pathsep) == expected
    assert environment.run("-I", "-c", PRINT_VARIABLE).stdout.strip() == ours
    assert environment.run(environment.python.parent / "nnUNetv2_topo_trainers").stdout.strip() == ours


def test_start_imports_only_the_small_file_and_forgets_it(
    make_environment: Callable[..., Environment], wheel: Path
) -> None:
    modules = "import sys; print(sorted(sys.modules))"
    without, with_wheel = make_environment(), make_environment(wheel)
    loaded = [ast.literal_eval(environment.run("-c", modules).stdout) for environment in (without, with_wheel)]
    assert loaded[0] == loaded[1]
    times = [environment.run("-X", "importtime", "-c", "").stderr for environment in (without, with_wheel)]
    imported = [{line.split("|")[-1].strip() for line in text.splitlines()} for text in times]
    assert imported[1] - imported[0] == {"nnunet_topo", "nnunet_topo._discovery"}


def test_checkout_in_the_working_folder_comes_before_the_installed_package(
    make_environment: Callable[..., Environment], wheel: Path, checkout: Path
) -> None:
    printed = make_environment(wheel).run("-c", "import nnunet_topo; print(nnunet_topo.__file__)", cwd=checkout).stdout
    assert Path(printed.strip()) == checkout / "nnunet_topo" / "__init__.py"


@pytest.mark.parametrize("broken", ["package gone", "file gone", "trainers gone", "syntax error"])
def test_start_is_silent_when_the_package_is_half_removed(
    make_environment: Callable[..., Environment], wheel: Path, broken: str
) -> None:
    environment = make_environment(wheel)
    package = environment.site / "nnunet_topo"
    if broken == "package gone":
        shutil.rmtree(package)
    elif broken == "file gone":
        (package / "_discovery.py").unlink()
    elif broken == "trainers gone":
        shutil.rmtree(package / "trainers")
    else:
        (package / "_discovery.py").write_text("def (")
    finished = environment.run("-B", "-c", PRINT_VARIABLE + "; import sys; print('nnunet_topo' in sys.modules)")
    assert finished.stderr == "" and finished.stdout.split() == ["None", "False"]


def test_checkout_file_is_the_first_that_nnunet_imports_of_our_folder() -> None:
    names = [module.name for module in pkgutil.iter_modules([str(ROOT / "trainers")])]
    assert names[0] == "_nnunet_topo_checkout"
    assert set(OURS) <= set(names[1:])


def test_setup_can_be_imported_as_nnunet_does_for_the_root_of_a_checkout(
    make_environment: Callable[..., Environment], checkout: Path
) -> None:
    finished = make_environment().run("-c", "import setup; print(setup.BuildPy.__name__)", cwd=checkout)
    assert finished.stdout == "BuildPy\n"
