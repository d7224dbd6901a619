"""The machine code that is kept on disk is that of the sources, whole, or not used."""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nnunet_topo

PACKAGE = Path(nnunet_topo.__file__).parent
INNER = """
from nnunet_topo.kernels.jit import jit

FACTOR = {factor}


@jit
def scaled(x):
    return FACTOR * x
"""
OUTER = """
from nnunet_topo.kernels.inner import scaled
from nnunet_topo.kernels.jit import jit


@jit
def total(n):
    result = 0
    for i in range(n):
        result += scaled(i)
    return result
"""
RUN = "from nnunet_topo.kernels.outer import total; print(total(4), len(total.stats.cache_hits))"
ON_A_FULL_DISK = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000));"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of two kernels in two files, one of which calls the other, whose machine code is kept beside them."""
    folder = tmp_path_factory.mktemp("compiled")
    package = folder / "nnunet_topo"
    shutil.copytree(PACKAGE / "kernels", package / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    for path in PACKAGE.glob("*.py"):
        shutil.copy(path, package)
    (package / "kernels" / "inner.py").write_text(INNER.format(factor=4))
    (package / "kernels" / "outer.py").write_text(OUTER)
    assert run(folder)[0] == ["24", "0"] and len(kept(folder)) == 2
    return folder


@pytest.fixture
def copy(compiled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(compiled, tmp_path / "copy"))


def run(folder: Path, code: str = RUN, **variables: str) -> tuple[list[str], str]:
    """What a new process prints, as words, and what it says on stderr."""
    without = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    finished = subprocess.run([sys.executable, "-c", code], cwd=folder, env=without | variables, capture_output=True,
                              text=True)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.split(), finished.stderr


def kept(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.kernel"))


def test_a_kernel_runs_the_new_code_of_a_kernel_in_another_file(copy):
    first = kept(copy)
    assert run(copy)[0] == ["24", "1"] and kept(copy) == first
    inner = copy / "nnunet_topo" / "kernels" / "inner.py"
    stamp = inner.stat()
    inner.write_text(INNER.format(factor=3))
    os.utime(inner, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # of the same size, too
    assert run(copy, PYTHONDONTWRITEBYTECODE="1", PYTHONPYCACHEPREFIX=os.devnull)[0] == [str(3 * (0 + 1 + 2 + 3)), "0"]
    assert len(kept(copy)) == 2 and not set(kept(copy)) & set(first)  # what is old is removed


def test_sources_edited_while_a_process_runs_do_not_keep_code_under_the_wrong_name(copy):
    for path in kept(copy):
        path.unlink()
    inner = copy / "nnunet_topo" / "kernels" / "inner.py"
    edit = f"import pathlib, nnunet_topo.kernels.jit as j; j.sources_at_import(); p = pathlib.Path({str(inner)!r});"
    edit += "p.write_text(p.read_text().replace('= 4', '= 3'));"
    assert run(copy, edit + RUN)[0][0] == "18"
    assert kept(copy) == []


def test_damaged_files_are_compiled_again_and_replaced(copy):
    inner, outer = kept(copy)
    whole = outer.read_bytes()
    inner.write_bytes(inner.read_bytes()[:-100])
    outer.write_bytes(whole[:500] + bytes([whole[500] ^ 1]) + whole[501:])
    assert run(copy)[0] == ["24", "0"]
    assert kept(copy) == [inner, outer]
    for content in (inner.read_bytes(), outer.read_bytes()):
        assert hashlib.sha256(content[32:]).digest() == content[:32]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit on the size of files")
def test_on_a_full_disk_kernels_are_compiled_without_being_kept_and_it_is_said_once(copy):
    for path in kept(copy):
        path.unlink()
    tried = "\nfrom nnunet_topo.kernels.jit import try_cache\ntry: try_cache()\nexcept OSError: print('full')"
    printed, said = run(copy, ON_A_FULL_DISK + RUN + tried)
    assert printed == ["24", "0", "full"]
    assert said.count("UserWarning: Compiled kernels cannot be kept in") == 1 and "set NUMBA_CACHE_DIR" in said
    assert kept(copy) == [] and not list(copy.rglob(".nnunet_topo-*"))


def test_a_folder_that_the_user_names_is_used(copy, tmp_path):
    assert run(copy, NUMBA_CACHE_DIR=str(tmp_path / "mine"))[0] == ["24", "0"]
    assert len(kept(tmp_path / "mine")) == 2


def test_without_compilation_kernels_are_plain_functions(copy):
    code = "from nnunet_topo.kernels.outer import total; print(total(4))"
    assert run(copy, code, NUMBA_DISABLE_JIT="1")[0] == ["24"]


def test_kernels_are_compiled_in_one_place_and_see_code_and_constants_of_files_with_kernels_only():
    sources = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    names = {".".join(["nnunet_topo", *path.relative_to(PACKAGE).with_suffix("").parts]): path for path in sources}
    assert [path.name for path, source in sources.items() if "cache=True" in source] == []
    with_kernels = {path for path, source in sources.items() if "jit import jit" in source}
    assert len(with_kernels) > 20
    for path in with_kernels - {PACKAGE / "kernels" / "jit.py"}:
        for node in ast.parse(sources[path]).body:
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("nnunet_topo"):
                assert names.get(node.module) in with_kernels, f"{path.name} imports from {node.module}"
