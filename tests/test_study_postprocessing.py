"""Runs of a study are evaluated raw and post-processed, by what was chosen on their own validation images."""

from __future__ import annotations

import csv
import json
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from study_runs import write_test_images
from training import NUMBERS, PLANS

from nnunet_topo.files import write_json
from nnunet_topo.nnunet.pipeline import environment
from nnunet_topo.postprocessing import Operations, Postprocessing
from nnunet_topo.study import execution, measurement
from nnunet_topo.study.checks import checked_runs
from nnunet_topo.study.predictions import Predictions
from nnunet_topo.study.results import write_results
from nnunet_topo.study.settings import Choice, Run, Study

KIND = "ignore"
DATASET = NUMBERS[KIND]
TRAINERS = ("nnUNetTrainer", "nnUNetTrainerClDice")


@pytest.fixture(scope="module")
def raw(datasets, tmp_path_factory):
    """A planned data set with an ignore label, and test images that only the tests have."""
    datasets(KIND)
    folder = tmp_path_factory.mktemp("raw")
    write_test_images(folder / DATASET)
    with environment(nnUNet_raw=str(folder)):
        yield folder / DATASET


def study_in(output: Path, **changes) -> Study:
    return Study(**({"output": output, "datasets": (DATASET,), "trainers": TRAINERS, "seeds": (0,), "plans": PLANS,
                     "epochs": 4, "iterations": 4, "validation_iterations": 1, "device": "cpu",
                     "mirroring": False} | changes))


@pytest.fixture(scope="module")
def finished_without(raw, tmp_path_factory):
    """A study of two trainers that was finished without post-processing, as by a version that had none."""
    output = tmp_path_factory.mktemp("study") / "out"
    for run in checked_runs(study_in(output, postprocessing=None)):
        execution.execute(run)
        for name in ("trained.json", "started.json"):  # which did not hold all of this
            content = json.loads((run.folder / name).read_text())
            (run.folder / name).unlink()
            if name == "started.json":
                write_json(run.folder / name, {"settings": content["settings"]})
    return output


@pytest.fixture
def output(finished_without, tmp_path):
    return shutil.copytree(finished_without, tmp_path / "out")


def runs_of(output: Path, **changes) -> list[Run]:
    """The runs of a study whose trainings are done."""
    return checked_runs(study_in(output, **changes))


def found_at_once(monkeypatch, *, gaps: bool = True):
    """The search is replaced by settings that change a poor prediction; returns what it was asked."""
    asked = []

    def find(references, folders, *, scheme, metric, tolerances, **others):
        (folder,) = folders
        names = {kind: sorted(file.name.removesuffix(kind) for file in folder.glob(f"*{kind}"))
                 for kind in (".nii.gz", ".npz")}
        asked.append({"references": references, "cases": names[".nii.gz"], "metric": metric,
                      "tolerance": tolerances.dice})
        assert names[".npz"] == names[".nii.gz"]
        operations = Operations(specks_smaller_than=20.0, holes_smaller_than=20.0, gaps_tau=0.4 if gaps else 0.5)
        return Postprocessing(3, scheme.names, scheme.regions, (operations,) * len(scheme.names))

    monkeypatch.setattr("nnunet_topo.postprocessing.find_postprocessing", find)
    return asked


def no_training(*args, **kwargs):
    raise AssertionError("it is trained already")


def rows_of(output: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((output / "results.csv").open()))


def validation_images() -> list[str]:
    splits = Path(os.environ["nnUNet_preprocessed"]) / DATASET / "splits_final.json"
    return json.loads(splits.read_text())[0]["val"]


def sizes(folder: Path) -> int:
    return sum(file.stat().st_size for suffix in (".npz", ".pkl") for file in folder.rglob(f"*{suffix}"))


def test_a_study_that_had_no_post_processing_is_completed_and_shows_both_rows(output, monkeypatch):
    """The whole of it, with the real search; settings are found without any test image."""
    monkeypatch.setattr("nnunet_topo.nnunet.pipeline.train", no_training)
    runs = runs_of(output)
    before = {run: json.loads((run.folder / "record.json").read_text()) for run in runs}
    raw_evaluation = {run: (run.folder / "evaluation" / "summary_topology.csv").read_text() for run in runs}
    assert [execution.finished(run) for run in runs] == [None, None]
    with environment(nnUNet_raw=str(output / "nowhere")):
        chosen = Predictions(runs[0], lambda doing: None).choose()
    write_json(runs[0].folder / "started.json", {  # so that what was found is kept
        "settings": runs[0].settings(), "postprocessing": asdict(runs[0].postprocessing)})
    for run in runs:
        record = execution.execute(run)
        assert record["training_seconds"] == before[run]["training_seconds"]
        assert "failed" not in record["postprocessing"] and record["postprocessing"]["seconds"] > 0
        settings = json.loads((run.folder / "postprocessing.json").read_text())
        assert sorted(settings["chosen"]["regions"]["tree"]["images"]) == validation_images()
        assert settings["chosen"]["references"].endswith("gt_segmentations")
        assert not (run.folder / "validation").exists() and sizes(run.folder) == 0
        assert raw_evaluation[run] == (run.folder / "evaluation" / "summary_topology.csv").read_text()
    assert chosen.content() == json.loads((runs[0].folder / "postprocessing.json").read_text())
    write_results(study_in(output), runs)
    rows = rows_of(output)
    assert [(row["trainer"], row["label_maps"], row["case"]) for row in rows] == [
        (trainer, label_maps, f"t{case}") for trainer in sorted(TRAINERS, key=lambda name: name + "__")
        for label_maps in ("raw", "post-processed") for case in range(3)]
    text, page = ((output / f"report.{kind}").read_text() for kind in ("md", "html"))
    for trainer in TRAINERS:
        for label_maps in ("raw", "post-processed"):
            assert f"| dice | {label_maps} | {trainer} | " in text
    assert '<td class="text">post-processed</td>' in page and "on no test image" in page
    write_results(study_in(output, postprocessing=None), runs_of(output, postprocessing=None))
    assert {row["label_maps"] for row in rows_of(output)} == {"raw"}


class Killed(BaseException):
    pass


@pytest.mark.parametrize("gaps", [True, False])
def test_a_run_that_is_killed_at_any_step_ends_as_one_that_was_not(output, tmp_path, monkeypatch, gaps):
    asked, tell, steps = found_at_once(monkeypatch, gaps=gaps), execution.write_json, []
    other = shutil.copytree(output, tmp_path / "killed")

    def write(file, content):
        tell(file, content)
        if file.name == "progress.json" and content["doing"] not in (*steps, "done"):
            steps.append(content["doing"])
            if file.is_relative_to(other):
                raise Killed

    for folder in (output, other):
        for run in (run for run in runs_of(folder) if run.trainer == TRAINERS[0]):
            shutil.rmtree(run.folder)
    monkeypatch.setattr(execution, "write_json", write)
    study, killed = (study_in(folder, trainers=TRAINERS[:1]) for folder in (output, other))
    for each in (study, killed):
        steps.clear()
        (run,) = checked_runs(each)
        for _ in range(20):
            try:
                execution.execute(run)
                break
            except Killed:
                pass
        write_results(each, [run])
        apart = ["post-processing"] if not gaps else []
        assert steps == ["predicting validation image 1 of 2", "predicting validation image 2 of 2",
                         "choosing post-processing", *(f"predicting test image {case} of 3" for case in (1, 2, 3)),
                         *apart, "evaluating"]
        assert sizes(run.folder) == 0 and not (run.folder / "probabilities").exists()
    assert [question["cases"] for question in asked] == [validation_images()] * 2
    assert rows_of(output) == rows_of(other)
    raw, processed = (([row for row in rows_of(output) if row["label_maps"] == kind]) for kind in ("raw",
                                                                                                "post-processed"))
    assert len(raw) == len(processed) == 3 and [row["dice"] for row in raw] != [row["dice"] for row in processed]
    for folder in ("predictions", "postprocessed"):
        files = [{file.name: file.read_bytes() for file in (runs_of(each)[0].folder / folder).glob("*.nii.gz")}
                 for each in (output, other)]
        assert len(files[0]) == 3 and files[0] == files[1]


def test_what_cannot_be_post_processed_says_why_and_keeps_its_raw_row(output, monkeypatch):
    def refuse(*args, **kwargs):
        raise ValueError("The label tree [1] occurs in no reference")

    def fail(folder, *args, **kwargs):
        return {"cases": {}, "failed": {"t0": "probabilities are damaged"}}

    first, second = runs_of(output)
    monkeypatch.setattr("nnunet_topo.postprocessing.find_postprocessing", refuse)
    assert "label tree [1] occurs in no ref" in execution.execute(first)["postprocessing"]["failed"]
    assert not (first.folder / "validation").exists()
    found_at_once(monkeypatch)
    monkeypatch.setattr("nnunet_topo.postprocessing.apply_postprocessing", fail)
    assert "t0: probabilities are damaged" in execution.execute(second)["postprocessing"]["failed"]
    assert sizes(second.folder) == 0
    write_results(study_in(output), [first, second])
    assert [row["label_maps"] for row in rows_of(output)] == ["raw"] * 6
    text, page = ((output / f"report.{kind}").read_text() for kind in ("md", "html"))
    for report in (text, page):
        assert "occurs in no reference" in report and "probabilities are damaged" in report
    assert execution.finished(first) is not None  # it is not tried again and again


def test_a_full_disk_is_not_kept_as_a_reason_but_tried_again(output, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    run = runs_of(output)[0]
    monkeypatch.setattr("nnunet_topo.postprocessing.find_postprocessing", full)
    with pytest.raises(OSError, match="No space left"):
        execution.execute(run)
    assert execution.finished(run) is None and "No space" in execution.failure(run)
    found_at_once(monkeypatch)
    assert "failed" not in execution.execute(run)["postprocessing"]


def test_a_fold_without_validation_images_stays_raw(output):
    run = replace(runs_of(output)[0], fold="all")
    found = Predictions(run, lambda doing: None)
    with pytest.raises(Exception, match="Fold all trains on all images, so that no validation image is left"):
        found.choose()


def test_another_choice_is_found_again(output, monkeypatch):
    asked = found_at_once(monkeypatch, gaps=False)
    monkeypatch.setattr("nnunet_topo.nnunet.pipeline.train", no_training)
    for choice in (Choice(), Choice(), Choice("betti_error", 0.01)):
        (run,) = runs_of(output, trainers=TRAINERS[:1], postprocessing=choice)
        execution.execute(run)
    assert [(question["metric"], question["tolerance"]) for question in asked] == [
        ("betti_matching_error", 0.002), ("betti_error", 0.01)]


def test_numbers_of_other_metric_code_are_measured_again_or_refused(output):
    study = study_in(output, postprocessing=None)
    first, second = runs = checked_runs(study)
    file = first.folder / "evaluation" / "summary_topology.json"

    def measured() -> dict[str, dict]:
        return {case["case"]: case["metrics"] for case in json.loads(file.read_text())["metric_per_case"]}

    def measured_by_other_code():
        for part in (file, *(first.folder / "evaluation" / "nnunet_topo_evaluation").iterdir()):
            content = json.loads(part.read_text())
            (content["settings"] if part == file else content["stamp"])["metrics_code"] = "other"
            for case in content["metric_per_case"] if part == file else [content["record"]]:
                case["metrics"]["1"]["dice"] = 7.0
            write_json(part, content)

    right = measured()
    measured_by_other_code()
    write_results(study, checked_runs(study))
    assert "7.0" not in {row["dice"] for row in rows_of(output)}
    assert measured() == right
    codes = {measurement.summaries_of(run, {})["predictions"]["settings"]["metrics_code"] for run in (first, second)}
    assert len(codes) == 1

    measured_by_other_code()
    before = (output / "report.md").read_text()
    (first.folder / "predictions" / "t1.nii.gz").unlink()
    with pytest.raises(ValueError, match=r"made by other code .* t1\.nii\.gz.* or remove .*record\.json"):
        checked_runs(study)
    assert (output / "report.md").read_text() == before
    shutil.rmtree(first.folder / "predictions")
    (first.folder / "record.json").unlink()  # as the sentence has it
    for run in runs:
        execution.execute(run)
    write_results(study, checked_runs(study))
    assert measured() == right
