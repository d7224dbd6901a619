"""Why a file could not be written or read, in a sentence; many writers tell neither the file nor the reason."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNFINISHED = ".nnunet_topo-"  # hidden folders of what is being written begin with this
_OF_DISKS = {
    errno.ENOSPC: "the disk of {folder} is full. Make room there, or choose a folder on another disk",
    errno.EDQUOT: "your quota on the disk of {folder} is used up. Make room there, or choose a folder on another disk",
    errno.EFBIG: "it is larger than its disk, or a limit of this shell (ulimit -f), allows. Choose a folder on another "
                 "disk, or lift the limit",
    errno.EROFS: "the disk of {folder} can only be read. Choose a folder on another disk",
    errno.EIO: "the disk of {folder} fails. Choose a folder on another disk",
}
_OF_PATHS = {
    errno.EACCES: "there is no permission. Change it, or choose another folder",
    errno.EPERM: "there is no permission. Change it, or choose another folder",
    errno.ENAMETOOLONG: "the path or a name in it is too long (most disks take 255 bytes a name). Choose a shorter one",
    errno.ENOTDIR: "a part of this path is a file, not a folder. Choose another path",
    errno.EEXIST: "a file is there, where a folder is needed. Choose another path",
    errno.EISDIR: "a folder is there, where a file is needed. Choose another path, or remove it",
    errno.ENOENT: "it does not exist. Check the path",
}


class NotWrittenError(OSError):
    """What could not be written, and why."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(f"{path} could not be written: {_reason(path, error)}.")
        self.path, self.error = path, error
        self.errno, self.strerror = error.errno, error.strerror

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple:
        return type(self), (self.path, self.error)


def in_words(error: OSError) -> str:
    """A sentence about the file that an error names, or the error's own words where it names none."""
    name = error.filename2 or error.filename
    if error.errno is None or not isinstance(name, (str, bytes)):
        return str(error)
    path = Path(os.fsdecode(name))
    return f"{path} cannot be used: {_reason(path, error)}."


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise NotWrittenError with ``path``, a file or folder, for what a writer in the block meets on the disk.

    The writers of SimpleITK, torch and blosc2 raise RuntimeError for everything, so that the disk itself is asked.
    Errors of other files, such as those that are read, pass.
    """
    try:
        yield
    except NotWrittenError as error:
        if any(part.startswith(UNFINISHED) for part in error.path.parts):  # a part of what is written here as a whole
            raise NotWrittenError(path, error.error) from error
        raise
    except OSError as error:
        name = error.filename2 or error.filename
        ours = name is None or (isinstance(name, str) and Path(name).is_relative_to(path.parent))
        if error.errno is None or not (ours or error.errno in _OF_DISKS):
            raise
        raise NotWrittenError(path, error) from error
    except RuntimeError as error:
        obstacle = _obstacle(_folder(path))
        if obstacle is None:
            raise
        raise NotWrittenError(path, obstacle) from error


def require_unicode(name: str) -> None:
    """ValueError for the name of a file that is not UTF-8."""
    if any("\udc80" <= letter <= "\udcff" for letter in name):
        raise ValueError(f"The name {os.fsencode(name)!r} is not UTF-8, which the readers of images need. Rename it, "
                         "e.g. with convmv.")


def require_writable(folder: Path) -> None:
    """Make a folder where there is none, and NotWrittenError where files cannot be written into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotWrittenError(folder, error) from error
    obstacle = _obstacle(folder, size=1)
    if obstacle is not None:
        raise NotWrittenError(folder, obstacle)


def _reason(path: Path, error: OSError) -> str:
    words = (_OF_DISKS | _OF_PATHS).get(error.errno or 0, error.strerror or str(error))
    return words.format(folder=_folder(path))


def _folder(path: Path) -> Path:
    return path if os.path.isdir(path) else path.parent  # is_dir raises for a name that is too long


def _obstacle(folder: Path, size: int = 2**20) -> OSError | None:
    """What keeps a file from being written into a folder."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(size))
            file.flush()
    except OSError as error:
        return error
    return None
