"""nnUNetv2_topo_find_postprocessing: what is chosen, when nothing is, and what is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from postprocessing_cases import labels_of, model_files, random_probabilities, scheme_of, write_case
from test_apply_postprocessing import contents, write_nifti
from test_apply_postprocessing import main as apply
from test_postprocessing_labels import case_of
from topology import seeds

from nnunet_topo.commands.find_postprocessing import main
from nnunet_topo.metrics import betti_error, cl_dice, dice
from nnunet_topo.postprocessing import Operations, postprocess_labels, read_postprocessing
from nnunet_topo.postprocessing.candidates import RegionCase, Scores
from nnunet_topo.postprocessing.choice import Tolerances, choose, leave_one_out

SPACING = (1.0, 0.5, 0.5)


def grid_of_bars(label: int = 1, size: int = 64) -> np.ndarray:
    labels = np.zeros((size, size), np.uint8)
    for at in (10, 30, 50):
        labels[at : at + 4] = labels[:, at : at + 4] = label
    return labels


def damaged(reference: np.ndarray, seed: int) -> np.ndarray:
    """Probabilities (2, *S) with specks of three pixels, and gaps in bars where it is less certain."""
    rng = np.random.default_rng(seed)
    likely = np.where(reference > 0, 0.9, 0.02).astype(np.float32)
    for row, column in rng.choice(np.argwhere(reference == 0), 6):
        likely[row, column : column + 3] = 0.8
    for gap in rng.choice([14, 18, 22, 34, 38, 42], 3, replace=False):
        likely[30:34, gap : gap + 2] = 0.3
    return np.stack([1 - likely, likely])


def cases(folder: Path, count: int = 4, spoil=damaged) -> list[str]:
    """LABELS, PREDICTIONS and model files; returns the command's arguments."""
    (folder / "true").mkdir()
    for seed in range(count):
        write_nifti(grid_of_bars(), folder / "true", f"case_{seed}")
        probabilities = spoil(grid_of_bars(), seed)
        write_case(folder / "predicted", f"case_{seed}", probabilities, labels_of("one", probabilities), write_nifti,
                   (0.5, 0.7))
    return [str(folder / "true"), str(folder / "predicted"), *model_files(folder, "one"), "-o",
            str(folder / "pp.json"), "-np", "0"]


def test_gaps_and_specks_are_found_and_applied_with_the_gain_that_was_promised(tmp_path, capsys):
    arguments = cases(tmp_path)
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "vessel: " in printed and "close gaps (tau 0.2)" in printed and "mm2" in printed and "| case_3 |" in printed
    found = read_postprocessing(tmp_path / "pp.json")
    assert (found.axes == 2 and found.operations[0].gaps_tau == 0.2) or found.operations[0].gaps_tau == 0.1
    gains = found.chosen["regions"]["vessel"]
    assert gains["predicted"]["error"] > 5 and gains["post_processed"]["error"] == gains["leave_one_out"]["error"] == 0
    assert apply([arguments[1], str(tmp_path / "out"), "-pp", str(tmp_path / "pp.json"), *arguments[2:6],
                  "-np", "0"]) == 0
    for seed in range(4):
        result = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "out" / f"case_{seed}.nii.gz")))
        scores = gains["images"][f"case_{seed}"]["post_processed"]
        assert sum(betti_error(result == 1, grid_of_bars() == 1)) == 0 == scores["error"]
        assert np.isclose(dice(result == 1, grid_of_bars() == 1), scores["dice"])
        assert np.isclose(cl_dice(result == 1, grid_of_bars() == 1), scores["cl_dice"])


def test_without_probabilities_gaps_are_left_out_and_this_is_said(tmp_path, capsys):
    arguments = cases(tmp_path)
    for file in (tmp_path / "predicted").glob("*.npz"):
        file.unlink()
    assert main(arguments) == 0
    assert "gaps were not searched" in capsys.readouterr().out
    operations = read_postprocessing(tmp_path / "pp.json").operations[0]
    assert operations.gaps_tau == 0.5 and operations.specks_smaller_than > 0


def test_nothing_is_chosen_where_nothing_helps_and_this_is_said(tmp_path, capsys):
    def perfect(reference, seed):
        likely = np.where(reference > 0, 0.9, 0.05).astype(np.float32)
        return np.stack([1 - likely, likely])

    assert main(cases(tmp_path, spoil=perfect)) == 0
    assert "nothing was chosen" in capsys.readouterr().out
    assert read_postprocessing(tmp_path / "pp.json").operations == (Operations(),)


def test_several_folds_are_one_set_of_images_and_a_case_in_two_of_them_is_refused(tmp_path, capsys):
    arguments = cases(tmp_path)
    other = tmp_path / "fold_1"
    other.mkdir()
    for file in (tmp_path / "predicted").glob("case_3*"):
        file.rename(other / file.name)
    assert main([arguments[0], arguments[1], str(other), *arguments[2:]]) == 0
    assert read_postprocessing(tmp_path / "pp.json").chosen["images"] == 4
    write_nifti(grid_of_bars(), other, "case_0")
    twice = [arguments[0], arguments[1], str(other), *arguments[2:]]
    assert "case_0.nii.gz lies in" in refused(twice, tmp_path, capsys)


def refused(arguments: list[str], tmp_path: Path, capsys) -> str:
    before = contents(tmp_path)
    assert main(arguments) == 1
    assert contents(tmp_path) == before, "something was written"
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error.split("Error: ")[1]


def test_bad_input_is_named_and_nothing_is_written(tmp_path, capsys):
    arguments = cases(tmp_path, 2)
    npz = tmp_path / "predicted" / "case_1.npz"
    kept = npz.read_bytes()
    npz.unlink()
    assert "1 of 2 case(s) have no probabilities" in refused(arguments, tmp_path, capsys)
    np.savez(npz, probabilities=np.full((2, 1, 64, 64), np.nan, np.float32))
    assert "not a number" in refused(arguments, tmp_path, capsys)
    np.savez(npz, probabilities=np.zeros((4, 1, 64, 64), np.float32))
    assert "have 2 channel(s)" in refused(arguments, tmp_path, capsys)
    npz.write_bytes(kept)
    write_nifti(grid_of_bars(), tmp_path / "predicted", "case_7")
    assert "have no reference in" in refused(arguments, tmp_path, capsys)
    (tmp_path / "predicted" / "case_7.nii.gz").unlink()
    assert "does not exist" in refused([str(tmp_path / "no"), *arguments[1:]], tmp_path, capsys)
    assert "-o is a file here" in refused([*arguments, "-o", str(tmp_path)], tmp_path, capsys)
    for seed in range(2):
        write_nifti(np.zeros((64, 64), np.uint8), tmp_path / "predicted", f"case_{seed}")
    for file in (tmp_path / "predicted").glob("*.npz"):
        file.unlink()
    assert "vessel [1] is predicted nowhere" in refused(arguments, tmp_path, capsys)
    for seed in range(2):
        write_nifti(np.zeros((64, 64), np.uint8), tmp_path / "true", f"case_{seed}")
    assert "vessel [1] occurs in no reference" in refused(arguments, tmp_path, capsys)


@pytest.mark.parametrize(("spoil", "sentence"), [
    (lambda npz: np.savez(npz, probabilities=np.zeros((2, 1, 64, 63), np.float32)), "has the shape (1, 64, 63)"),
    (lambda npz: np.savez(npz, probabilities=np.load(npz)["probabilities"][::-1]), "says other labels than"),
    (lambda npz: np.savez(npz, probabilities=np.load(npz)["probabilities"] * 3), "but probabilities lie in [0, 1]"),
    (lambda npz: npz.with_suffix(".pkl").write_bytes(pickle.dumps({"spacing": (1, 0.5, 0.9)})), "has the spacing (1.0"),
    (lambda npz: write_nifti(np.full((64, 64), 3, np.uint8), npz.parent, "case_1"), "holds the label(s) 3"),
    (lambda npz: write_nifti(grid_of_bars()[1:], npz.parent, "case_1"), "differ in"),
])  # fmt: skip
def test_a_case_that_does_not_fit_is_named_and_nothing_is_written(spoil, sentence, tmp_path, capsys):
    arguments = cases(tmp_path, 2)
    spoil(tmp_path / "predicted" / "case_1.npz")
    error = refused(arguments, tmp_path, capsys)
    assert sentence in error and "case_1" in error


def test_other_files_are_not_written_over_and_settings_are(tmp_path, capsys):
    arguments = cases(tmp_path, 2)
    for file in (tmp_path / "dataset.json", tmp_path / "predicted" / "case_0.nii.gz"):
        assert "which holds something else" in refused([*arguments, "-o", str(file)], tmp_path, capsys)
    assert main(arguments) == main(arguments) == 0


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(["gaps_first", "specks_first"]), st.sampled_from([0.5, 0.3, 0.1]), st.sampled_from([0.0, 8.0]),
       st.sampled_from([0.0, 0.7]), st.sampled_from([0.0, 6.0]), st.none() | st.integers(1, 3), seeds)
def test_what_the_search_tries_is_what_is_applied(order, tau, specks, peak, holes, pieces, seed):
    """The search computes what settings share once; a label map with the same settings must come out the same."""
    operations = Operations(order, tau, False, specks, peak, holes, 0.0, pieces)
    for shape in ((24, 20), (7, 9, 8)):
        probabilities = random_probabilities("one", shape, seed)
        labels, scheme = labels_of("one", probabilities), scheme_of("one")
        case = case_of("one", probabilities, labels)
        spacing = (1.0,) * len(shape)
        applied = postprocess_labels(labels, spacing, scheme, [operations], case) == 1
        reference = np.random.default_rng(seed).random(shape) < 0.3
        region = RegionCase(labels == 1, reference, spacing, probabilities=case.of(0), lowest_tau=0.05)
        region.processed(Operations("specks_first", 0.3, specks_smaller_than=4.0))  # something else before
        scores = region.scores(operations, "betti_error")
        assert scores.errors == betti_error(applied, reference)
        assert scores.dice == pytest.approx(dice(applied, reference), nan_ok=True)
        assert scores.cl_dice == pytest.approx(cl_dice(applied, reference), nan_ok=True)


def scored(errors: list[int], dices: list[float], changed: float) -> list[Scores]:
    return [Scores((error,), share, share, changed) for error, share in zip(errors, dices, strict=True)]


def test_the_gentlest_within_one_standard_error_of_the_best_is_chosen_by_hand_count():
    raw, gentle, best = Operations(), Operations(specks_smaller_than=1), Operations(specks_smaller_than=2)
    table = {raw: scored([9, 9, 9, 9], [0.8] * 4, 0.0), gentle: scored([3, 3, 3, 3], [0.8] * 4, 0.1),
             best: scored([2, 0, 2, 4], [0.8] * 4, 0.2)}  # gentle has 1 more, +- 0.82
    assert choose(table, Tolerances(), range(4)) == best
    table[gentle] = scored([3, 3, 3, 2], [0.8] * 4, 0.1)  # 0.75 more, +- 1.03
    assert choose(table, Tolerances(), range(4)) == gentle
    table[gentle] = scored([3, 3, 3, 2], [0.79] * 4, 0.1)  # Dice falls by more than the tolerance
    assert choose(table, Tolerances(), range(4)) == best
    assert choose(table, Tolerances(dice=0.02, cl_dice=0.005), range(4)) == best
    assert choose(table, Tolerances(dice=0.02, cl_dice=0.02), range(4)) == gentle


def test_leave_one_out_chooses_without_the_image():
    raw, other = Operations(), Operations(specks_smaller_than=1)
    table = {raw: scored([1, 1, 1], [0.8] * 3, 0.0), other: scored([0, 9, 0], [0.8] * 3, 0.1)}
    assert leave_one_out(table, Tolerances()) == [raw, other, raw]
    assert leave_one_out({raw: scored([1], [0.8], 0.0), other: scored([0], [0.8], 0.1)}, Tolerances()) == [raw]


def test_the_settings_file_is_readable_json(tmp_path):
    assert main(cases(tmp_path)) == 0
    content = json.loads((tmp_path / "pp.json").read_text())
    assert content["unit_of_sizes"] == "mm2" and content["regions"][0]["name"] == "vessel"
    assert content["chosen"]["references"] == str(tmp_path / "true") and content["version"]
