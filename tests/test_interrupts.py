"""Ctrl-C, which reaches all processes of a command, at several moments: a sentence and 130, nothing left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  its customary name

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no process groups")


def interrupted(command: Sequence[str], when: Callable[[str, int], bool], folder: Path) -> str:
    """What a command printed that got Ctrl-C as soon as ``when`` was true of its standard error and process group."""
    log = folder / "stderr"
    with log.open("w") as file:
        process = subprocess.Popen([sys.executable, *command], stderr=file, stdout=subprocess.DEVNULL, text=True,
                                   start_new_session=True, cwd=folder)
    try:
        deadline = time.monotonic() + 200
        while not when(log.read_text(), process.pid):
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
    "apply_postprocessing": ["here", "there", "-pp", "here.json"],
    "centrelines": ["-i", "here", "-o", "there"],
    "convert": ["drive", "here", "-d", "1"],
    "demo": ["-o", "here"],
    "doctor": [],
    "evaluate": ["here", "here", "-l", "1"],
    "find_postprocessing": ["here", "there"],
    "register": ["--demo", "-o", "here"],
    "study": ["here.yaml"],
}


@pytest.mark.parametrize("command", ARGUMENTS)
@pytest.mark.parametrize("module", ["numpy.linalg", "torch._C"])
def test_while_modules_are_imported(command, module, tmp_path):
    if command == "convert" and module == "torch._C":
        module = "SimpleITK._SimpleITK"
    interrupted(["-X", "importtime", "-m", f"nnunet_topo.commands.{command}", *ARGUMENTS[command]],
                lambda printed, _: f" {module}\n" in printed, tmp_path)
    assert os.listdir(tmp_path) == ["stderr"]


TASK = """
import sys
import time

sys.stderr.write("importing\\n")
time.sleep(0.2)

def work(number):
    sys.stderr.write("working\\n")
    time.sleep(60)
"""
SCRIPT = """
import sys
from multiprocessing import get_context
from nnunet_topo.commands.guard import guarded
from nnunet_topo.processes import outcomes
from task import work

def ours():
    sys.stderr.write("starting\\n")
    list(outcomes(work, [1, 2, 3], 2))

def pool():
    sys.stderr.write("starting\\n")
    with get_context("spawn").Pool(2) as workers:
        workers.map(work, [1, 2, 3])

if __name__ == "__main__":
    sys.exit(guarded(globals()[sys.argv[1]], stopped="All is kept."))
"""


@pytest.mark.parametrize("whose", ["ours", "pool"])  # the second is how nnU-Net starts its own
@pytest.mark.parametrize(("word", "times"), [("starting", 1), ("importing", 2), ("importing", 3), ("working", 2)])
def test_while_workers_are_born_import_and_work(whose, word, times, tmp_path):
    (tmp_path / "task.py").write_text(TASK)
    (tmp_path / "script.py").write_text(SCRIPT)
    interrupted(["script.py", whose], lambda printed, _: printed.count(word) >= times, tmp_path)


def spawned(group: int) -> int:
    """How many processes of the group are workers."""
    listed = subprocess.run(["ps", "-wweo", "pgid=,args="], capture_output=True, text=True).stdout.splitlines()
    return sum(line.split()[0] == str(group) and "spawn_main" in line for line in listed)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["its workers are born", "its workers import", "its workers are at work"])
def test_an_evaluation(moment, tmp_path):
    random = np.random.default_rng(0)
    for name, size in (("a", 12), ("b", 12), ("c", 120)):  # the last one takes long
        for folder in ("true", "predicted"):
            (tmp_path / folder).mkdir(exist_ok=True)
            image = sitk.GetImageFromArray((random.random((size, size, size)) < 0.5).astype(np.uint8))
            sitk.WriteImage(image, str(tmp_path / folder / f"{name}.nii.gz"))

    def when(printed: str, group: int) -> bool:
        if moment == "its workers are at work":
            return "| 1/3 " in printed or "| 2/3 " in printed
        if spawned(group) < 2:
            return False
        time.sleep(0.5 if moment == "its workers import" else 0)
        return True

    command = ["-m", "nnunet_topo.commands.evaluate", "true", "predicted", "-l", "1", "-np", "2", "-o", "out"]
    assert "The finished cases are kept; the same command goes on" in interrupted(command, when, tmp_path)
    finished = set(os.listdir(tmp_path / "out" / "nnunet_topo_evaluation"))
    assert finished <= {"a.json", "b.json"} and bool(finished) == (moment == "its workers are at work")


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0, 1, 3, 6])
def test_the_demo_after_nnunets_first_worker_is_born(seconds, tmp_path):
    born: list[float] = []

    def when(_: str, group: int) -> bool:
        if not born and spawned(group):
            born.append(time.monotonic())
        return bool(born) and time.monotonic() - born[0] >= seconds

    command = ["-m", "nnunet_topo.commands.demo", "--dimension", "2", "--epochs", "1", "-o", "out"]
    assert f"remove {tmp_path / 'out'} to start again" in interrupted(command, when, tmp_path)
