"""Compiling CPU kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a kernel with numba at its first call, without the GIL, and keep the machine code on disk.

    numba looks for a place beside the source file, then in the user's own cache folder. Where neither can be written,
    the kernel is compiled anew in every process, which takes some seconds. It knows a kernel's code by the time stamp
    of the kernel's own file: who edits a kernel that others call deletes the ``*.nbi`` files in ``__pycache__``.
    """
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError as error:
        if "cannot cache function" not in str(error):
            raise
        return numba.njit(nogil=True)(function)
