"""Volumes and their label maps, checked when they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813  its customary name
from numpy.typing import NDArray

from nnunet_topo.files import require_whole, write_image
from nnunet_topo.grids import Grid, difference

HIGHEST_LABEL = 2**24 - 1  # nnU-Net reads label maps as float32, in which larger whole numbers merge


def read_label(image: Path, label: Path) -> tuple[NDArray[np.unsignedinteger], sitk.Image]:
    """The label map of an image as an array, and an image whose grid it has; both files are read as a whole.

    A label map of two axes belongs to an image of one slice, and the reverse.

    Raises ValueError where a file is cut off, cannot be read or has several channels, the grids differ, the image holds
    values that are not finite, or the label map holds values that are not labels.
    """
    picture, content = (_read(file) for file in (image, label))
    require_finite(picture, image)
    array = label_values(content, label)
    content, array = _with_axes_of(picture, content, array)
    differs = difference(_grid(picture), _grid(content))
    if differs:
        raise ValueError(f"{label} lies on another grid than {image}; they differ in {differs}. Resample the label map "
                         "onto the image's grid first (nearest neighbour).")
    return array, picture


def write_label(values: NDArray[np.unsignedinteger], like: sitk.Image, target: Path) -> None:
    """Write a label map on exactly the grid of an image."""
    image = sitk.GetImageFromArray(values)
    image.CopyInformation(like)
    write_image(image, target, useCompression=True)


def require_finite(image: sitk.Image, file: Path) -> None:
    """ValueError for NaN and infinity, with which nnU-Net cannot train."""
    array = sitk.GetArrayViewFromImage(image)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{file} holds {np.count_nonzero(~np.isfinite(array))} value(s) that are not finite numbers "
                         "(NaN or infinity). Replace them, e.g. by numpy.nan_to_num; nnU-Net cannot train on them.")


def label_values(content: sitk.Image, file: Path) -> NDArray[np.unsignedinteger]:
    """The values of a label map as an array of the smallest fitting type; ValueError where they are not labels."""
    array: NDArray[Any] = sitk.GetArrayViewFromImage(content)
    needed = f"Labels are whole numbers from 0 to {HIGHEST_LABEL}"
    if array.dtype.kind == "f":
        wrong = ~((array == np.rint(array)) & np.isfinite(array))
        if wrong.any():
            raise ValueError(f"{file} holds values that are not labels, e.g. {array[wrong][0]:g}. {needed}; perhaps it "
                             "is an image or a probability map, or was resampled by interpolation.")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > HIGHEST_LABEL:
        raise ValueError(f"{file} holds the label {low if low < 0 else high}. {needed}: nnU-Net reads them as 32 bit "
                         "floating point numbers, in which larger ones merge. Give labels the numbers 0, 1, 2, ...")
    return array.astype(np.min_scalar_type(high))


def _read(file: Path) -> sitk.Image:
    require_whole(file)
    try:
        image = sitk.ReadImage(str(file))
    except RuntimeError as error:
        lines = str(error).strip().splitlines()
        if "orthonormal" in lines[-1]:
            raise ValueError(f"The axes of {file} are not at right angles (its affine is sheared), which nnU-Net's "
                             "reader does not take. Resample it to a grid with axes at right angles first.") from error
        raise ValueError(f"{file} cannot be read ({lines[-1]}). Replace the file; it may be incomplete.") from error
    channels = image.GetNumberOfComponentsPerPixel()
    if channels != 1:
        layers = ("Overlapping segments are stored like this (layers of a .seg.nrrd); export them as one label map, "
                  "e.g. with 3D Slicer's Export to labelmap") if ".seg." in file.name else "Write one channel a file"
        raise ValueError(f"{file} has {channels} values a voxel, but images and label maps of one are taken here. "
                         f"{layers}.")
    if image.GetDimension() not in (2, 3) or "complex" in image.GetPixelIDTypeAsString():
        raise ValueError(f"{file} is an image of size {image.GetSize()} of {image.GetPixelIDTypeAsString()}s, but two "
                         "or three axes of real numbers are taken here. Write one file for each time or channel.")
    return image


def _with_axes_of(
    picture: sitk.Image, content: sitk.Image, array: NDArray[np.unsignedinteger]
) -> tuple[sitk.Image, NDArray[np.unsignedinteger]]:
    """A label map of two axes on the place of an image of one slice, or the reverse; others as they are."""
    flat, slab = sorted((picture, content), key=sitk.Image.GetDimension)
    if flat.GetDimension() == slab.GetDimension() or 1 not in slab.GetSize():
        return content, array
    axis = slab.GetSize().index(1)
    kept = [other for other in range(3) if other != axis]
    in_plane = Grid([slab.GetSize()[k] for k in kept], [slab.GetSpacing()[k] for k in kept])
    if difference(in_plane, Grid(flat.GetSize(), flat.GetSpacing())):
        return content, array
    along = 2 - axis  # in an array axes are reversed
    return picture, np.expand_dims(array, along) if slab is picture else np.squeeze(array, along)


def _grid(image: sitk.Image) -> Grid:
    return Grid(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
