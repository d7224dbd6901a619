"""nnUNetv2_topo_evaluate: from folders of label maps to summary, CSV and table; resuming, crashes."""

from __future__ import annotations

import csv
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from evaluation_cases import SPACING, by_case, command, damaged, dataset_files, evaluate, three_cases, write
from nnunetv2.evaluation.evaluate_predictions import compute_metrics, load_summary_json
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO
from skimage import io
from training import label_map

from nnunet_topo.files import write_json
from nnunet_topo.metrics.collection import all_metrics
from nnunet_topo.nnunet.evaluation import case as evaluation_case
from nnunet_topo.nnunet.evaluation import folders as evaluation
from nnunet_topo.nnunet.evaluation.folders import RECORDS
from nnunet_topo.nnunet.evaluation.summary import summarise, table, write_summary


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return three_cases(tmp_path)


# --- Results ---


@pytest.mark.parametrize("kind", ["classes", "regions", "regions_ignore"])
def test_command_gives_the_metrics_of_each_mask_and_the_dice_of_nnunet(kind, tmp_path, capsys):
    folders = tmp_path / "true", tmp_path / "predicted"
    ignore = 3 if kind == "regions_ignore" else None
    maps = {}
    for seed in range(2):
        labels = label_map(seed, ignore=ignore is not None)
        maps[f"tiny_{seed}"] = labels, damaged(np.where(labels == 3, 1, labels).astype(np.uint8), seed)
        for folder, array in zip(folders, maps[f"tiny_{seed}"], strict=True):
            write(array, folder / f"tiny_{seed}.nii.gz")
    assert command(folders, *dataset_files(tmp_path, kind), "-o", str(tmp_path / "out"), "--tolerances_mm", "0.5") == 0

    summary = load_summary_json(str(tmp_path / "out" / "summary_topology.json"))
    regions = [1, 2] if kind == "classes" else [(1, 2), (2,)]
    assert list(summary["mean"]) == regions
    for name, case in by_case(summary).items():
        true, predicted = maps[name]
        theirs = compute_metrics(case["reference_file"], case["prediction_file"], SimpleITKIO(), regions, ignore)
        for region in regions:
            masks = [np.isin(array, region) for array in (predicted, true)]
            expected = all_metrics(*masks, SPACING, tolerances_mm=(0.5,),
                                   ignore=None if ignore is None else true == ignore)
            assert case["metrics"][region] == pytest.approx(expected, nan_ok=True)
            assert case["metrics"][region]["dice"] == pytest.approx(theirs["metrics"][region]["Dice"])
            assert case["metrics"][region]["iou"] == pytest.approx(theirs["metrics"][region]["IoU"])
    names = {"1": "trunk", "2": "branch"} if kind == "classes" else {"(1, 2)": "tree", "(2,)": "branch"}
    assert summary["settings"]["label_names"] == names
    assert summary["settings"]["connectivity"]["3D"]["Betti numbers, components"] == "foreground 26, background 6"
    printed = capsys.readouterr().out
    assert all(f"{key} {name}" in printed for key, name in names.items()) and "nsd_0.5mm" in printed


@pytest.mark.parametrize(("reader", "ending"), [
    (SimpleITKIO, ".nii.gz"), (SimpleITKIO, ".nrrd"), (SimpleITKIO, ".mha"), (NibabelIO, ".nii"),
    (NibabelIOWithReorient, ".nii.gz"), (Tiff3DIO, ".tif"), (Tiff3DIO, ".tiff")])
def test_every_3d_format_gives_the_same_distances_in_mm(reader, ending, tmp_path):
    place = {"sitk_stuff": {"spacing": SPACING[::-1], "origin": (5, 6, 7), "direction": np.eye(3).ravel()},
             "nibabel_stuff": {"original_affine": np.diag([*SPACING[::-1], 1]),
                               "reoriented_affine": np.diag([*SPACING[::-1], 1])}, "spacing": SPACING}
    true, predicted = np.zeros((2, 6, 7, 8), np.uint8)
    true[2, 3, 2:6], predicted[3, 3, 2:6] = 1, 1
    for name, array in (("true", true), ("predicted", predicted)):
        (tmp_path / name).mkdir()
        reader().write_seg(array, str(tmp_path / name / f"case{ending}"), place)
    summary = evaluate((tmp_path / "true", tmp_path / "predicted"), tmp_path / "out", file_ending=ending,
                       reader_writer=reader(), labels_or_regions=[1])
    assert summary["mean"]["1"]["hausdorff_mm"] == pytest.approx(1.5)
    assert summary["mean"]["1"]["dice"] == 0


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif", ".nii.gz"])
def test_2d_files_are_two_dimensional(ending, tmp_path, capsys):
    true, predicted = np.zeros((2, 20, 24), np.uint8)
    true[4:12, 4:12], predicted[4:12, 4:12], predicted[6:9, 6:9] = 1, 1, 0  # a hole
    predicted[4:12, 21] = 1  # and a false piece, ten pixels to the right
    for name, array in (("true", true), ("predicted", predicted)):
        if ending == ".nii.gz":
            write(array, tmp_path / name / f"case{ending}")
        else:
            (tmp_path / name).mkdir()
            io.imsave(str(tmp_path / name / f"case{ending}"), array, check_contrast=False)
    assert command((tmp_path / "true", tmp_path / "predicted"), "-l", "1") == 0
    summary = json.loads((tmp_path / "predicted" / "summary_topology.json").read_text())
    values = summary["mean"]["1"]
    assert [values[f"betti_{k}_error"] for k in range(2)] == [1, 1] and "betti_2_error" not in values
    assert values["hausdorff_mm"] == pytest.approx(10 * (SPACING[2] if ending == ".nii.gz" else 1))
    assert list(summary["settings"]["connectivity"]) == ["2D"]
    assert ("mm are in fact pixels" in capsys.readouterr().out) == (ending != ".nii.gz")


def test_processes_give_what_one_process_gives(folders, tmp_path):
    one, two = (evaluate(folders, tmp_path / str(processes), processes=processes) for processes in (0, 2))
    assert json.dumps(one) == json.dumps(two)  # as text, for not a number differs from itself
    assert not one["failed"] and len(one["metric_per_case"]) == 3


def test_worst_cases_come_first_and_the_csv_has_a_row_for_each_case_and_label(folders, tmp_path):
    summary = evaluate(folders, tmp_path, label_names={"2": "branch"})
    order = [case["case"] for case in summary["metric_per_case"]]
    assert order == ["tiny_2", "tiny_1", "tiny_0"]
    with (tmp_path / "summary_topology.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["label"], row["name"]) for row in rows] == [
        (case, label, name) for case in order for label, name in (("1", ""), ("2", "branch"))]
    for row in rows:
        values = by_case(summary)[row["case"]]["metrics"][row["label"]]
        assert {name: float(row[name]) for name in values} == pytest.approx(values, nan_ok=True)
    assert json.loads((tmp_path / "summary_topology.json").read_text())["mean"].keys() == {"1", "2"}


def case_of(name: str, **values: float) -> dict:
    full = {"dice": 0.5, "betti_matching_error_sum": 0} | values
    return {"case": name, "spacing": [1.0, 1.0], "metrics": {"0": full, "1": full, "(1, 2)": full | {"dice": 1.0}}}


def summary_of(*cases: dict) -> dict:
    settings = {"labels_or_regions": ["0", "1", "(1, 2)"], "label_names": {}}
    return summarise(cases, settings) | {"failed": {}, "missing_predictions": []}


def test_mean_spread_and_count_leave_out_what_is_not_a_number_and_keep_infinity():
    summary = summary_of(case_of("a", x=1.0, y=math.nan, z=math.inf), case_of("b", x=2.0, y=math.nan, z=1.0),
                         case_of("c", x=math.nan, y=math.nan, z=1.0))
    parts = [summary[part]["1"] for part in ("mean", "std", "count")]
    assert [part["x"] for part in parts] == [1.5, pytest.approx(0.5**0.5), 2]
    assert [part["z"] for part in parts] == [math.inf, pytest.approx(math.nan, nan_ok=True), 3]
    assert math.isnan(parts[0]["y"]) and parts[2]["y"] == 0
    assert summary["foreground_mean"]["dice"] == 0.75  # label 0 is left out
    printed = table(summary)
    assert "1.5 ± 0.707 (2)" in printed and "(n): only n cases have a value" in printed and "inf: " in printed


def test_cases_are_ordered_by_betti_matching_errors_then_dice_then_name():
    cases = [case_of("d", dice=0.4), case_of("c", betti_matching_error_sum=2), case_of("b", dice=0.1), case_of("a")]
    summary = summary_of(*cases)
    assert [case["case"] for case in summary["metric_per_case"]] == ["c", "b", "d", "a"]
    assert summary["metric_per_case"][0]["topology_errors"] == 6


def test_summary_and_csv_are_written_together_or_not_at_all(tmp_path):
    summary = summary_of(case_of("a"))
    summary["metric_per_case"][0]["metrics"]["1"]["dice"] = "no number"
    with pytest.raises(TypeError):
        write_summary(summary, tmp_path)
    assert not list(tmp_path.iterdir())


# --- Stopping, resuming, crashes ---


@pytest.fixture
def computed(monkeypatch) -> list[str]:
    """The cases that are computed, in order."""
    seen: list[str] = []
    original = evaluation.evaluate_case

    def counting(task):
        seen.append(task.prediction.name.split(".")[0])
        return original(task)

    monkeypatch.setattr(evaluation, "evaluate_case", counting)
    return seen


def test_a_second_run_computes_only_what_changed(folders, tmp_path, computed):
    first = evaluate(folders, tmp_path)
    assert computed == ["tiny_0", "tiny_1", "tiny_2"]
    computed.clear()
    assert json.dumps(evaluate(folders, tmp_path)) == json.dumps(first) and computed == []
    write(label_map(1), folders[1] / "tiny_1.nii.gz")
    (tmp_path / RECORDS / "tiny_2.json").write_text('{"stamp": ')  # as after a full disk
    changed = evaluate(folders, tmp_path)
    assert computed == ["tiny_1", "tiny_2"] and by_case(changed)["tiny_1"]["metrics"]["1"]["dice"] == 1
    computed.clear()
    evaluate(folders, tmp_path, tolerances_mm=(3,))
    assert computed == ["tiny_0", "tiny_1", "tiny_2"]


def test_a_case_is_computed_again_by_metrics_whose_code_has_changed(folders, tmp_path, computed, monkeypatch):
    def nothing(task):
        computed.append(task.prediction.name)
        return {"metrics": {"1": {}, "2": {}}}

    monkeypatch.setattr(evaluation, "evaluate_case", nothing)
    monkeypatch.setattr(evaluation, "summarise", lambda cases, settings: {})
    monkeypatch.setattr(evaluation, "write_summary", lambda summary, output: None)
    for code, count in (("old", 3), ("old", 3), ("new", 6)):
        monkeypatch.setattr(evaluation, "code_fingerprint", lambda module, code=code: f"{code} {module}")
        evaluate(folders, tmp_path)
        assert len(computed) == count


def test_a_changed_spacing_file_of_a_3d_tiff_is_seen(tmp_path, computed):
    folders = tmp_path / "true", tmp_path / "predicted"
    for folder, shift in zip(folders, (0, 1), strict=True):
        folder.mkdir()
        array = np.zeros((6, 6, 6), np.uint8)
        array[1 + shift, 1:5, 1:5] = 1
        Tiff3DIO().write_seg(array, str(folder / "case.tif"), {"spacing": (1.0, 1.0, 1.0)})
    options = {"file_ending": ".tif", "reader_writer": Tiff3DIO(), "labels_or_regions": [1]}
    assert evaluate(folders, tmp_path, **options)["mean"]["1"]["hausdorff_mm"] == 1
    for folder in folders:
        write_json(folder / "case.json", {"spacing": [10.0, 1.0, 1.0]})
    assert evaluate(folders, tmp_path, **options)["mean"]["1"]["hausdorff_mm"] == 10


def test_a_stopped_run_goes_on_where_it_was(folders, tmp_path, computed, monkeypatch, capsys):
    metrics, calls = evaluation_case.all_metrics, []

    def stopping(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:  # two labels a case: in the second case
            raise KeyboardInterrupt
        return metrics(*arguments, **options)

    monkeypatch.setattr(evaluation_case, "all_metrics", stopping)
    assert command(folders, "-l", "1", "2", "-o", str(tmp_path)) == 130
    assert "Stopped" in capsys.readouterr().err and not (tmp_path / "summary_topology.json").exists()
    assert os.listdir(tmp_path / RECORDS) == ["tiny_0.json"]
    computed.clear()
    assert command(folders, "-l", "1", "2", "-o", str(tmp_path)) == 0
    assert computed == ["tiny_1", "tiny_2"]


def test_a_case_that_crashes_is_named_and_the_others_are_kept(folders, tmp_path, computed, monkeypatch, capsys):
    metrics = evaluation_case.all_metrics

    def crashing(prediction, reference, *arguments, **options):
        if np.array_equal(reference, label_map(1) == 2):
            raise ZeroDivisionError("two by nothing")
        return metrics(prediction, reference, *arguments, **options)

    monkeypatch.setattr(evaluation_case, "all_metrics", crashing)
    assert command(folders, "-l", "1", "2", "-o", str(tmp_path)) == 1
    error = capsys.readouterr().err
    assert "1 case(s) could not be evaluated" in error
    assert "tiny_1: ZeroDivisionError: two by nothing (test_evaluation.py, line" in error
    summary = json.loads((tmp_path / "summary_topology.json").read_text())
    assert by_case(summary).keys() == {"tiny_0", "tiny_2"} and summary["failed"].keys() == {"tiny_1"}
    monkeypatch.setattr(evaluation_case, "all_metrics", metrics)
    computed.clear()
    assert command(folders, "-l", "1", "2", "-o", str(tmp_path)) == 0 and computed == ["tiny_1"]
