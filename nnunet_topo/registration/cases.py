"""Files in and out: one case, or a folder of cases in nnU-Net's naming."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813  its customary name

from nnunet_topo.files import files_of, require_whole, write_image, written_at_once
from nnunet_topo.registration.checks import are_at_right_angles, require_volume
from nnunet_topo.registration.labels import named_labels
from nnunet_topo.registration.probabilities import bone_probability
from nnunet_topo.registration.procedure import register
from nnunet_topo.registration.result import Registration

ENDING = ".nii.gz"
_BESIDE = (ENDING, ".nii", ".nrrd", ".mha")  # label maps of nnU-Net beside its probabilities

_SHEARED = ("{} has an affine whose axes are not at right angles. Resample it to a grid of right angles, e.g. by "
            "nibabel.processing.resample_to_output.")


@dataclass(frozen=True)
class Case:
    """Where the files of one case lie; those that are None are not used."""

    name: str
    fixed: Path
    moving: Path
    fixed_image: Path | None = None
    moving_image: Path | None = None


def read_segmentation(file: Path, label: tuple[int, ...] | None = None) -> sitk.Image:
    """A label map, a probability map, or nnU-Net's ``.npz`` of probabilities beside the label map of the same name.

    Of an ``.npz`` the probability of the ``label`` is taken, or of the region that consists of these labels.
    """
    if file.suffix != ".npz":
        return read_image(file)
    label_maps = [file.with_name(file.stem + ending) for ending in _BESIDE]
    label_maps = [path for path in label_maps if path.is_file()]
    if not file.is_file() or len(label_maps) != 1:
        raise ValueError(f"{file} needs, beside itself, the one label map {file.stem}{ENDING} (or "
                         f"{', '.join(_BESIDE[1:])}) that nnU-Net wrote with it, which says where the voxels lie; "
                         f"there are {len(label_maps)}.")
    return bone_probability(file, read_image(label_maps[0]), label)


def read_image(file: Path) -> sitk.Image:
    """A 3D image of one channel; ValueError where it is not one, cannot be read, was cut off, or is sheared."""
    if not file.is_file():
        raise ValueError(f"{file} cannot be read: there is no such file.")
    require_whole(file)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    try:
        reader.ReadImageInformation()
        _require_right_angles(reader, file)
        image = reader.Execute()
    except RuntimeError as error:
        if "orthonormal" in str(error):
            raise ValueError(_SHEARED.format(file)) from error
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise ValueError(f"{file} cannot be read by SimpleITK ({lines[-1].strip() if lines else error}).") from error
    require_volume(image, f"image {file}")
    return image


def _require_right_angles(reader: sitk.ImageFileReader, file: Path) -> None:
    """A NIfTI file without a shear in its affine, in whose place SimpleITK takes the quaternion, and says nothing."""
    rows = [f"srow_{axis}" for axis in "xyz"]
    if not all(map(reader.HasMetaDataKey, ["sform_code", *rows])) or reader.GetMetaData("sform_code") == "0":
        return
    affine = np.array([[float(number) for number in reader.GetMetaData(row).split()[:3]] for row in rows])
    length = np.linalg.norm(affine, axis=0)
    if (length > 0).all() and not are_at_right_angles(affine / length):
        raise ValueError(_SHEARED.format(file))


def cases_of(fixed: Path, moving: Path, images: Path | None, moving_images: Path | None) -> list[Case]:
    """The cases of two folders of segmentations, CASE.nii.gz in both; images are CASE_0000.nii.gz of theirs.

    Raises ValueError where a case lacks a file.
    """
    names = [file.name[: -len(ENDING)] for file in files_of(fixed, ENDING)]
    if not names:
        raise ValueError(f"The folder {fixed} holds no segmentation *{ENDING}.")
    cases = []
    for name in names:
        case = Case(name, fixed / f"{name}{ENDING}", moving / f"{name}{ENDING}",
                    images / f"{name}_0000{ENDING}" if images else None,
                    moving_images / f"{name}_0000{ENDING}" if moving_images else None)
        for file in (case.moving, case.fixed_image, case.moving_image):
            if file is not None and not file.is_file():
                raise ValueError(f"The case {name} has no {file}. Segmentations are CASE{ENDING} in both folders, "
                                 f"images CASE_0000{ENDING} in theirs.")
        cases.append(case)
    return cases


def left_out(cases: list[Case], moving: Path) -> list[str]:
    """Names of moving segmentations that are not among the cases, since there is no fixed one."""
    return sorted({file.name[: -len(ENDING)] for file in files_of(moving, ENDING)} - {case.name for case in cases})


def register_case(
    case: Case, label: str | None = None, moving_label: str | None = None, **options: Any
) -> tuple[Registration, dict[str, Any]]:
    """Read, register, and return the result with the images and labels that went in.

    Args:
        label: the bone in both, by number, several numbers ("1,2"), or name in the dataset.json of each file.
        moving_label: the bone in the moving one, where it differs.
    """
    given: dict[str, Any] = {}
    for side, file, name in (("fixed", case.fixed, label), ("moving", case.moving, moving_label or label)):
        numbers = named_labels(name, file)
        given[side] = read_segmentation(file, numbers)
        given["label" if side == "fixed" else "moving_label"] = 1 if file.suffix == ".npz" else numbers
    for side, image in (("fixed_image", case.fixed_image), ("moving_image", case.moving_image)):
        given[side] = read_image(image) if image else None
    return register(**given, **options), given


def write_channels(case: Case, result: Registration, images: dict[str, Any], folder: Path) -> list[Path]:
    """CASE_0000 as it is and, on its grid, CASE_0001: the channels of a raw dataset of nnU-Net.

    Written for sure results only, and only where both images are there; both or neither, since nnU-Net would take one
    alone for a broken case.
    """
    if not result.sure or result.moved_image is None or images["fixed_image"] is None:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{case.name}_{number:04d}{ENDING}" for number in range(2)]
    with written_at_once(files[0]) as one, written_at_once(files[1]) as two:
        write_image(images["fixed_image"], one)
        write_image(result.moved_image, two)
    return files
