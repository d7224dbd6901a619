"""Compiling CPU kernels."""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import pickle
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core.caching import FunctionCache
from numba.core.serialize import dumps

from nnunet_topo.files import written_at_once

_PACKAGE = Path(__file__).parents[1]
_SUFFIX = ".kernel"
_TRIED = 2**25  # bytes, twice what all kernels of the package take


def jit(function: Callable[..., Any] | None = None, *, inlined: bool = False) -> Callable[..., Any]:
    """Compile a kernel with numba at its first call, without the GIL, and keep the machine code on disk.

    It is kept where numba would keep it: in ``NUMBA_CACHE_DIR``, beside the source file, or in the user's own cache
    folder. Where none can be written to, the kernel is compiled again in every process, which takes some seconds.

    ``inlined``, as ``@jit(inlined=True)``: the code becomes part of every kernel that calls it. For a few lines in an
    innermost loop: a call with arrays would take longer than they do, and the compiler leaves many calls as they are.
    """
    if function is None:
        return functools.partial(jit, inlined=inlined)
    kernel: Any = numba.njit(nogil=True, forceinline=inlined)(function)
    if kernel is not function:  # as it is under NUMBA_DISABLE_JIT
        try:
            kernel._cache = KernelCache(function)
        except RuntimeError as error:
            if "cannot cache function" not in str(error):
                raise
    return kernel


class KernelCache(FunctionCache):
    """Machine code of one kernel on disk, a file for each signature.

    numba's own cache knows the code by the kernel's own file, though it holds the machine code and the constants of
    all that the kernel calls, and fails for good where a file is damaged or the disk is full. Here the name of a file
    holds a digest of all sources with kernels, and the file one of its contents; a damaged file is written again.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)  # finds the folder
        self._sources = sources_at_import()
        self._own_source = hashlib.sha256(Path(inspect.getfile(function)).read_bytes()).digest()
        self._name = f"{self._impl.filename_base}-numba{numba.__version__}-"

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        target_context.refresh()
        try:
            content = self._path(sig, target_context.codegen()).read_bytes()
        except OSError:
            return None
        digest, data = content[:32], content[32:]
        if hashlib.sha256(data).digest() != digest:  # cut off, or otherwise damaged
            return None
        return self._impl.rebuild(target_context, pickle.loads(data))

    def save_overload(self, sig: Any, data: Any) -> None:
        if not self._impl.check_cachable(data) or self._sources != _digest_of_sources():  # edited since the import
            return
        path = self._path(sig, data.codegen)
        kept = dumps(self._impl.reduce(data))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with written_at_once(path) as temporary:
                temporary.write_bytes(hashlib.sha256(kept).digest() + kept)
            self._remove_old(path.parent)
        except OSError as error:
            _warn(f"Compiled kernels cannot be kept in {path.parent} ({error.strerror or error}), so every process "
                  "compiles them again, for up to a minute. Free space there, or set NUMBA_CACHE_DIR elsewhere.")

    def flush(self) -> None:
        for path in Path(self.cache_path).glob(f"{self._name}*{_SUFFIX}"):
            path.unlink(missing_ok=True)

    def _path(self, sig: Any, codegen: Any) -> Path:
        key = repr((self._index_key(sig, codegen), self._own_source, llvmlite.__version__))
        digest = hashlib.sha256(key.encode()).hexdigest()[:16]
        return Path(self.cache_path, f"{self._name}{self._sources}-{digest}{_SUFFIX}")

    def _remove_old(self, folder: Path) -> None:
        """Remove what this Python and numba compiled of other sources in the same folder."""
        tail = self._name[self._name.rindex(".py") :]
        for path in folder.glob(f"*{tail}*{_SUFFIX}"):
            if f"{tail}{self._sources}-" not in path.name:
                path.unlink(missing_ok=True)


def try_cache() -> str:
    """The folder in which machine code is kept, after a file as large as all kernels has been written there.

    Raises:
        OSError: it could not be written, for instance because the disk is full.
        RuntimeError: there is no folder that may be written to.
    """
    folder = Path(FunctionCache(try_cache).cache_path)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:  # of which a kill leaves nothing
            file.write(bytes(_TRIED))
            file.flush()
            os.fsync(file.fileno())  # where a file system looks for room only then
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from error
    return str(folder)


@functools.cache
def sources_at_import() -> str:
    """The digest of all sources of the package with kernels, once for this process."""
    return _digest_of_sources()


def _digest_of_sources() -> str:
    digest = hashlib.sha256()
    for folder, folders, files in os.walk(_PACKAGE):
        folders.sort()
        for name in sorted(files):
            if name.endswith(".py"):
                with open(os.path.join(folder, name), "rb") as file:
                    source = file.read()
                if b"jit import jit" in source:  # this file, too
                    digest.update(f"{os.path.relpath(folder, _PACKAGE)}/{name} {len(source)}\n".encode() + source)
    return digest.hexdigest()[:16]


@functools.cache
def _warn(sentence: str) -> None:
    """Once for each folder and reason."""
    warnings.warn(sentence, stacklevel=2)
