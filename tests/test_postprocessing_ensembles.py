"""Post-processing of what nnUNetv2_ensemble writes."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from nnunetv2.ensembling.ensemble import entry_point_ensemble_folders
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from postprocessing_cases import labels_of, model_files, random_probabilities, scheme_of, write_case
from test_apply_postprocessing import SPACING, write_nifti
from test_postprocessing_labels import case_of

from nnunet_topo.commands.apply_postprocessing import main as apply
from nnunet_topo.commands.find_postprocessing import main as find
from nnunet_topo.postprocessing import Operations, Postprocessing, postprocess_labels, write_postprocessing

SHAPE = (10, 14, 12)


def ensemble_of_two(folder: Path, kind: str, monkeypatch) -> list[str]:
    """Predictions of two models as nnU-Net writes them, and their ensemble in ``together``; the flags of its files."""
    for model in range(2):
        place = folder / f"model_{model}"
        model_files(place, kind)
        for case in range(2):
            probabilities = random_probabilities(kind, SHAPE, 10 * model + case)
            write_case(place, f"case_{case}", probabilities, labels_of(kind, probabilities), write_nifti, SPACING)
            _, properties = SimpleITKIO().read_seg(str(place / f"case_{case}.nii.gz"))
            (place / f"case_{case}.pkl").write_bytes(pickle.dumps(properties))
    monkeypatch.setattr(sys, "argv", ["nnUNetv2_ensemble", "-i", str(folder / "model_0"), str(folder / "model_1"), "-o",
                                      str(folder / "together"), "--save_npz", "-np", "1"])
    entry_point_ensemble_folders()
    return ["-djfile", str(folder / "together" / "dataset.json"), "-pfile", str(folder / "model_0" / "plans.json")]


@pytest.mark.parametrize("kind", ["four", "regions"])
def test_an_ensemble_is_post_processed_by_its_mean_probabilities(kind, tmp_path, monkeypatch, capsys):
    flags = ensemble_of_two(tmp_path, kind, monkeypatch)
    scheme, operations = scheme_of(kind), Operations(gaps_tau=0.3, specks_smaller_than=8, holes_smaller_than=8)
    write_postprocessing(tmp_path / "pp.json", Postprocessing(3, scheme.names, scheme.regions,
                                                              (operations,) * len(scheme.names)))
    command = [str(tmp_path / "together"), str(tmp_path / "out"), "-pp", str(tmp_path / "pp.json"), "-np", "0"]
    assert apply(command) == 1  # nnU-Net puts no plans beside ensembles
    assert "Name that of the trained model by -pfile" in capsys.readouterr().err
    assert apply([*command, *flags]) == 0
    for case in range(2):
        mean = np.mean([random_probabilities(kind, SHAPE, 10 * model + case) for model in range(2)], axis=0)
        files = [tmp_path / folder / f"case_{case}.nii.gz" for folder in ("together", "out")]
        before, after = (SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file))) for file in files)
        assert np.array_equal(before, labels_of(kind, mean))
        expected = postprocess_labels(before, SPACING, scheme, [operations] * len(scheme.names),
                                      case_of(kind, mean, before))
        assert np.array_equal(after, expected) and not np.array_equal(after, before)


def test_settings_are_found_on_an_ensemble_of_validation_predictions(tmp_path, monkeypatch):
    flags = ensemble_of_two(tmp_path, "one", monkeypatch)
    (tmp_path / "true").mkdir()
    for case in range(2):
        likely = random_probabilities("one", SHAPE, case, smooth=2)
        write_nifti(labels_of("one", likely), tmp_path / "true", f"case_{case}")
    assert find([str(tmp_path / "true"), str(tmp_path / "together"), *flags, "-o", str(tmp_path / "pp.json"), "-np",
                 "0"]) == 0
    assert json.loads((tmp_path / "pp.json").read_text())["chosen"]["probabilities"]
