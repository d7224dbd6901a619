"""A study is checked before it starts, goes on where it was stopped, and reports what failed."""

from __future__ import annotations

import csv
import errno
import json
import os
import shlex
import shutil
from pathlib import Path

import pytest
from study_runs import write_test_images
from training import NUMBERS, PLANS

from nnunet_topo.commands.study import main
from nnunet_topo.files import write_json
from nnunet_topo.nnunet.pipeline import environment
from nnunet_topo.study import execution
from nnunet_topo.study.checks import checked_runs
from nnunet_topo.study.launch import run_here
from nnunet_topo.study.study_file import read_study

yaml = pytest.importorskip("yaml")
pytest.importorskip("submitit")
DATASET = NUMBERS["classes"]


@pytest.fixture(scope="module")
def prepared(datasets, tmp_path_factory):
    """The preprocessed tiny data set, and raw test images of two groups with their labels."""
    datasets("classes")
    raw = tmp_path_factory.mktemp("raw")
    write_test_images(raw / DATASET)
    for hidden in ("imagesTs/._t0_0000.nii.gz", "labelsTs/._t0.nii.gz"):
        (raw / DATASET / hidden).write_text("of macOS")
    with environment(nnUNet_raw=str(raw)):
        yield raw / DATASET


@pytest.fixture
def study(prepared, tmp_path):
    """Writes a study file with some entries changed (None takes one out); returns its path."""

    def write(name: str = "study", **changes) -> Path:
        content = {"output": f"out_{name}", "datasets": [DATASET], "trainers": ["nnUNetTrainer", "nnUNetTrainerClDice"],
                   "seeds": [0], "plans": PLANS, "epochs": 2, "iterations": 2, "validation_iterations": 1,
                   "save_every": 1, "device": "cpu", "mirroring": False, "postprocessing": False} | changes
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
        return file

    return write


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"trainer": ["nnUNetTrainer"]}, "study.yaml has the unknown key(s) 'trainer'. A study knows 'configurations'"),
    ({"network": {"patch": [16, 32, 32], "batch": 2, "features": [8, 8, 8]}}, "has patches of 3 axes"),
    ({"seeds": [0, 0]}, "into one output folder"),
    ({"datasets": [DATASET, 701]}, "into one output folder"),
    ({"trainers": ["nnUNetTrainer", "nnUNetTrainer"]}, "into one output folder"),
    ({"folds": [0, "all", 0]}, "into one output folder"),
    ({"trainers": ["nnUNetTrainer", "nnUNetTrainerNone"]}, "finds no trainer 'nnUNetTrainerNone'"),
    ({"datasets": [799]}, "no data set(s) '799'"),
    ({"datasets": ["Dataset701_Other"]}, "no data set(s) 'Dataset701_Other'"),
    ({"datasets": ["*"]}, "no data set(s) '*'"),
    ({"plans": "OtherPlans"}, "has no plans 'OtherPlans'"),
    ({"configurations": ["3d_lowres"]}, "have no configuration '3d_lowres'"),
    ({"settings": {"cl_dice": {"wait": 1}}}, "unknown key(s) 'wait'"),
    ({"settings": {"cl_dice": {"weight": "1"}}}, "weight must be a number"),
    ({"settings": {"cl_dice": {"iterations": 0}}}, "iterations must be a whole number from 1 to 10,000, or null"),
    ({"groups": {"all": ["near", "wide"]}}, "groups name wide, but manifest.csv"),
    ({"groups": {"one": ["near"], "two": ["near"]}}, "groups name near more than once"),
    ({"folds": [5]}, "has no fold 5; it has 0 to 4"),
    ({"folds": ["some"]}, "has no fold 'some'"),
])
def test_a_study_that_cannot_be_done_is_refused_before_anything_is_written(study, capsys, changes, sentence):
    file = study(**changes)
    assert main([str(file)]) == 1
    assert sentence in capsys.readouterr().err
    assert list(file.parent.iterdir()) == [file]


def test_a_network_of_the_study_becomes_plans_of_its_own(study):
    network = {"patch": [32, 16], "batch": 3, "features": [4, 8, 12, 16]}
    (run,) = checked_runs(read_study(study(network=network, trainers=["nnUNetTrainer"])))
    file = Path(os.environ["nnUNet_preprocessed"]) / DATASET / f"{run.plans}.json"
    entry = json.loads(file.read_text())["configurations"]["2d"]
    assert json.loads(file.read_text())["plans_name"] == run.plans != PLANS
    assert (entry["patch_size"], entry["batch_size"]) == ([32, 16], 3)
    assert entry["architecture"]["arch_kwargs"]["features_per_stage"] == [4, 8, 12, 16]
    (other,) = checked_runs(read_study(study(network=network | {"batch": 4}, trainers=["nnUNetTrainer"])))
    assert other.plans != run.plans


def test_a_full_disk_is_noticed_before_the_first_training(study, capsys, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr("nnunet_topo.study.checks.shutil.disk_usage", lambda folder: usage)
    file = study()
    assert main([str(file)]) == 1
    assert "0 MB free, but the checkpoints of the 2 run(s) to do" in capsys.readouterr().err
    assert list((file.parent / "out_study").iterdir()) == []


def test_an_output_that_cannot_be_written_is_noticed_before_the_first_training(study, capsys):
    file = study(output="study.yaml/out")
    assert main([str(file)]) == 1
    error = capsys.readouterr().err
    assert "study.yaml/out cannot be written to" in error and "choose another output folder for this study" in error
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(("name", "content", "sentence"), [
    ("imagesTs", {}, "has no imagesTs, so its runs could not be compared"),
    ("labelsTs", {}, "has no labelsTs, so its runs could not be compared"),
    ("labelsTs", {"t0.nii.gz": "", "t1.nii.gz": "", "t3.nii.gz": ""}, "have 2 case(s) alone, such as t2, so"),
    ("labelsTs", {"t0.nii.gz": "", "t1.nii.gz": "", "t2.nii.gz": ""}, "3 of 3 case(s) of Dataset701_Tiny_classes"),
    ("imagesTs", {"t0_0000.png": ""}, "have 3 case(s) alone, such as t0, so"),
    ("manifest.csv", "case,kind\nt0,near\n", "must have the columns case and group"),
])
def test_test_images_that_could_not_be_compared_are_noticed_before_the_first_training(
    study, prepared, tmp_path_factory, capsys, name, content, sentence
):
    raw = tmp_path_factory.mktemp("raw") / DATASET
    shutil.copytree(prepared, raw)
    if isinstance(content, str):
        (raw / name).write_text(content)
    else:
        shutil.rmtree(raw / name)
        for file, text in content.items():
            (raw / name).mkdir(exist_ok=True)
            (raw / name / file).write_text(text)
    file = study()
    with environment(nnUNet_raw=str(raw.parent)):
        assert main([str(file)]) == 1
    assert sentence in capsys.readouterr().err
    assert list(file.parent.iterdir()) == [file]


def test_published_splits_that_nnunet_would_not_use_are_noticed(study, prepared, capsys):
    write_json(prepared / "splits_final.json", [])
    try:
        file = Path(os.environ["nnUNet_preprocessed"]) / DATASET / "splits_final.json"
        kept = file.rename(file.with_suffix(".kept")) if file.exists() else None
        assert main([str(study())]) == 1
        assert "Copy the file there" in capsys.readouterr().err
        if kept:
            kept.rename(file)
    finally:
        (prepared / "splits_final.json").unlink()


def test_the_second_stage_of_a_cascade_is_refused(study, capsys):
    file = Path(os.environ["nnUNet_preprocessed"]) / DATASET / "Cascade.json"
    plans = json.loads((file.parent / f"{PLANS}.json").read_text())
    plans["configurations"]["3d_lowres"] = plans["configurations"]["3d_fullres"]
    plans["configurations"]["3d_cascade_fullres"] = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    write_json(file, plans)
    try:
        assert main([str(study(plans="Cascade", configurations=["3d_cascade_fullres"]))]) == 1
    finally:
        file.unlink()
    assert "is the second stage of a cascade, which needs what '3d_lowres' predicts" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "content", "sentence"), [
    (f"{PLANS}.json", "{", f"{PLANS}.json is damaged or not JSON ("),
    (f"{PLANS}.json", "[]", f"{PLANS}.json must hold names and values, not []."),
    (f"{PLANS}.json", "{}", f"{PLANS}.json names no configurations, so it is not a plans file"),
    ("dataset.json", "", "dataset.json is damaged or not JSON ("),
    ("splits_final.json", "1", "splits_final.json is damaged or holds no list of splits ("),
])
def test_a_damaged_file_of_nnunet_is_named(study, capsys, name, content, sentence):
    file = Path(os.environ["nnUNet_preprocessed"]) / DATASET / name
    before = file.read_text() if file.is_file() else None
    file.write_text(content)
    try:
        assert main([str(study())]) == 1
    finally:
        file.unlink() if before is None else file.write_text(before)
    assert sentence in capsys.readouterr().err


class Killed(BaseException):
    pass


def results_of(output: Path) -> list[list[str]]:
    return list(csv.reader((output / "results.csv").open()))


def test_a_killed_run_that_goes_on_ends_as_one_that_was_not_killed(study, monkeypatch, capsys):
    from nnunet_topo.study.results import write_results

    tell, written = execution.write_json, []
    for name, killed_at in (("whole", ()), ("killed", ("epoch 1 of 3", "predicting test image 2 of 3", "done"))):
        study_file = study(name, epochs=3, trainers=["nnUNetTrainer"])
        settings = read_study(study_file)
        (run,) = checked_runs(settings)

        def write(file, content, killed_at=killed_at, name=name):
            tell(file, content)
            if content.get("doing") in killed_at and (name, content["doing"]) not in written:
                written.append((name, content["doing"]))
                raise Killed

        monkeypatch.setattr(execution, "write_json", write)
        for _ in killed_at:
            with pytest.raises(Killed):
                execution.execute(run)
        execution.execute(run)
        write_results(settings, [run])
    assert [doing for _, doing in written] == ["epoch 1 of 3", "predicting test image 2 of 3", "done"]
    whole, killed = (results_of(study_file.parent / f"out_{name}") for name in ("whole", "killed"))
    assert whole == killed and len(whole) == 1 + 3 * 2  # three images with two labels
    # nnU-Net names a log by the second, so that two trainers made within one second share a file
    logs = ["".join(log.read_text() for log in (study_file.parent / f"out_{name}").glob("*/*/*/fold_0/training_log*"))
            for name in ("whole", "killed")]
    assert [text.count("Please cite") for text in logs] == [1, 2]  # what is trained is not trained again


def test_the_reason_of_a_failure_is_said_though_the_disk_is_full(tmp_path, monkeypatch):
    from study_runs import runs_in

    def full(run):
        def write(file, content):
            raise OSError(errno.ENOSPC, "No space left on device", str(file))

        monkeypatch.setattr(execution, "write_json", write)
        raise RuntimeError("the first reason")

    monkeypatch.setattr(execution, "_execute", full)
    with pytest.raises(RuntimeError, match="the first reason"):
        execution.execute(runs_in(tmp_path)[0])


def test_seeds_decide_the_network_and_differ(study):
    settings = read_study(study(seeds=[0, 1], epochs=1, trainers=["nnUNetTrainer"]))
    first, second = checked_runs(settings)
    for run in (first, second):
        execution.execute(run)
    import torch

    weights = [torch.load(run.model / "fold_0" / "checkpoint_final.pth", weights_only=False)["network_weights"]
               for run in (first, second)]
    assert not all(torch.equal(one, other) for one, other in zip(*(w.values() for w in weights), strict=True))


def test_runs_go_through_submitit_and_the_failure_of_one_does_not_keep_the_others(study, prepared, capsys):
    late = {"cl_dice": {"start_epoch": 7}}  # so that it never counts
    file = study(settings=late, epochs=1, trainers=["nnUNetTrainerClDice", "nnUNetTrainer"])
    plans = sorted((Path(os.environ["nnUNet_preprocessed"]) / DATASET).iterdir())
    assert main([str(file), "--print_only"]) == 0
    assert list(file.parent.iterdir()) == [file]  # nothing is written, neither here nor the plans of the settings
    assert sorted((Path(os.environ["nnUNet_preprocessed"]) / DATASET).iterdir()) == plans
    commands = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    assert [command[:3] for command in commands] == [["nnUNetv2_topo_study", str(file), "--only"]] * 2

    assert main([str(file)]) == 1
    printed = capsys.readouterr()
    assert "1 run(s) failed" in printed.err and "it would never count" in printed.err
    report, page = ((file.parent / "out_study" / f"report.{kind}").read_text() for kind in ("md", "html"))
    assert "1 of 2 runs are finished" in report and "1 of 2 runs are finished" in page
    assert "### near (2 image(s))" in report and "### far (1 im" in report

    assert main([str(file), "--print_only"]) == 0  # only the one that failed is left
    assert capsys.readouterr().out.split() == commands[0]
    assert main([str(study(settings=late, epochs=5, trainers=["nnUNetTrainer"]))]) == 1
    assert "was made with other settings (epochs: 1 -> 5)" in capsys.readouterr().err


def test_each_printed_command_executes_the_run_that_it_names(study, capsys, monkeypatch):
    file, executed = study(seeds=[0, 3]), []
    monkeypatch.setattr(execution, "execute", executed.append)
    assert main([str(file), "--print_only"]) == 0
    commands = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    assert executed == [] and len(commands) == 4
    for command in commands:
        assert main(command[1:]) == 0
    assert [(run.trainer, run.seed) for run in executed] == [
        (trainer, seed) for seed in (0, 3) for trainer in ("nnUNetTrainer", "nnUNetTrainerClDice")]
    assert main([str(file), "--only", "seed_7"]) == 1
    assert "has no run 'seed_7'; --print_only names those" in capsys.readouterr().err and len(executed) == 4


def test_progress_shows_the_whole_and_what_each_run_does(study, capsys, monkeypatch):
    class Submitted:
        """A job that comes a step further each time it is looked at."""

        def __init__(self, run):
            self.run, self.steps = run, iter(("starting", "epoch 1 of 2", "predicting", "done"))

        def done(self):
            doing = next(self.steps)
            write_json(self.run.folder / execution.PROGRESS, {"doing": doing})
            if doing == "done":
                write_json(self.run.folder / execution.RECORD, {"settings": self.run.settings()})
            return doing == "done"

    class Executor:
        def __init__(self, folder):
            pass

        def update_parameters(self, **parameters):
            pass

        def submit(self, job, run):
            run.folder.mkdir(parents=True)
            return Submitted(run)

    monkeypatch.setattr("submitit.LocalExecutor", Executor)
    settings = read_study(study(executor={"processes": 2}, seeds=[0, 1]))
    assert run_here(checked_runs(settings), settings.executor, poll_seconds=0) == {}
    shown = capsys.readouterr().err
    for doing in ("starting", "epoch 1 of 2", "predicting"):
        for seed in (0, 1):
            assert f"nnUNetTrainer, seed {seed}: {doing}; nnUNetTrainerClDice, seed {seed}: {doing}" in shown
    assert "0/4" in shown and "2/4" in shown and "Runs: 100%" in shown and "4/4" in shown
