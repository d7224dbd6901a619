"""nnUNetv2_topo_evaluate --connectivity: the numbers of either form, their names beside them, and no comparison."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from evaluation_cases import command, write

from nnunet_topo.report.evaluation_page import write_evaluation_page

LENGTH = 32
PAIRS_THAT_TIE = {  # the same pair of masks and its mirror image: the published count depends on the orientation
    "tied": ([[0, 0, 0], [1, 0, 1], [0, 1, 1]], [[0, 1, 0], [0, 0, 1], [0, 1, 1]]),
    "mirrored": ([[0, 0, 0], [1, 0, 1], [1, 1, 0]], [[0, 1, 0], [1, 0, 0], [1, 1, 0]]),
}


def evaluated(folder: Path, pairs: dict[str, tuple[np.ndarray, np.ndarray]], *arguments: str) -> dict:
    """The summary of pairs (prediction, reference) by name."""
    for name, (prediction, reference) in pairs.items():
        write(np.asarray(reference, np.uint8), folder / "true" / f"{name}.nii.gz")
        write(np.asarray(prediction, np.uint8), folder / "predicted" / f"{name}.nii.gz")
    assert command((folder / "true", folder / "predicted"), "-l", "1", "-o", str(folder / "out"), *arguments) == 0
    return json.loads((folder / "out" / "summary_topology.json").read_text())


def diagonal(axes: int) -> tuple[np.ndarray, np.ndarray]:
    """A diagonal line, one pixel thicker in the prediction."""
    line = np.eye(LENGTH, dtype=bool)
    masks = line | np.eye(LENGTH, k=1, dtype=bool), line
    return masks if axes == 2 else tuple(np.pad(mask[None], ((1, 1), (0, 0), (0, 0))) for mask in masks)


@pytest.mark.parametrize("axes", [2, 3])
def test_a_diagonal_line_is_one_piece_or_as_many_as_it_has_pixels(axes, tmp_path, capsys):
    names = {2: ("foreground 8, background 4", "foreground 4, background 8"),
             3: ("foreground 26, background 6", "foreground 6, background 26")}[axes]
    for side, named, pieces in zip(("foreground", "background"), names, (1, LENGTH), strict=True):
        summary = evaluated(tmp_path, {"line": diagonal(axes)}, "--connectivity", side, "--report")  # into one folder
        values, published = summary["mean"]["1"], ", published form" if side == "background" else ""
        errors = [values[f"betti_matching_error_{k}"] for k in range(axes)]
        assert errors == [pieces - 1] + [0] * (axes - 1) and values["betti_matching_error_sum"] == pieces - 1
        assert values["betti_0_error"] == pieces - 1
        assert summary["settings"]["connectivity"] == {f"{axes}D": {"Betti numbers, components": named,
                                                                    "Betti matching": named + published}}
        assert f"Connectivity in {axes}D of Betti matching: {named}{published}.\n" in capsys.readouterr().out
        page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
        assert f"Betti matching in {axes}D: {named}{published}." in page
        assert ("In the pictures the foreground is 8-connected in 2D" in page) == (side == "background")


def test_the_published_count_depends_on_the_orientation_and_the_default_does_not(tmp_path):
    counts = {}
    for side in ("foreground", "background"):
        cases = evaluated(tmp_path, PAIRS_THAT_TIE, "--connectivity", side)["metric_per_case"]
        counts[side] = {case["case"]: case["metrics"]["1"]["betti_matching_error_0"] for case in cases}
    assert counts["background"] == {"tied": 0, "mirrored": 2}
    assert counts["foreground"] == {"tied": 0, "mirrored": 0}


def test_summaries_of_different_connectivities_are_refused(tmp_path):
    summaries = {side: evaluated(tmp_path / side, {"line": diagonal(2)}, "--connectivity", side)
                 for side in ("foreground", "background")}
    with pytest.raises(ValueError, match="background were taken with foreground 4, background 8, of foreground with "
                                         "foreground 8, background 4; numbers of different connectivities are not"):
        write_evaluation_page(tmp_path / "report.html", summaries)
    assert not (tmp_path / "report.html").exists()


def test_an_unknown_connectivity_is_one_sentence(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        command((tmp_path, tmp_path), "-l", "1", "--connectivity", "both")
    said = capsys.readouterr().err.splitlines()[-1]
    assert stopped.value.code == 2 and "--connectivity: invalid choice: 'both'" in said and "'background'" in said
