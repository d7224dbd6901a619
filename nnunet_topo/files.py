"""Files that are either complete or not there."""

from __future__ import annotations

import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_topo.disk import UNFINISHED, NotWrittenError, require_unicode, writing
from nnunet_topo.whole_files import require_whole

if TYPE_CHECKING:
    import SimpleITK

__all__ = ["NotWrittenError", "files_of", "is_empty", "require_name", "require_whole", "require_written",
           "unfinished_folder", "write_image", "write_json", "written_at_once"]
_A_DAY = 24 * 60 * 60  # in seconds
_RESERVED = {"con", "prn", "aux", "nul", *(f"{device}{number}" for device in ("com", "lpt") for number in "123456789")}
_LONGEST_NAME = 200  # bytes, of 255 that most file systems allow; endings come on top


@contextmanager
def written_at_once(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path and rename it to ``path`` when the block ends well; otherwise remove it.

    The temporary file has the same name, by which writers choose the format, in an :func:`unfinished_folder`. What a
    full disk and the like keep from being written raises NotWrittenError with ``path``.
    """
    path = Path(path)
    with writing(path), unfinished_folder(path.parent) as folder, writing(path):  # the inner one before it is removed
        yield folder / path.name
        os.replace(folder / path.name, path)


@contextmanager
def unfinished_folder(parent: Path) -> Iterator[Path]:
    """A hidden folder for what is being written, removed at the end; those that killed processes left are removed too.

    It is a folder since nnU-Net takes each file of a folder of images, also a hidden one, for a case.
    """
    remove_leftovers(parent)
    folder = Path(tempfile.mkdtemp(prefix=f"{UNFINISHED}{_place()}-{os.getpid()}-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@cache
def remove_leftovers(parent: Path) -> None:
    """Once a command, for listing a folder for each file would take long."""
    for folder in parent.glob(f"{UNFINISHED}*"):
        if _is_left(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_left(folder: Path) -> bool:
    """Whether nobody writes into it any more: its process has ended, or nothing has changed for a day.

    Whether a process of another machine or container lives cannot be seen from here; its number may be in use again.
    """
    place, _, number = folder.name.removeprefix(UNFINISHED).rpartition("-")[0].rpartition("-")
    if place == _place() and number.isdigit() and os.name != "nt":  # where signal 0 would be Ctrl-C
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            return True
        except OSError:  # it belongs to another user
            pass
    try:
        newest = max(entry.stat().st_mtime for entry in (folder, *folder.rglob("*")))
    except OSError:  # it is being removed
        return False
    return time.time() - newest > _A_DAY


@cache
def _place() -> str:
    """Names where numbers of processes mean the same: a machine since its start, and a container on it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
        return f"{boot}{os.stat('/proc/self/ns/pid').st_ino:x}"
    except OSError:  # not Linux
        return "".join(character for character in platform.node() if character.isalnum())


def write_image(image: SimpleITK.Image, path: str | os.PathLike[str], **options: Any) -> None:
    """Write an image at once, by SimpleITK with its options.

    SimpleITK says nothing where a disk is full and a NIfTI file is cut off by that, so the file is looked at again.
    """
    import SimpleITK

    with written_at_once(path) as temporary:
        SimpleITK.WriteImage(image, str(temporary), **options)
        require_written(temporary, Path(path))


def require_written(file: Path, path: Path) -> None:
    """RuntimeError where a writer, which may say nothing of a full disk, left ``file`` for ``path`` cut off."""
    try:
        require_whole(file)
    except ValueError as error:
        raise RuntimeError(f"{path} was not written as a whole; check its disk.") from error


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write ``content`` as indented JSON, at once."""
    with written_at_once(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def files_of(folder: Path, ending: str) -> list[Path]:
    """The files of a folder with an ending, sorted, without folders and hidden files such as the ``._`` of macOS.

    ValueError where the folder does not exist or a name is not UTF-8.
    """
    if not folder.is_dir():
        raise ValueError(f"The folder {folder} does not exist or is not a folder.")
    files = sorted(file for file in folder.iterdir()
                   if file.name.endswith(ending) and not file.name.startswith(".") and file.is_file())
    for file in files:
        require_unicode(file.name)
    return files


def is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing but hidden files, such as the ``.DS_Store`` of macOS, or is not there."""
    return not folder.exists() or (folder.is_dir() and all(file.name.startswith(".") for file in folder.iterdir()))


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
