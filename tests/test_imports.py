"""What may be imported without what."""

from __future__ import annotations

import subprocess
import sys


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
