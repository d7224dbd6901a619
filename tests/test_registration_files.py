"""Files that a registration cannot take are named, with what is wrong, whichever of the two they are."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  its customary name

from nnunet_topo.commands import register as command
from nnunet_topo.registration.cases import read_image


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
    assert ("whole number of at least 1" if label else "is a name") in error and not (tmp_path / "out").exists()
