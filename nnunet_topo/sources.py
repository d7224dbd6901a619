"""What code computes a result, as a text that stays the same as long as that code does."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

_PACKAGE = __name__.partition(".")[0]


@lru_cache
def code_fingerprint(*modules: str) -> str:
    """A hash of the code of modules of this package, and of all others of it that they import; see :func:`code_of`."""
    code = code_of(*modules)
    return hashlib.sha256("\n".join(f"{name} {code[name]}" for name in sorted(code)).encode()).hexdigest()[:16]


def code_of(*modules: str) -> dict[str, str]:
    """The code of modules of this package and of all others of it that they import, at the top or within functions.

    Comments, docstrings and layout are left out, and so is what a package's ``__init__`` imports beside the names that
    are asked of it: the code changes where results may change, and seldom elsewhere.
    """
    code: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in code:
            tree = _tree(name)
            code[name] = ast.dump(tree)
            waiting += _imported(tree)
    return code


def _tree(module: str) -> ast.Module:
    """A module without docstrings."""
    tree = ast.parse(Path(_file(module) or "").read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return tree


def _file(module: str) -> str | None:
    """Where a module of this package lies, or None where there is none of the name."""
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:  # what should be a package is a module
        return None
    return spec.origin if spec else None


def _imported(tree: ast.Module) -> Iterator[str]:
    """The modules of this package that a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith(f"{_PACKAGE}."))
        elif isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(f"{_PACKAGE}."):
            for alias in node.names:
                yield _home(str(node.module), alias.name)


def _home(module: str, name: str) -> str:
    """The module that defines what is imported by a name from a module, which may be a package that passes it on."""
    if _file(f"{module}.{name}"):
        return f"{module}.{name}"
    if str(_file(module)).endswith("__init__.py"):
        for node in _tree(module).body:
            if isinstance(node, ast.ImportFrom) and any((alias.asname or alias.name) == name for alias in node.names):
                return _home(str(node.module), name)
    return module
