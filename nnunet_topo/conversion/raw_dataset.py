"""New data sets in nnU-Net's folders: all of them are complete, or none is there."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nnunet_topo.disk import require_writable, writing
from nnunet_topo.files import unfinished_folder
from nnunet_topo.nnunet_folders import FOLDERS, misread

_NAME = re.compile(r"[A-Za-z0-9]+")
_HIGHEST = 999


def dataset_name(number: int, name: str) -> str:
    """``Dataset501_Name``; ValueError for a number or a name that nnU-Net does not take."""
    if not 1 <= number <= _HIGHEST:
        raise ValueError(f"nnU-Net numbers data sets from 1 to {_HIGHEST}, and {number} is not one of these; choose "
                         "another with -d.")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a name of a data set; use letters and digits alone.")
    return f"Dataset{number:03d}_{name}"


Check = Callable[[Path], Any]  # of a data set's folder; raises ValueError


@contextmanager
def new_datasets(names: Sequence[str], check: Check | None = None) -> Iterator[dict[str, Path]]:
    """Empty folders of the data sets to fill; they are moved into ``nnUNet_raw`` when the block ends well.

    ``check`` looks at each filled folder before that. Otherwise nothing is left behind. Raises ValueError where
    ``nnUNet_raw`` is not set or not the folder that was meant, and FileExistsError where one of nnU-Net's folders
    already has a data set of such a number.
    """
    if not os.environ.get("nnUNet_raw"):
        raise ValueError("nnUNet_raw is not set, so it is not known where data sets belong. Set it, e.g. "
                         "export nnUNet_raw=/path/to/nnUNet_raw.")
    for variable in FOLDERS:
        if wrong := misread(variable):
            raise ValueError(f"{variable} is not the folder that was meant: {wrong[0]}. Set it again: {wrong[1]}")
    raw = Path(os.environ["nnUNet_raw"])
    require_writable(raw)
    for name in names:
        _require_free_number(name)
    moved: list[Path] = []
    with unfinished_folder(raw) as partial, writing(raw / names[0]):
        try:
            for name in names:
                (partial / name).mkdir()
            yield {name: partial / name for name in names}
            for name in names:
                if check is not None:
                    check(partial / name)
            for name in names:
                (partial / name).rename(raw / name)
                moved.append(raw / name)
        except BaseException:
            for folder in moved:
                shutil.rmtree(folder, ignore_errors=True)
            raise


def _require_free_number(name: str) -> None:
    prefix = name.partition("_")[0]
    for variable in FOLDERS:
        folder = Path(os.environ[variable]) if os.environ.get(variable) else None
        for found in sorted(folder.glob(f"{prefix}_*")) if folder else []:
            raise FileExistsError(f"{found} exists, so the number {int(prefix[-3:])} is in use. Choose another with "
                                  "-d, or remove that folder first. Nothing was written.")
