"""Jobs of SLURM: its commands are scripts here, that write down how they were called; accounting there is none."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from study_runs import is_locked, runs_in

from nnunet_topo.commands.study import _all
from nnunet_topo.files import write_json
from nnunet_topo.study import execution, launch, slurm
from nnunet_topo.study.settings import Executor, Study
from nnunet_topo.study.slurm import slurm_executor, submit_to_slurm

pytest.importorskip("submitit")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="SLURM's computers are not of another kind")
WANTED = Executor("slurm", time_minutes=3)
SCRIPTS = {
    "sbatch": 'n=$(($(cat number 2>/dev/null || echo 40) + 1)); echo $n > number; cp "$1" $n.sh; echo $n >> queue; '
              "echo Submitted batch job $n",
    "squeue": "echo $* >> calls; cat queue",
    "scontrol": "echo $* >> requeued",
    "srun": 'shift 5; exec "$@"',  # without --unbuffered, --output FILE and --error FILE
    "sacct": "echo Slurm accounting storage is disabled >&2; touch sacct_was_called; exit 1",
}


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """SLURM's folder: N.sh for each job, ``queue`` with the numbers that have not ended, ``calls`` of squeue."""
    commands = tmp_path / "slurm"
    commands.mkdir()
    for name, body in SCRIPTS.items():
        text = body if name == "srun" else f'[ $1 ] && case $1 in -*) ;; *.sh) set -- "$(realpath $1)";; esac; ' \
                                           f"cd {commands}; {body}"
        (commands / name).write_text(f"#!/bin/bash\n{text}\n")
        (commands / name).chmod(0o755)
    (commands / "queue").write_text("")
    monkeypatch.setenv("PATH", str(commands), prepend=os.pathsep)
    yield commands
    assert not (commands / "sacct_was_called").exists()


def started(cluster: Path, number: str) -> subprocess.Popen:
    """What SLURM's node does with a job."""
    node = {"SLURM_JOB_ID": number, "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1", "SLURM_NODEID": "0",
            "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    # the script hands over to the job's process, so that a signal reaches it as from SLURM
    script = (cluster / f"{number}.sh").read_text().replace("\nsrun ", "\nexec srun ")
    return subprocess.Popen(["bash", "-c", script], env=os.environ | node, stderr=subprocess.PIPE, text=True)


def test_each_run_gets_a_job_with_the_resources_that_were_asked_for(cluster, tmp_path):
    runs = runs_in(tmp_path)
    asked = Executor("slurm", partition="gpu", time_minutes=90, memory_gb=12, gpus=1, cpus=4, account="mine")
    jobs, again = submit_to_slurm(runs, asked, tmp_path)
    assert jobs == {runs[0].name: "41", runs[1].name: "42"} and again == {}
    assert json.loads((tmp_path / "jobs" / "submitted.json").read_text()) == jobs
    for number in jobs.values():
        lines = (cluster / f"{number}.sh").read_text().splitlines()
        assert {"#SBATCH --partition=gpu", "#SBATCH --time=90", "#SBATCH --mem=12GB", "#SBATCH --gpus-per-node=1",
                "#SBATCH --cpus-per-task=4", "#SBATCH --account=mine", "#SBATCH --nodes=1", "#SBATCH --requeue",
                "#SBATCH --signal=USR2@90"} <= set(lines)
    text = slurm_executor(WANTED, tmp_path)._make_submission_file_text("command", "number")
    assert "--time=3\n" in text
    assert not [unasked for unasked in ("partition", "mem", "gpus", "account") if f"--{unasked}" in text]


def test_one_call_of_squeue_tells_which_jobs_have_ended_and_these_are_submitted_again(cluster, tmp_path):
    runs = runs_in(tmp_path, "abcd")
    submit_to_slurm(runs, WANTED, tmp_path)
    assert not (cluster / "calls").exists()
    (cluster / "queue").write_text("42\n7\n")
    write_json_of(runs[0], execution.FAILED, {"reason": "no room"})
    jobs, again = submit_to_slurm(runs, WANTED, tmp_path)
    assert (cluster / "calls").read_text() == f"--noheader --format=%i --user={os.getuid()}\n"
    assert jobs == dict(zip([runs[1].name, *(run.name for run in (runs[0], runs[2], runs[3]))],
                            ["42", "45", "46", "47"], strict=True))
    assert again[runs[0].name] == f"no room (log: {tmp_path / 'jobs' / '41_0_log.err'})"
    assert "died or was cancelled" in again[runs[2].name] and runs[1].name not in again
    assert json.loads((tmp_path / "jobs" / "submitted.json").read_text()) == jobs


def write_json_of(run, name, content):
    run.folder.mkdir(parents=True, exist_ok=True)
    write_json(run.folder / name, content)


def test_a_finished_run_is_no_job_and_a_run_that_failed_says_so_when_it_is_submitted_again(
    cluster, tmp_path, capsys, monkeypatch
):
    runs = runs_in(tmp_path, "abc")
    study = Study(tmp_path, (1,), ("a", "b", "c"), executor=WANTED)
    monkeypatch.setattr("nnunet_topo.study.results.write_results", lambda study, runs: [])
    options = argparse.Namespace(print_only=False)
    assert _all(options, study, runs) == 0
    assert "3 run(s) are jobs of SLURM: 41, 42, 43." in capsys.readouterr().out
    write_json_of(runs[0], execution.RECORD, {"settings": runs[0].settings()})
    write_json_of(runs[1], execution.FAILED, {"reason": "no room"})
    (cluster / "queue").write_text("43\n")
    assert _all(options, study, runs) == 0
    printed = capsys.readouterr().out
    assert "3 run(s), of which 1 are finished." in printed and "2 run(s) are jobs of SLURM: 43, 44." in printed
    assert f"{runs[1].name} had ended: no room (log: " in printed and "as job 44." in printed
    assert _all(options, study, runs) == 0  # it waits in the queue now
    assert "had ended" not in capsys.readouterr().out
    for run in runs:
        write_json_of(run, execution.RECORD, {"settings": run.settings()})
    assert _all(options, study, runs) == 0 and "SLURM" not in capsys.readouterr().out


@pytest.mark.parametrize(("name", "content", "sentence"), [
    ("slurm/squeue", "#!/bin/bash\necho no controller >&2; exit 1", r"squeue fails \(no controller\)"),
    ("jobs/submitted.json", "{", r"submitted.json is damaged or not JSON"),
    ("jobs/submitted.json", '{"a": 1}', "a must be a name without spaces and slashes, not 1"),
])
def test_where_it_is_not_known_which_jobs_have_ended_none_is_submitted(cluster, tmp_path, name, content, sentence):
    runs = runs_in(tmp_path)
    submit_to_slurm(runs, WANTED, tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises((RuntimeError, ValueError), match=sentence):
        submit_to_slurm(runs, WANTED, tmp_path)
    assert (cluster / "number").read_text() == "42\n"


def test_what_sbatch_refuses_is_said_in_one_line_and_jobs_before_are_remembered(cluster, tmp_path):
    runs = runs_in(tmp_path)
    submit_to_slurm(runs[:1], WANTED, tmp_path)
    (cluster / "sbatch").write_text("#!/bin/bash\necho invalid partition >&2; echo failed >&2; exit 1")
    with pytest.raises(RuntimeError, match=r"does not take a job \(.*invalid partition failed.*Look at") as error:
        submit_to_slurm(runs, WANTED, tmp_path)
    assert "\n" not in str(error.value)
    assert json.loads((tmp_path / "jobs" / "submitted.json").read_text()) == {runs[0].name: "41"}


def test_without_slurm_nothing_is_tried(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match="There is no sbatch, squeue, srun here"):
        submit_to_slurm(runs_in(tmp_path), WANTED, tmp_path)
    assert list(tmp_path.iterdir()) == []


def slow_job():
    """A class that submitit can send: an epoch is done, and the next takes a minute unless it is the second."""

    class Slow(launch.Job):
        def work(self, run):
            from nnunet_topo.study import execution

            def work_on(run):
                file = run.folder / execution.PROGRESS
                epochs = 0 if "epochs" not in run.trainer else sum(1 for _ in run.folder.glob("epoch_*")) + 1
                if epochs:
                    (run.folder / f"epoch_{epochs}").touch()
                write_json(file, {"doing": f"epoch {epochs}"})
                if epochs < 2:
                    time.sleep(60)
                write_json(run.folder / execution.RECORD, {"settings": run.settings()})

            execution._execute = work_on
            execution.execute(run)

    return Slow


def stopped_at_its_time_limit(cluster: Path, run, number: str) -> tuple[int, str]:
    """The exit code and the log of a job that gets SLURM's signal when it is at work."""
    (run.folder / execution.PROGRESS).unlink(missing_ok=True)
    process = started(cluster, number)
    deadline = time.monotonic() + 60
    while not (run.folder / execution.PROGRESS).exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    assert is_locked(run)
    process.send_signal(signal.SIGUSR2)
    log = process.communicate(timeout=30)[1]
    assert not is_locked(run)
    return process.returncode, log


def test_a_job_at_its_time_limit_is_queued_again_under_its_number_and_goes_on(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(slurm, "Job", slow_job())
    (run,) = runs_in(tmp_path, ["epochs"])
    submit_to_slurm([run], WANTED, tmp_path)
    assert stopped_at_its_time_limit(cluster, run, "41")[0] != 0
    assert (cluster / "requeued").read_text() == "requeue 41\n"
    assert execution.progress(run) == "epoch 1" and execution.failure(run) is None
    assert submit_to_slurm([run], WANTED, tmp_path).jobs == {run.name: "41"}
    assert started(cluster, "41").wait(60) == 0  # the second epoch is the last
    assert execution.finished(run) is not None and (cluster / "requeued").read_text() == "requeue 41\n"


def test_a_job_that_gets_no_further_within_its_time_limit_fails_and_says_so(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(slurm, "Job", slow_job())
    (run,) = runs_in(tmp_path, ["none"])
    executor = Executor("slurm", time_minutes=2)  # less than is kept back at most, so that every stop is the limit's
    submit_to_slurm([run], executor, tmp_path)
    for tries in (1, 2):
        stopped_at_its_time_limit(cluster, run, "41")
        assert (cluster / "requeued").read_text() == "requeue 41\n"
        assert (execution.failure(run) is not None) == (tries == 2)
    (cluster / "queue").write_text("")
    assert "its time limit of 2 minutes ended twice at the same point (epoch 0)" in submit_to_slurm(
        [run], executor, tmp_path).again[run.name]


def test_a_job_that_is_cancelled_or_killed_leaves_no_run_locked(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(slurm, "Job", slow_job())
    (run,) = runs_in(tmp_path, ["none"])
    submit_to_slurm([run], WANTED, tmp_path)
    for number in (signal.SIGTERM, signal.SIGKILL):
        monkeypatch.setattr(signal, "SIGUSR2", number)
        assert stopped_at_its_time_limit(cluster, run, "41")[0] == -number


def test_as_a_job_every_epoch_is_kept(cluster, tmp_path):
    from submitit.core.utils import DelayedSubmission

    (run,) = runs_in(tmp_path, "a")
    submit_to_slurm([run], WANTED, tmp_path)
    (sent,) = DelayedSubmission.load(tmp_path / "jobs" / "41_submitted.pkl").args
    assert run.save_every == 5 and sent.save_every == 1
    assert sent.settings() == run.settings() and sent.name == run.name




def answered(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


@pytest.mark.slow
@pytest.mark.skipif("idle" not in answered("sinfo", "--noheader", "--format=%T"), reason="no idle SLURM here")
def test_on_a_real_slurm_a_job_is_queued_again_and_one_that_was_cancelled_submitted_again(tmp_path, monkeypatch):
    def until(what) -> None:
        deadline = time.monotonic() + 60
        while not what():
            assert time.monotonic() < deadline
            time.sleep(0.5)

    monkeypatch.setattr(slurm, "Job", slow_job())
    (run,) = runs_in(tmp_path, ["epochs"])
    number = submit_to_slurm([run], WANTED, tmp_path).jobs[run.name]
    try:
        until((run.folder / execution.PROGRESS).exists)
        subprocess.run(["scancel", "--signal=USR2", number], check=True)
        until(lambda: "PENDING" in answered("squeue", "--noheader", "--format=%T", f"--jobs={number}"))
        assert not is_locked(run) and execution.failure(run) is None
        assert submit_to_slurm([run], WANTED, tmp_path) == ({run.name: number}, {})
        subprocess.run(["scancel", number], check=True)
        until(lambda: number not in answered("squeue", "--noheader", "--format=%i").split())
        jobs, again = submit_to_slurm([run], WANTED, tmp_path)
        assert jobs[run.name] != number and "was cancelled" in again[run.name]
        number = jobs[run.name]
        until(lambda: execution.finished(run) is not None)  # the second epoch is the last
    finally:
        subprocess.run(["scancel", number], check=False)
