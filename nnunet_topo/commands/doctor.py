"""``nnUNetv2_topo_doctor``: what is installed, what nnU-Net finds, and how to fix each thing that is wrong."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.metadata
import io
import os
import platform
import re
import shlex
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import nnunet_topo
from nnunet_topo._discovery import VARIABLE, same_folder, trainers_folder
from nnunet_topo.commands.guard import guarded
from nnunet_topo.nnunet_folders import FOLDERS, misread

EXPORT = (
    f'export {VARIABLE}="${VARIABLE}{os.pathsep}$(nnUNetv2_topo_trainers)" '
    f'(PowerShell: $Env:{VARIABLE} += "{os.pathsep}$(nnUNetv2_topo_trainers)")'
)


@dataclass(frozen=True)
class Check:
    """The outcome of one look; ``needed`` where training cannot start unless it is ``ok``."""

    name: str
    ok: bool
    detail: str
    fix: str = ""
    needed: bool = True


def check_package(name: str, module: str, *, minimum: tuple[int, ...] = ()) -> Check:
    """The package is installed, can be imported and is not older than ``minimum``."""
    at_least = f'"{name}>={".".join(map(str, minimum))}"' if minimum else name
    try:
        imported = import_quietly(module)
    except ModuleNotFoundError as error:
        if error.name == module:
            return Check(name, False, "not installed", f"Install it: pip install {at_least}")
        fix = f"Install what it misses: pip install {error.name}"
        return Check(name, False, f"broken: {reason(error)}", fix)
    except Exception as error:  # a broken installation may raise anything
        fix = f"Install it again: pip install --force-reinstall {at_least}"
        return Check(name, False, f"cannot be imported: {reason(error)}", fix)
    version = version_of(name, imported)
    if minimum and tuple(map(int, re.findall(r"\d+", version)[: len(minimum)] or minimum)) < minimum:
        return Check(name, False, f"{version} is too old", f"Update it: pip install --upgrade {at_least}")
    return Check(name, True, version)


def check_device() -> Check:
    """What torch can train on."""
    try:
        torch: Any = import_quietly("torch")
    except Exception as error:
        return Check("device", False, f"unknown without torch: {reason(error)}", "Mend torch first")
    threads = f"{torch.get_num_threads()} CPU threads"
    if torch.cuda.is_available():
        gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
        return Check("device", True, ", ".join(f"{gpu.name} ({gpu.total_memory / 2**30:.0f} GiB)" for gpu in gpus))
    if torch.backends.mps.is_available():
        return Check("device", True, f"MPS (-device mps), {threads}")
    fix = "Train with -device cpu, or, if there is an NVIDIA GPU, install the torch for its driver (pytorch.org)"
    return Check("device", False, f"no GPU, {threads}", fix, needed=False)


def check_skeletons() -> Check:
    """What computes skeletons on the first GPU, or on the CPU where there is none."""
    try:
        torch: Any = import_quietly("torch")
        if not torch.cuda.is_available():
            return Check("skeletons", True, "by numba's kernels, on the CPU")
        device: Any = import_quietly("nnunet_topo.skeletons._device")
        with quiet(io.StringIO()):
            why_not = device.why_not_triton(torch.device("cuda", 0))
    except Exception as error:
        return Check("skeletons", False, f"unknown without torch: {reason(error)}", "Mend torch first")
    if not why_not:
        return Check("skeletons", True, "by Triton's kernels, on the GPU")
    detail = f"by torch operations, several times slower than Triton's kernels ({why_not.splitlines()[0]})"
    fix = f"pip install triton, or, where it is installed, {device.FIX}"
    return Check("skeletons", False, detail, fix, needed=False)


def check_path(variable: str, *, must_write: bool = True) -> Check:
    """The environment variable is set to a folder of its own that exists and can be written to."""
    folder = os.environ.get(variable)
    if not folder:
        fix = f'export {variable}="/path/to/{variable}" (PowerShell: $Env:{variable} = "C:/path/to/{variable}")'
        return Check(variable, False, "not set", fix)
    if wrong := misread(variable):
        return Check(variable, False, *wrong)
    for other in FOLDERS:
        if other != variable and os.environ.get(other) and same_folder(folder, os.environ[other]):
            fix = f"Let {variable} and {other} point to two folders; nnU-Net mixes up their files in one"
            return Check(variable, False, f"{folder} is {other} too", fix)
    if not os.path.isdir(folder):
        fix = f"mkdir -p {shlex.quote(folder)}, or let {variable} point to another folder"
        return Check(variable, False, f"{folder} is not a folder", fix)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        fix = f"Give yourself write permission, or let {variable} point to a folder of your own"
        return Check(variable, False, f"{folder} cannot be written to ({error.strerror})", fix, needed=must_write)
    if not os.path.isabs(folder):
        fix = f"export {variable}={shlex.quote(os.path.abspath(folder))}"
        detail = f"{folder} depends on the folder in which a command is started; here it is {os.path.abspath(folder)}"
        return Check(variable, False, detail, fix, needed=False)
    return Check(variable, True, folder)


def check_discovery() -> Check:
    """The folder of our trainers stands in nnUNet_extTrainer, and who put it there."""
    folder = trainers_folder()
    entries = [entry for entry in os.environ.get(VARIABLE, "").split(os.pathsep) if entry.strip()]
    if not any(same_folder(entry, folder) for entry in entries):
        detail = f"{folder} is missing in {os.environ.get(VARIABLE) or 'the unset variable'}"
        return Check(VARIABLE, False, detail, f"pip install nnunet_topo into this Python, or {EXPORT}", needed=False)
    start_files = [Path(entry, "nnunet_topo.pth") for entry in sys.path if Path(entry, "nnunet_topo.pth").is_file()]
    installed = same_folder(os.path.dirname(folder), os.path.dirname(nnunet_topo.__file__))
    kind = "installation" if installed else "editable installation"
    return Check(VARIABLE, True, f"{folder} (by {f'the {kind}: {start_files[0]}' if start_files else 'your export'})")


def check_trainer(name: str) -> Check:
    """nnU-Net's own lookup finds the trainer, and finds ours rather than another of the same name."""
    try:
        find_objects: Any = import_quietly("nnunetv2.utilities.find_objects")
    except Exception as error:
        return Check(name, False, f"unknown without nnunetv2: {reason(error)}", "Mend nnunetv2 first")
    printed = io.StringIO()
    try:
        with quiet(printed):
            module = find_objects.recursive_find_trainer_class_by_name(name).__module__
    except (Exception, SystemExit) as error:  # the lookup imports every file in every folder of nnUNet_extTrainer
        if str(error).startswith("Could not find requested nnunet trainer"):
            return Check(name, False, "not found by nnU-Net", f"pip install nnunet_topo into this Python, or {EXPORT}")
        looked_at = re.findall(r"(?<=Searching in: ).*|(?<=Inspecting module: ).*", printed.getvalue())
        where = f" at {looked_at[-1]}" if looked_at else ""
        fix = f"Fix or remove the file that fails, or take its folder out of {VARIABLE}"
        return Check(name, False, f"nnU-Net's lookup stops{where}: {reason(error)}", fix)
    if module.startswith("nnunetv2."):
        fix = "Update nnunet_topo (pip install --upgrade nnunet_topo), for until then -tr gives nnU-Net's trainer"
        return Check(name, False, f"nnU-Net prefers its own {module}", fix)
    file = os.path.join(*module.split(".")) + ".py"
    folders = [entry for entry in os.environ[VARIABLE].split(os.pathsep) if os.path.isfile(os.path.join(entry, file))]
    if folders and not same_folder(folders[0], trainers_folder()):
        fix = f"Rename that trainer, or take its folder out of {VARIABLE}"
        return Check(name, False, f"another of this name comes first, in {folders[0]}", fix)
    return Check(name, True, "found by nnU-Net")


def check_numba_cache() -> Check:
    """Where compiled kernels are kept, and whether there is room for them."""
    try:
        jit: Any = import_quietly("nnunet_topo.kernels.jit")
        return Check("numba cache", True, jit.try_cache(), needed=False)
    except Exception as error:
        detail = f"none, so that each start compiles the kernels again: {reason(error)}"
        fix = (
            'Free space there, or export NUMBA_CACHE_DIR="/a/folder/of/yours" '
            '(PowerShell: $Env:NUMBA_CACHE_DIR = "C:/a/folder/of/yours")'
        )
        return Check("numba cache", False, detail, fix, needed=False)


def our_trainers() -> list[str]:
    """The names of the trainers in :func:`trainers_folder`."""
    return sorted(file.stem for file in Path(trainers_folder()).glob("nnUNetTrainer*.py"))


def import_quietly(module: str) -> ModuleType:
    """Import by name, as what is missing is to be reported, without what the import prints."""
    with quiet(io.StringIO()):
        return importlib.import_module(module)


@contextlib.contextmanager
def quiet(printed: io.StringIO) -> Iterator[None]:
    """Catch what is printed, and drop warnings."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        warnings.simplefilter("ignore")
        yield


def version_of(name: str, module: ModuleType) -> str:
    """The installed version, or the module's own where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(module, "__version__", "of unknown version"))


def reason(error: BaseException) -> str:
    """The first line of an exception with its type."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def all_checks() -> Iterator[Check]:
    """Every check, in the order in which one would fix them."""
    yield Check("python", True, f"{platform.python_version()} ({sys.executable})")
    yield Check("nnunet_topo", True, f"{nnunet_topo.__version__} ({os.path.dirname(nnunet_topo.__file__)})")
    checks: list[Callable[[], Check]] = [
        lambda: check_package("torch", "torch"),
        lambda: check_package("nnunetv2", "nnunetv2", minimum=(2, 8)),
        lambda: check_package("SimpleITK", "SimpleITK"),
        lambda: check_package("numba", "numba"),
        check_numba_cache,
        check_device,
        check_skeletons,
        lambda: check_path("nnUNet_raw", must_write=False),
        lambda: check_path("nnUNet_preprocessed"),
        lambda: check_path("nnUNet_results"),
        check_discovery,
    ]
    for check in checks:
        yield check()
    names = our_trainers()
    if not names:
        fix = "pip install --force-reinstall --no-deps nnunet_topo"
        yield Check("trainers", False, f"there is no trainer in {trainers_folder()}", fix)
    for name in names:
        yield check_trainer(name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print all checks; 1 where training could not start, otherwise 0."""
    argparse.ArgumentParser(
        prog="nnUNetv2_topo_doctor",
        description="Looks at everything that training with nnunet_topo needs: versions, device, numba's cache, "
        "nnU-Net's three paths, and whether nnU-Net finds our trainers. Each thing wrong comes with how to fix it. "
        "[WRONG] keeps training from starting, [note] does not. Exit code 1 if anything is [WRONG].",
    ).parse_args(arguments)
    return guarded(_look, stopped="Nothing was changed.")


def _look() -> int:
    wrong, last_fix = 0, ""
    for check in all_checks():
        mark = "[ok]" if check.ok else "[WRONG]" if check.needed else "[note]"
        print(f"{mark:8}{check.name:20} {check.detail}", flush=True)
        if check.fix and check.fix != last_fix:
            print(f"{'':8}-> {check.fix}", flush=True)
        wrong += not check.ok and check.needed
        last_fix = check.fix
    print(f"\n{wrong} thing(s) keep training from starting." if wrong else "\nTraining can start.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
