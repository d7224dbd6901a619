"""Files in and out: one case, or a folder of cases in nnU-Net's naming."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813  its customary name

from nnunet_topo.registration.register import register
from nnunet_topo.registration.result import Registration, write_image

ENDING = ".nii.gz"


@dataclass(frozen=True)
class Case:
    """Where the files of one case lie; those that are None are not used."""

    name: str
    fixed: Path
    moving: Path
    fixed_image: Path | None = None
    moving_image: Path | None = None


def read_segmentation(file: Path, channel: int = 1) -> sitk.Image:
    """A label map, a probability map, or nnU-Net's ``.npz`` of probabilities beside the label map of the same name.

    Of an ``.npz`` the ``channel`` (1 is the first foreground class) is taken; where it lies, the label map says.
    """
    if file.suffix != ".npz":
        return read_image(file)
    label_map = file.with_name(file.stem + ENDING)
    if not file.is_file() or not label_map.is_file():
        raise ValueError(f"{file} needs, beside itself, the label map {label_map.name} that nnU-Net wrote with it, "
                         "which says where the voxels lie.")
    grid = read_image(label_map)
    try:
        probabilities = np.load(file)["probabilities"]
        image = sitk.GetImageFromArray(probabilities[channel].astype(np.float32))
    except (KeyError, IndexError, ValueError, OSError) as error:
        raise ValueError(f"{file} holds no channel {channel} of nnU-Net's probabilities ({error}).") from error
    if image.GetSize() != grid.GetSize():
        raise ValueError(f"{file} has the size {image.GetSize()}, its label map {grid.GetSize()}. Predict both anew "
                         "with --save_probabilities.")
    image.CopyInformation(grid)
    return image


def read_image(file: Path) -> sitk.Image:
    """A 3D image; ValueError with a sentence where it cannot be read."""
    try:
        return sitk.ReadImage(str(file))
    except RuntimeError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise ValueError(f"{file} cannot be read by SimpleITK ({lines[-1].strip() if lines else error}).") from error


def cases_of(fixed: Path, moving: Path, images: Path | None, moving_images: Path | None) -> list[Case]:
    """The cases of two folders of segmentations, CASE.nii.gz in both; images are CASE_0000.nii.gz of theirs.

    Raises ValueError where a case lacks a file.
    """
    names = [file.name[: -len(ENDING)] for file in sorted(fixed.glob(f"*{ENDING}")) if not file.name.startswith(".")]
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


def register_case(case: Case, channel: int = 1, **options: Any) -> tuple[Registration, dict[str, Any]]:
    """Read, register, and return the result with the images that went in."""
    images: dict[str, Any] = {
        "fixed": read_segmentation(case.fixed, channel), "moving": read_segmentation(case.moving, channel),
        "fixed_image": read_image(case.fixed_image) if case.fixed_image else None,
        "moving_image": read_image(case.moving_image) if case.moving_image else None}
    return register(**images, **options), images


def write_channels(case: Case, result: Registration, images: dict[str, Any], folder: Path) -> list[Path]:
    """CASE_0000 as it is and, on its grid, CASE_0001: the channels of a raw dataset of nnU-Net.

    Written for sure results only, and only where both images are there.
    """
    if not result.sure or result.moved_image is None or images["fixed_image"] is None:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, image in enumerate((images["fixed_image"], result.moved_image)):
        files.append(folder / f"{case.name}_{number:04d}{ENDING}")
        write_image(image, files[-1])
    return files
