"""What may be imported without what."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

import nnunet_topo

PACKAGE = Path(nnunet_topo.__file__).parent
ROOMS = [  # a room imports from those in the rows above its own, and from single files of the package's folder
    {"kernels", "statistics", "fingerprint"},
    {"skeletons"},
    {"homology"},
    {"centrelines"},
    {"losses", "metrics", "registration", "conversion", "synthetic"},
    {"nnunet"},
    {"postprocessing", "report"},
    {"study"},
    {"commands"},
]
ROW = {room: row for row, rooms in enumerate(ROOMS) for room in rooms}


def imports() -> dict[str, set[str]]:
    """For each module of the package the modules of the package that it names in imports, wherever these stand."""
    files = {".".join(("nnunet_topo", *path.relative_to(PACKAGE).with_suffix("").parts)): path
             for path in PACKAGE.rglob("*.py") if "trainers" not in path.parts}
    modules = {name.removesuffix(".__init__"): path for name, path in files.items()}
    found: dict[str, set[str]] = {}
    for name, path in modules.items():
        found[name] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nnunet_topo"):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                found[name] |= {whole if whole in modules else node.module for whole in names}
            elif isinstance(node, ast.Import):
                found[name] |= {alias.name for alias in node.names if alias.name.startswith("nnunet_topo")}
    return found


def room(module: str) -> str:
    return module.split(".")[1] if module.count(".") else ""


def imported(modules: str) -> set[str]:
    """The top-level packages that a new process has after an import."""
    code = f"import sys, {modules}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_the_package_imports_nothing_heavy():
    # it is imported at each start of Python, by nnunet_topo.pth
    assert not imported("nnunet_topo") & {"torch", "numpy", "numba", "SimpleITK", "nnunetv2"}


def test_what_method_developers_use_imports_no_nnunet():
    packages = imported(", ".join(f"nnunet_topo.{name}" for name in (
        "losses", "skeletons", "homology", "metrics", "registration")))
    assert "torch" in packages and "nnunetv2" not in packages


def test_every_room_has_its_row():
    assert set(ROW) == {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - {"trainers"}


def test_rooms_import_only_from_the_rows_above_them():
    wrong = [f"{module} imports {other}" for module, others in imports().items() if room(module) in ROW
             for other in others if room(other) in ROW and room(other) != room(module)
             and ROW[room(other)] >= ROW[room(module)]]
    assert not wrong


def test_single_files_import_no_room():
    wrong = [f"{module} imports {other}" for module, others in imports().items() if room(module) not in ROW
             for other in others if room(other) in ROW]
    assert not wrong


def test_no_room_imports_the_underscored_modules_of_another():
    wrong = [f"{module} imports {other}" for module, others in imports().items() for other in others
             if room(module) != room(other) and any(part.startswith("_") for part in other.split(".")[2:])]
    assert not wrong


def test_no_modules_import_each_other_in_a_circle():
    # a package's own names come from its modules, so that a module that asks the package for them would be a circle
    TopologicalSorter(imports()).prepare()


def test_every_public_name_is_there():
    for init in PACKAGE.rglob("__init__.py"):
        if "trainers" not in init.parts:
            package = import_module(".".join(("nnunet_topo", *init.parent.relative_to(PACKAGE).parts)))
            assert all(hasattr(package, name) for name in getattr(package, "__all__", ()))


def test_no_function_hides_the_module_of_its_name():
    """Otherwise ``nnunet_topo.metrics.cl_dice`` is the function for one reader and the module for another."""
    hidden = []
    for init in PACKAGE.rglob("__init__.py"):
        modules = {entry.stem for entry in init.parent.iterdir() if entry.suffix == ".py" or entry.is_dir()}
        for node in ast.walk(ast.parse(init.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and "trainers" not in init.parts:
                hidden += [f"{node.module} has {alias.name}" for alias in node.names
                           if (alias.asname or alias.name) in modules]
    assert not hidden


@pytest.mark.parametrize("module", ["nnunet.evaluation.summary", "statistics", "report.comparison"])
def test_what_reads_results_imports_no_nnunet(module):
    assert "nnunetv2" not in imported(f"nnunet_topo.{module}")


def test_only_the_nnunet_room_imports_nnunet():
    wrong = [str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")
             if path.relative_to(PACKAGE).parts[0] not in ("nnunet", "trainers")
             for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
             if isinstance(node, (ast.Import, ast.ImportFrom))
             and any(name.split(".")[0] == "nnunetv2" for name in
                     ([node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]))]
    assert not wrong


def test_a_prediction_stands_before_what_it_is_compared_with():
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            elif isinstance(node, ast.ClassDef):
                names = [statement.target.id for statement in node.body
                         if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)]
            else:
                continue
            firsts = {"prediction", "predictions"} | ({"probabilities", "logits"} if "losses" in path.parts else set())
            places = [name in firsts for name in names if name in {*firsts, "reference", "references", "target"}]
            if any(places) and not places[0]:
                wrong.append(f"{path.relative_to(PACKAGE)}: {node.name}")
    assert not wrong
