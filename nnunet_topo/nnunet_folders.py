"""nnU-Net's three folders, which environment variables name."""

from __future__ import annotations

import os
import shlex

FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


def misread(variable: str) -> tuple[str, str] | None:
    """What makes nnU-Net take a variable for another folder than was meant, and what to do; None where nothing does."""
    path = os.environ.get(variable, "")
    meant = path.strip().strip("\"'")
    if meant != path:
        what = f"{path!r} has quotes or spaces around it, which nnU-Net takes for a part of the name"
        return what, f"export {variable}={shlex.quote(meant)}"
    if path.startswith("~"):
        what = f"{path} begins with ~, which a shell replaces only without quotes; nnU-Net makes a folder named ~"
        return what, f"export {variable}={shlex.quote(os.path.expanduser(path))}"
    return None
