"""Ctrl-C, which reaches all processes of a command, at several moments: a sentence and 130, nothing left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no process groups")


def interrupted(command: Sequence[str], when: Callable[[str], bool], folder: Path, **environment: str) -> str:
    """What a command printed that got Ctrl-C when ``when`` was true of a line of its standard error."""
    log = folder / "stderr"
    with log.open("w") as file:
        process = subprocess.Popen([sys.executable, *command], stderr=file, stdout=subprocess.DEVNULL, text=True,
                                   start_new_session=True, cwd=folder, env=os.environ | environment)
    try:
        deadline = time.monotonic() + 60
        while not when(log.read_text()):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) == 130, log.read_text()[-2000:]
        with pytest.raises(ProcessLookupError):
            for _ in range(200):  # workers end when they see that the command has
                os.killpg(process.pid, 0)
                time.sleep(0.02)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    printed = log.read_text()
    assert "Traceback" not in printed and "KeyboardInterrupt" not in printed, printed[-3000:]
    assert "\nStopped. " in printed
    return printed


ARGUMENTS = {
    "convert": ["drive", "here", "-d", "1"],
    "demo": ["--output", "here"],
    "doctor": [],
    "evaluate": ["here", "here", "-l", "1"],
    "register": ["--demo", "-o", "here"],
    "study": ["here.yaml"],
}


@pytest.mark.parametrize("command", ARGUMENTS)
@pytest.mark.parametrize("module", ["numpy.linalg", "torch._C"])
def test_while_modules_are_imported(command, module, tmp_path):
    if command == "convert" and module == "torch._C":
        module = "SimpleITK._SimpleITK"
    interrupted(["-X", "importtime", "-m", f"nnunet_topo.commands.{command}", *ARGUMENTS[command]],
                lambda printed: f" {module}\n" in printed, tmp_path)
    assert os.listdir(tmp_path) == ["stderr"]
