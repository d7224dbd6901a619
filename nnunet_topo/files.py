"""Files that are either complete or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nnunet_topo.whole_files import require_whole

__all__ = ["files_of", "require_name", "require_whole", "write_json", "written_at_once"]

_RESERVED = {"con", "prn", "aux", "nul", *(f"{device}{number}" for device in ("com", "lpt") for number in "123456789")}
_LONGEST_NAME = 200  # bytes, of 255 that most file systems allow; endings and temporary names come on top


@contextmanager
def written_at_once(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside ``path`` and rename it into place when the block ends well; otherwise remove it.

    The temporary name keeps the suffix, because writers choose the format by it.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write ``content`` as indented JSON, at once."""
    with written_at_once(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def files_of(folder: Path, ending: str) -> list[Path]:
    """The files of a folder with an ending, sorted, without folders and hidden files such as the ``._`` of macOS.

    ValueError where the folder does not exist.
    """
    if not folder.is_dir():
        raise ValueError(f"The folder {folder} does not exist or is not a folder.")
    return sorted(file for file in folder.iterdir()
                  if file.name.endswith(ending) and not file.name.startswith(".") and file.is_file())


def require_name(name: str) -> None:
    """Raise ValueError for what cannot be the name of one file or folder, not hidden, on every system."""
    wrong = "it is empty or begins with a dot" if not name or name.startswith(".") \
        else "it ends in a dot or a space" if name != name.rstrip(". ") \
        else "it holds a slash or another character that file systems do not take" \
        if any(letter in '<>:"/\\|?*' or not letter.isprintable() for letter in name) \
        else "Windows keeps it for a device" if name.partition(".")[0].rstrip().lower() in _RESERVED \
        else "it is too long" if len(os.fsencode(name)) > _LONGEST_NAME else ""
    if wrong:
        raise ValueError(f"{name!r} cannot be the name of a folder: {wrong}. Use letters, digits, - and _.")
