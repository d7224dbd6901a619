"""What all commands share: Ctrl-C and errors end in a sentence and an exit code, while modules are imported too."""

from __future__ import annotations

import atexit
import io
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from nnunet_topo.disk import NotWrittenError, in_words, require_unicode
from nnunet_topo.files import remove_leftovers
from nnunet_topo.processes import pools_spared_of_interrupts

INTERRUPTED = 130  # as shells have it: 128 and the number of the signal


def guarded(work: Callable[[], int | None], *, stopped: str) -> int:
    """Do a command's work, which imports what it needs; returns the exit code.

    That is what ``work`` returns (None: 0), 1 for an error, whose words are printed, and 130 after Ctrl-C.

    Args:
        work: called without arguments.
        stopped: what is kept and what the same command will do, printed after Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):  # names of files, and ±, that a terminal's encoding does not have
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    remove_leftovers.cache_clear()  # of a command that was killed meanwhile
    try:
        for argument in sys.argv[1:]:
            require_unicode(argument)
        with _interrupts_also_while_importing(f"\nStopped. {stopped}\n"), pools_spared_of_interrupts():
            code = work() or 0
            sys.stdout.flush()  # what cannot be written is known here
            return code
    except BrokenPipeError:  # whoever read the output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except ModuleNotFoundError as error:
        print(f"Error: {error}. nnUNetv2_topo_doctor says what is missing and how to install it.", file=sys.stderr)
        return 1
    except MemoryError as error:
        print(f"Error: There is not enough memory for this ({error}).", file=sys.stderr)
        return 1
    except NotWrittenError as error:
        print(f"Error: {error} {stopped}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"Error: {in_words(error)}", file=sys.stderr)
        return 1
    except (ValueError, RuntimeError, ImportError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nStopped. {stopped}", file=sys.stderr)
        return INTERRUPTED


@contextmanager
def _interrupts_also_while_importing(sentence: str) -> Iterator[None]:
    """Ctrl-C ends the process at once where it meets an import: some modules make another error of the exception, or
    drop it, or leave a half of themselves behind."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        while frame is not None:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                os.write(2, sentence.encode())
                for process in multiprocessing.active_children():
                    process.terminate()
                os._exit(INTERRUPTED)
            frame = frame.f_back
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, interrupt)
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C while the interpreter ends
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
