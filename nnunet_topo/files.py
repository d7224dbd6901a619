"""Files that are either complete or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nnunet_topo.whole_files import require_whole

__all__ = ["files_of", "require_whole", "write_json", "written_at_once"]


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
