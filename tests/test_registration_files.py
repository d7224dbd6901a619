"""Files that a registration cannot take are named, with what is wrong, whichever of the two they are."""

from __future__ import annotations

from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  its customary name

from nnunet_topo.commands import register as command
from nnunet_topo.registration import Quality, Registration, register
from nnunet_topo.registration import cases as cases_module
from nnunet_topo.registration.cases import (
    Case,
    cases_of,
    left_out,
    read_image,
    read_segmentation,
    register_case,
    write_channels,
)


def values():
    bone = np.zeros((30, 30, 30), np.uint8)
    bone[5:15, 6:18, 6:24] = 1
    return bone


def sheared(file, shear, with_quaternion):
    """A NIfTI file whose affine is sheared; its quaternion, if it has one, cannot be."""
    affine = np.diag([0.8, 0.9, 1.2, 1.0])
    affine[0, 1] = shear
    image = nibabel.Nifti1Image(values(), affine)
    image.set_sform(affine, 1)
    image.set_qform(affine if with_quaternion else None, int(with_quaternion), strip_shears=True)
    nibabel.save(image, file)


@pytest.mark.parametrize("sides", [("fixed", "moving"), ("moving", "fixed")])
@pytest.mark.parametrize("with_quaternion", [True, False])
def test_a_sheared_affine_is_refused_whichever_file_has_it(with_quaternion, sides, tmp_path, capsys):
    sheared(tmp_path / "sheared.nii.gz", 0.2, with_quaternion)
    sitk.WriteImage(sitk.GetImageFromArray(values()), str(tmp_path / "straight.nii.gz"))
    arguments = [f"-{side}={tmp_path / name}.nii.gz" for side, name in zip(sides, ("sheared", "straight"), strict=True)]
    assert command.main([*arguments, "-o", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert "sheared.nii.gz has an affine whose axes are not at right angles" in error and "Resample" in error


def test_an_affine_as_exact_as_headers_are_is_taken(tmp_path):
    sheared(tmp_path / "straight.nii.gz", 1e-6, True)
    assert np.allclose(read_image(tmp_path / "straight.nii.gz").GetSpacing(), (0.8, 0.9, 1.2))


def test_a_file_of_two_channels_is_named(tmp_path, capsys):
    both = sitk.Compose(*[sitk.GetImageFromArray(values())] * 2)
    sitk.WriteImage(both, str(tmp_path / "two.nii.gz"))
    sitk.WriteImage(sitk.GetImageFromArray(values()), str(tmp_path / "one.nii.gz"))
    for fixed, moving in (("one", "two"), ("two", "one")):
        assert command.main([f"-fixed={tmp_path / fixed}.nii.gz", f"-moving={tmp_path / moving}.nii.gz",
                             "-o", str(tmp_path / "out")]) == 1
        assert "two.nii.gz has 2 channels" in capsys.readouterr().err


@pytest.mark.parametrize("options, words", [
    (["-l", "1", "2", "3"], "joined by commas"), (["--seed", "-1"], "at least 0"), (["-channel", "1"], "unrecognized")])
def test_options_that_mean_nothing_are_refused_before_anything_is_read(options, words, capsys):
    with pytest.raises(SystemExit):
        command.main(["-fixed", "none.nii.gz", "-moving", "none.nii.gz", *options])
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("label", ["-1", "0", "1,-2", ""])
def test_labels_below_1_are_refused_on_the_command_line(label, tmp_path, capsys):
    sitk.WriteImage(sitk.GetImageFromArray(values()), str(tmp_path / "one.nii.gz"))
    file = str(tmp_path / "one.nii.gz")
    assert command.main(["-fixed", file, "-moving", file, "-l", label, "-o", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert ("whole number of at least 1" if label else "is a name") in error and not list(tmp_path.glob("out/*"))


def cut_off(file, ending):
    """Noise, whose file is not over before its end, without its last third, as an interrupted copy leaves it."""
    noise = np.random.default_rng(0).integers(0, 2, (20, 30, 30)).astype(np.uint8)
    path = file.with_name(file.name + ending)
    sitk.WriteImage(sitk.GetImageFromArray(noise), str(path), useCompression=ending != ".nii")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    return path


def test_simpleitk_reads_a_file_that_was_cut_off_as_if_zeros_had_followed(tmp_path):
    read = sitk.GetArrayFromImage(sitk.ReadImage(str(cut_off(tmp_path / "a", ".nii.gz"))))
    assert read[:10].any() and not read[16:].any()  # else the tests below show nothing


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".mha", ".nrrd"])
@pytest.mark.parametrize("place", ["fixed", "moving", "fixed_image", "moving_image"])
def test_a_file_that_was_cut_off_is_refused_in_each_place(place, ending, tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(values()), str(tmp_path / "whole.nii.gz"))
    files = dict.fromkeys(("fixed", "moving", "fixed_image", "moving_image"), tmp_path / "whole.nii.gz")
    with pytest.raises(ValueError, match=r"cut\.\S+ (is cut off or damaged|cannot be read)"):
        register_case(Case("a", **{**files, place: cut_off(tmp_path / "cut", ending)}))


def test_a_label_map_beside_probabilities_that_was_cut_off_is_refused(tmp_path):
    noise = np.zeros((20, 30, 30), np.float32)
    np.savez(tmp_path / "a.npz", probabilities=np.stack([1 - noise, noise]))
    cut_off(tmp_path / "a", ".nii.gz")
    with pytest.raises(ValueError, match=r"a\.nii\.gz is cut off"):
        read_segmentation(tmp_path / "a.npz")


def test_hidden_files_are_no_cases_and_moving_ones_alone_are_named(tmp_path, capsys):
    fixed, moving = tmp_path / "ct", tmp_path / "mr"
    for folder, names in ((fixed, ("a", "._a", "b.1")), (moving, ("a", "b.1", "c", "._c"))):
        folder.mkdir()
        for name in names:
            (folder / f"{name}.nii.gz").write_bytes(b"")
    cases = cases_of(fixed, moving, None, None)
    assert [case.name for case in cases] == ["a", "b.1"] and left_out(cases, moving) == ["c"]
    assert command.main(["-fixed", str(fixed), "-moving", str(moving), "-o", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr()
    assert f"Only in {moving}, and left out: c" in printed.out and "a: Error: " in printed.err
    assert "is empty" in printed.err and "0 of 2 case(s)" in printed.out


def test_a_case_keeps_the_points_of_its_name():
    assert [command._name(command.Path(f"x/a.b{ending}")) for ending in (".nii.gz", ".npz", ".mha")] == ["a.b"] * 3


def test_a_device_that_is_not_there_is_refused_in_a_sentence():
    image = sitk.GetImageFromArray(values())
    for device in ("cuda:99", "gpu"):
        with pytest.raises(ValueError, match=f"The device '{device}' cannot be used here"):
            register(image, image, device=device)


def test_of_two_channels_both_are_written_or_neither(tmp_path, monkeypatch):
    image = sitk.GetImageFromArray(values())
    result = SimpleNamespace(sure=True, moved_image=image)
    case = Case("a", tmp_path / "x", tmp_path / "y")

    def no_room_for_the_second(image, path):
        if "_0001" in str(path):
            raise OSError("no room")
        sitk.WriteImage(image, str(path))

    monkeypatch.setattr(cases_module, "write_image", no_room_for_the_second)
    with pytest.raises(OSError, match="no room"):
        write_channels(case, result, {"fixed_image": image}, tmp_path / "channels")
    assert not list((tmp_path / "channels").iterdir())
    monkeypatch.undo()
    files = write_channels(case, result, {"fixed_image": image}, tmp_path / "channels")
    assert sorted((tmp_path / "channels").iterdir()) == files and len(files) == 2


@pytest.mark.parametrize("sure", [True, False])
def test_a_result_leaves_nothing_of_an_earlier_one_in_its_folder(sure, tmp_path):
    image = sitk.GetImageFromArray(values())

    def result(sure, moved_image=None):
        quality = Quality(None, *[1.0] * 10, True, None, {}, [] if sure else ["It slides."])
        return Registration(sitk.Euler3DTransform(), image, moved_image, quality, [])

    (tmp_path / "notes.txt").write_text("the user's own")
    result(not sure, image).write(tmp_path)
    (tmp_path / f"{'UNSURE_' if sure else ''}registration.png").write_bytes(b"")
    files = result(sure).write(tmp_path)
    assert {file.name.startswith("UNSURE_") for file in files} == {not sure} and len(files) == 3
    assert sorted(tmp_path.iterdir()) == sorted([*files, tmp_path / "notes.txt"])


def test_channels_of_an_earlier_sure_result_are_removed(tmp_path, monkeypatch):
    image = sitk.GetImageFromArray(values())
    for name in ("ct", "mr"):
        sitk.WriteImage(image, str(tmp_path / f"{name}.nii.gz"))
    case = Case("a", tmp_path / "ct.nii.gz", tmp_path / "mr.nii.gz")
    quality = Quality(None, *[1.0] * 10, True, None, {}, ["It slides."])
    result = Registration(sitk.Euler3DTransform(), image, image, quality, [])
    given = dict.fromkeys(("fixed", "moving", "fixed_image"), image) | {"label": None, "moving_label": None}
    monkeypatch.setattr(cases_module, "register_case", lambda *arguments, **options: (result, given))
    monkeypatch.setattr("nnunet_topo.report.registration_figure.registration_figure", lambda *_, **options: None)
    out = tmp_path / "out"
    out.mkdir()
    for number in range(2):
        (out / f"a_000{number}.nii.gz").write_bytes(b"of an earlier result")
    options = SimpleNamespace(label=[], t="rigid", by="combined", moved_skeleton=0.0, seed=0, device="cpu")
    assert not command._one(case, options, out)
    assert all(file.name.startswith("UNSURE_") for file in out.iterdir())
