"""Label maps of volumes, checked against their images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813  its customary name
from numpy.typing import NDArray

_DECIMALS = 3  # of mm and direction cosines; headers in single precision agree to more


def read_label(image: Path, label: Path) -> sitk.Image:
    """The label map of an image of one channel; ValueError where a file cannot be read or the grids differ."""
    try:
        header = sitk.ImageFileReader()
        header.SetFileName(str(image))
        header.ReadImageInformation()
        content = sitk.ReadImage(str(label))
    except RuntimeError as error:
        raise ValueError(f"{image} or {label} cannot be read ({str(error).strip().splitlines()[-1]}).") from error
    if header.GetNumberOfComponents() != 1:
        raise ValueError(f"{image} has {header.GetNumberOfComponents()} values a voxel; volumes of one channel are "
                         "taken here.")
    grids = [(*part.GetSize(), *np.round([*part.GetSpacing(), *part.GetOrigin(), *part.GetDirection()], _DECIMALS))
             for part in (header, content)]
    if grids[0] != grids[1]:
        raise ValueError(f"{label} lies on another grid than {image} (size, spacing, origin or direction differ). "
                         "Resample one onto the other first.")
    content.SetSpacing(header.GetSpacing())  # so that maps written from this one have the image's grid exactly
    content.SetOrigin(header.GetOrigin())
    content.SetDirection(header.GetDirection())
    return content


def write_label(values: NDArray[np.uint8], like: sitk.Image, target: Path) -> None:
    """Write a label map with the grid of another."""
    image = sitk.GetImageFromArray(values)
    image.CopyInformation(like)
    sitk.WriteImage(image, str(target))
