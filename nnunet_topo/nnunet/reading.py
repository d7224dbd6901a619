"""Files of label maps and images as nnU-Net's readers open them, with what these readers do not notice."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.files import require_whole
from nnunet_topo.grids import Grid

_SHEAR = 1e-3  # of the cosine between two axes; headers in single precision and rounded cosines stay below
_MERGED = 2**24  # 32-bit floating point, in which nnU-Net reads, has no odd numbers from here on


def read_array(
    files: Sequence[Path], reader: Any, what: Literal["label map", "image"]
) -> tuple[NDArray[Any], Grid]:
    """The array (C, *S) of a label map, or of an image with its channels in one file or several, and its grid.

    S has three axes, or two where there is one slice along an axis, as nnU-Net's readers have it of 2D files. Raises
    ValueError for a file that is cut off or damaged, that the reader refuses or takes for another kind (a TIFF in
    colours for a volume, several values a voxel for an axis), or whose axes are not at right angles.
    """
    beside = spacing_file(files[0], reader, what)
    for file in files:
        try:
            require_whole(file)
        except OSError as error:
            raise ValueError(f"{file} cannot be read ({error.strerror or error}).") from error
        if type(reader).__name__ == "Tiff3DIO":
            _require_volume(file)
    _require_spacing(beside, files[0])
    said = io.StringIO()
    try:
        with redirect_stdout(said):  # readers print what is wrong and raise nothing that says it
            names = [str(file) for file in files]
            array, properties = reader.read_seg(*names) if what == "label map" else reader.read_images(names)
    except Exception as error:  # each format has its own
        raise _unreadable(files, reader, error, said.getvalue()) from error
    if len(properties["spacing"]) != array.ndim - 1:
        raise ValueError(f"{files[0]} holds several values for each voxel (an array of shape {array.shape}), and "
                         f"nnU-Net's {type(reader).__name__} takes them for an axis. Save one {what} with one value a "
                         "voxel.")
    known = type(reader).__name__ not in ("NaturalImage2DIO", "Tiff3DIO") or beside is not None
    return _without_axis_of_one_slice(array, properties, files[0], known)


def _without_axis_of_one_slice(
    array: NDArray[Any], properties: Mapping[str, Any], file: Path, spacing_known: bool
) -> tuple[NDArray[Any], Grid]:
    spacing = [float(size) for size in properties["spacing"]]
    origin, direction = _place(properties, file)
    axis = next((axis for axis, size in enumerate(array.shape[1:]) if size == 1), None)  # the first of several
    if axis is not None:
        array = array.squeeze(axis + 1)
        del spacing[axis]
        if direction is not None and len(direction) == 3:  # the axes of files stand in the opposite order
            direction = np.delete(direction, 2 - axis, axis=1)
    return array, Grid(array.shape[1:], spacing if spacing_known else None, origin, direction)


def _place(
    properties: Mapping[str, Any], file: Path
) -> tuple[NDArray[np.floating] | None, NDArray[np.floating] | None]:
    """Origin, and direction with a column for each axis, where the reader tells them."""
    if "sitk_stuff" in properties:
        stuff = properties["sitk_stuff"]
        origin, direction = np.array(stuff["origin"]), np.array(stuff["direction"])
        direction = direction.reshape(len(origin), len(origin))
    elif "nibabel_stuff" in properties:
        stuff = properties["nibabel_stuff"]
        affine = stuff.get("reoriented_affine", stuff["original_affine"])
        origin, direction = affine[:3, 3], affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    else:
        return None, None
    if not np.allclose(direction.T @ direction, np.eye(len(origin)), rtol=0, atol=_SHEAR):
        raise ValueError(f"{file} has axes that are not at right angles (a sheared affine), so that spacing along its "
                         "axes does not give distances. Resample it to a grid that is not sheared.")
    return origin, direction


def in_words(files: Sequence[Path]) -> str:
    """The files of an image, in a sentence."""
    return f"{files[0]}{f' (and {len(files) - 1} more file(s))' if files[1:] else ''}"


def _unreadable(files: Sequence[Path], reader: Any, error: Exception, said: str) -> ValueError:
    lines = [line for line in f"{said}\n{error}".splitlines() if line.strip()] or ["no reason given"]
    advice = "Replace the file."
    if "last dimension must have shape 3 or 4" in str(error):  # NaturalImage2DIO: colours, or a second value
        advice = "Save it as one grey value a pixel, without transparency (alpha)."
    return ValueError(f"{in_words(files)} cannot be read by nnU-Net's {type(reader).__name__} ({type(error).__name__}: "
                      f"{lines[-1].strip()}). {advice}")


def _require_volume(file: Path) -> None:
    """ValueError for a TIFF that is 2D or in colours, which nnU-Net's reader of 3D TIFF refuses or takes for slices."""
    import tifffile

    try:
        with tifffile.TiffFile(file) as tiff:
            axes, shape = tiff.series[0].axes, tiff.series[0].shape
    except (tifffile.TiffFileError, IndexError):  # its reader says so
        return
    if len(shape) == 3 and axes.endswith("S"):
        raise ValueError(f"{file} is a 2D image of {shape[-1]} colours, and nnU-Net's Tiff3DIO takes it for a volume. "
                         "Save it with one number for each pixel.")
    if len(shape) == 2:
        raise ValueError(f"{file} is a 2D image, and nnU-Net's Tiff3DIO reads volumes. Save 2D images as .png, or as "
                         ".tif in a data set whose images are all 2D.")


def spacing_file(file: Path, reader: Any, what: str = "label map") -> Path | None:
    """The file with the spacing of a 3D TIFF, where there is one."""
    if type(reader).__name__ != "Tiff3DIO":
        return None
    beside = file.with_name(file.stem[: -len("_0000") if what == "image" else None] + ".json")
    return beside if beside.is_file() else None


def _require_spacing(beside: Path | None, file: Path) -> None:
    if beside is None:
        return
    try:
        spacing = json.loads(beside.read_text())["spacing"]
        numbers = [float(size) for size in spacing]
    except (ValueError, TypeError, KeyError):
        numbers = []
    if len(numbers) != 3 or not all(0 < size < math.inf for size in numbers):
        raise ValueError(f'{beside} is to hold the spacing of {file} as nnU-Net 2 has it, {{"spacing": [z, y, x]}} '
                         f"with three positive lengths in mm, but holds {beside.read_text().strip()[:100]!r}. Correct "
                         "or remove it.")


def whole_numbers(array: NDArray[Any], file: Path) -> NDArray[np.integer]:
    """A label map in the smallest integer type; ValueError where a value is not whole or may have been another.

    nnU-Net's readers give 32-bit floating point, in which labels from 2^24 on merge with their neighbours.
    """
    with np.errstate(invalid="ignore"):  # not a number becomes an integer that differs from it
        labels = array.astype(np.int32)
    for part, given in zip(labels, array, strict=True):
        large = given[np.isfinite(given) & (np.abs(given) >= _MERGED)]
        if large.size:
            raise ValueError(f"{file} holds labels of {_MERGED} or more, e.g. about {int(large[0])}, which nnU-Net "
                             "reads as 32-bit floating point numbers, so that different labels become one. Number the "
                             "labels from 0 on.")
        if not np.array_equal(part, given):
            raise ValueError(f"{file} holds values that are not labels, e.g. {given[part != given].flat[0]}. Labels "
                             "are whole numbers; perhaps it holds probabilities or was resampled by interpolation.")
    low, high = int(labels.min(initial=0)), int(labels.max(initial=0))
    return labels.astype(np.promote_types(np.min_scalar_type(low), np.min_scalar_type(high)))


def stamp_of(files: Sequence[Path]) -> list[list[Any]]:
    """Path, size and time of files, and of the spacing files that nnU-Net puts beside 3D TIFF."""
    every = [*files, *(file.with_suffix(".json") for file in files)]
    return [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in every if file.is_file()]
