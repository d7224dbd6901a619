"""A study on this machine that is stopped by Ctrl-C or killed: its runs end with it, and none is locked."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from study_runs import is_locked, runs_in
from tqdm import tqdm

from nnunet_topo.files import write_json
from nnunet_topo.study import execution, launch
from nnunet_topo.study.settings import Executor

pytest.importorskip("submitit")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills as POSIX has it")
STUDY = """
import sys, time
from nnunet_topo.commands.guard import guarded
from nnunet_topo.files import write_json
from nnunet_topo.study import execution, launch
from nnunet_topo.study.settings import Executor
from study_runs import runs_in

class Slow(launch.Job):
    def work(self, run):
        from nnunet_topo.study import execution

        def work_on(run):
            write_json(run.folder / "progress.json", {"doing": "epoch 1"})
            time.sleep(120)

        execution._execute = work_on
        execution.execute(run)

if __name__ == "__main__":
    launch.Job = Slow
    sys.exit(guarded(lambda: launch.run_here(runs_in(sys.argv[1]), Executor(processes=2)), stopped="All is kept."))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_local_runs_end_with_their_study(tmp_path, number, code):
    script, log = tmp_path / "study.py", tmp_path / "printed"
    script.write_text(STUDY)
    runs = runs_in(tmp_path)
    with log.open("w") as file:
        process = subprocess.Popen([sys.executable, str(script), str(tmp_path)], stdout=file, stderr=file,
                                   start_new_session=True,
                                   env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)})
    try:
        deadline = time.monotonic() + 60
        while not all((run.folder / "progress.json").exists() for run in runs):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        assert all(is_locked(run) for run in runs)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # Ctrl-C reaches all
        else:
            os.kill(process.pid, number)
        assert process.wait(30) == code
        deadline = time.monotonic() + (0 if number == signal.SIGINT else 30)  # after Ctrl-C all have ended already
        while any(is_locked(run) for run in runs):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        with pytest.raises(ProcessLookupError):
            for _ in range(500):
                os.killpg(process.pid, 0)
                time.sleep(0.02)
    finally:
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    printed = log.read_text()
    assert "Traceback" not in printed and "KeyboardInterrupt" not in printed
    assert ("\nStopped. All is kept.\n" in printed) == (number == signal.SIGINT)
    logs = "".join(file.read_text() for file in (tmp_path / "jobs").glob("*_log.err"))
    assert "KeyboardInterrupt" not in logs


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork")
def test_processes_that_a_job_starts_end_when_they_are_told_to(tmp_path):
    import submitit

    def job_with_a_worker():
        from nnunet_topo.study import launch

        def start_and_end_a_worker(run):
            worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(120,))
            worker.start()
            worker.terminate()  # as nnU-Net's pools do
            worker.join(30)
            codes.append(worker.exitcode)
            worker.kill()

        codes = []
        launch.execute = start_and_end_a_worker
        launch.Job()(None)
        return codes

    local = submitit.LocalExecutor(folder=tmp_path)
    local.update_parameters(timeout_min=5)
    assert local.submit(job_with_a_worker).result() == [-signal.SIGTERM]


def test_a_run_is_locked_while_it_is_executed_and_who_comes_second_waits(tmp_path, monkeypatch):
    run, _ = runs_in(tmp_path)
    locked, begun = [], []

    def works(run):
        begun.append(run)
        locked.append(is_locked(run))
        return {}

    monkeypatch.setattr(execution, "_execute", works)
    execution.execute(run)
    assert locked == [True] and not is_locked(run)
    second = threading.Thread(target=execution.execute, args=(run,))
    with execution.locked(run.folder / ".lock"):
        second.start()
        second.join(0.2)
        assert len(begun) == 1 and second.is_alive()
    second.join(10)
    assert len(begun) == 2 and not second.is_alive()


def test_a_study_that_is_left_by_an_error_has_ended_its_processes(tmp_path, monkeypatch):
    class Unwatchful(launch.Job):
        """A process that does not see that its study ends."""

        def __call__(self, run):
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            run.folder.mkdir(parents=True)
            with execution.locked(run.folder / ".lock"):
                (run.folder / "pid").write_text(str(os.getpid()))
                write_json(run.folder / "progress.json", {"doing": "asleep"})
                time.sleep(60)

    class Leaves(tqdm):
        def set_postfix_str(self, text):
            if "asleep" in text:
                raise RuntimeError("left")

    monkeypatch.setattr(launch, "Job", Unwatchful)
    monkeypatch.setattr(launch, "tqdm", Leaves)
    run, _ = runs_in(tmp_path)
    try:
        with pytest.raises(RuntimeError, match="left"):
            launch.run_here([run], Executor(), poll_seconds=0.05)
        assert not is_locked(run)
    finally:
        with suppress(ProcessLookupError):
            os.kill(int((run.folder / "pid").read_text()), signal.SIGKILL)


def test_a_process_that_dies_is_reported(tmp_path, monkeypatch):
    class Dies(launch.Job):
        def work(self, run):
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(launch, "Job", Dies)
    run, _ = runs_in(tmp_path)
    failed = launch.run_here([run], Executor(), poll_seconds=0.05)
    assert "its process died or was cancelled, perhaps because memory ran out (log: " in failed[run.name]
    assert execution.finished(run) is None and list((tmp_path / "jobs").glob("*.lock")) == []
