"""``nnUNetv2_topo_register``: files, folders, the demo, and its exit codes."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  its customary name

from nnunet_topo import synthetic
from nnunet_topo.commands import register as command
from nnunet_topo.registration import search, stages
from nnunet_topo.registration.cases import cases_of
from nnunet_topo.synthetic import mandible_pair

coarse = partial(mandible_pair, coarseness=2)


def ball(offset: float) -> sitk.Image:
    z, y, x = np.indices((36, 36, 36)) - 18.0 + offset
    return sitk.GetImageFromArray((z**2 + y**2 + x**2 < 100).astype(np.uint8))


def scan(segmentation: sitk.Image, seed: int) -> sitk.Image:
    """An image with noise of its own: two without noise would tell the turns of a ball by their voxels."""
    values = sitk.GetArrayFromImage(segmentation) + np.random.default_rng(seed).normal(0, 0.5, (36, 36, 36))
    return sitk.GetImageFromArray(values.astype(np.float32))


def test_the_demo_registers_a_synthetic_mandible_and_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(synthetic, "mandible_pair", coarse)
    arguments = ["--demo", "-o", str(tmp_path / "demo"), "--seed", "3"]
    assert command.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "synthetic" in printed and "accuracy in patients" in printed and "demo: sure" in printed
    folder = tmp_path / "demo" / "registered"
    assert {file.name for file in folder.iterdir()} == {
        "transform.tfm", "moved_segmentation.nii.gz", "moved_image.nii.gz", "quality.json", "registration.png",
        "demo_0000.nii.gz", "demo_0001.nii.gz"}
    first, second = (sitk.ReadImage(str(folder / f"demo_000{k}.nii.gz")) for k in (0, 1))
    assert first.GetSize() == second.GetSize() and np.allclose(first.GetOrigin(), second.GetOrigin())
    assert json.loads((folder / "quality.json").read_text())["target_registration_error_mm"] < 1.5
    assert command.main(arguments) == 1 and "not empty" in capsys.readouterr().err

    landmarks = [f"-landmarks_{name}={tmp_path / 'demo' / name}_landmarks.csv" for name in ("fixed", "moving")]
    files = [f"-{name}={tmp_path / 'demo' / name}_seg.nii.gz" for name in ("fixed", "moving")]
    assert command.main([*files, *landmarks, "-o", str(tmp_path / "again"), "--seed", "3"]) == 0
    again = json.loads((tmp_path / "again" / "quality.json").read_text())
    first = json.loads((folder / "quality.json").read_text())
    # by the segmentations alone, which is less exact
    assert first["target_registration_error_mm"] < again["target_registration_error_mm"] - 0.03 < 0.3


def test_folders_give_channels_for_sure_cases_and_exit_code_2_where_one_is_not(tmp_path, capsys):
    pair = mandible_pair(3, coarseness=2.5, cut_mm=0, images=True)
    for folder in ("ct", "mr", "ct_images", "mr_images"):
        (tmp_path / folder).mkdir()
    for name, one, two in (("a", pair.fixed, pair.moving), ("b", ball(0), ball(1))):
        sitk.WriteImage(one, str(tmp_path / "ct" / f"{name}.nii.gz"))
        sitk.WriteImage(two, str(tmp_path / "mr" / f"{name}.nii.gz"))
    for name, one, two in (("a", pair.fixed_image, pair.moving_image), ("b", scan(ball(0), 1), scan(ball(1), 2))):
        sitk.WriteImage(one, str(tmp_path / "ct_images" / f"{name}_0000.nii.gz"))
        sitk.WriteImage(two, str(tmp_path / "mr_images" / f"{name}_0000.nii.gz"))
    out = tmp_path / "out"
    code = command.main(["-fixed", str(tmp_path / "ct"), "-moving", str(tmp_path / "mr"), "-o", str(out),
                         "-fixed_image", str(tmp_path / "ct_images"), "-moving_image", str(tmp_path / "mr_images")])
    assert code == 2 and "1 of 2 case(s) are sure" in capsys.readouterr().out
    assert sorted(file.name for file in (out / "channels").iterdir()) == ["a_0000.nii.gz", "a_0001.nii.gz"]
    assert all(file.name.startswith("UNSURE_") for file in (out / "b").iterdir())


def box(offset: int) -> sitk.Image:
    values = np.zeros((36, 36, 36), np.uint8)
    values[offset:offset + 9, 8:22, 6:27] = 1
    return sitk.GetImageFromArray(values)


@pytest.mark.parametrize("iterations, words", [(60, "A different pose fits nearly as well"),
                                               (1, "did not come to rest")])
def test_what_is_not_sure_has_exit_code_2_and_says_why(iterations, words, tmp_path, capsys, monkeypatch):
    ladder = tuple(replace(stage, iterations=min(stage.iterations, iterations))
                   for stage in stages.SIMILARITIES["combined"])
    for module in (stages, search):
        monkeypatch.setattr(module, "SIMILARITIES", {**stages.SIMILARITIES, "combined": ladder})
    for name, offset in (("one", 5), ("two", 9)):
        sitk.WriteImage(box(offset), str(tmp_path / f"{name}.nii.gz"))
    out = tmp_path / "out"
    assert command.main(["-fixed", str(tmp_path / "one.nii.gz"), "-moving", str(tmp_path / "two.nii.gz"),
                         "-o", str(out)]) == 2
    printed = capsys.readouterr().out
    assert "NOT SURE" in printed and words in printed
    assert all(file.name.startswith("UNSURE_") for file in out.iterdir())


def test_errors_are_sentences_with_exit_code_1(tmp_path, capsys):
    sitk.WriteImage(ball(0), str(tmp_path / "one.nii.gz"))
    empty = sitk.Image(20, 20, 20, sitk.sitkUInt8)
    sitk.WriteImage(empty, str(tmp_path / "empty.nii.gz"))
    one, none = str(tmp_path / "one.nii.gz"), str(tmp_path / "none.nii.gz")
    for arguments, words in (
        (["-fixed", one, "-moving", none], "cannot be read"),
        (["-fixed", one, "-moving", str(tmp_path)], "two files or two folders"),
        (["-fixed", one, "-moving", str(tmp_path / "empty.nii.gz")], "is empty"),
        (["-fixed", one, "-moving", one, "-by", "intensity"], "give fixed_image and moving_image"),
        (["-fixed", one, "-moving", one, "-landmarks_fixed", "x.csv"], "needed for both"),
        (["-fixed", one, "-moving", one, "-o", str(tmp_path)], "might be overwritten"),
    ):
        assert command.main(["-o", str(tmp_path / "out"), *arguments]) == 1
        assert words in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main(["-fixed", one])


def test_a_case_without_its_file_is_named(tmp_path):
    for folder in ("ct", "mr"):
        (tmp_path / folder).mkdir()
    with pytest.raises(ValueError, match="holds no segmentation"):
        cases_of(tmp_path / "ct", tmp_path / "mr", None, None)
    sitk.WriteImage(ball(0), str(tmp_path / "ct" / "a.nii.gz"))
    with pytest.raises(ValueError, match="The case a has no"):
        cases_of(tmp_path / "ct", tmp_path / "mr", None, None)
