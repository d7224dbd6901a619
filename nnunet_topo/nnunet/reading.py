"""Files of label maps and images as nnU-Net's readers open them, with what these readers do not notice."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.files import require_whole

_MERGED = 2**24  # 32-bit floating point, in which nnU-Net reads, has no odd numbers from here on


def read_array(file: Path, reader: Any, what: str = "label map") -> tuple[NDArray[Any], dict[str, Any]]:
    """The array (C, *S), S of three axes, and the properties of a "label map" or an "image".

    Raises ValueError for a file that is cut off or damaged, that the reader refuses, or that it takes for another kind:
    a TIFF in colours for a volume, several values a voxel for an axis.
    """
    try:
        require_whole(file)
        _require_spacing_file(spacing_file(file, reader, what), file)
        if type(reader).__name__ == "Tiff3DIO":
            _require_volume(file)
        with redirect_stdout(io.StringIO()):  # 3D TIFF without a spacing file says so for each file
            array, properties = reader.read_seg(str(file)) if what == "label map" else reader.read_images([str(file)])
    except OSError as error:
        raise ValueError(f"{file} cannot be read ({error.strerror or error}).") from error
    except ValueError as error:
        if str(file) in str(error):
            raise
        raise _unreadable(file, reader, error) from error
    except Exception as error:  # each format has its own
        raise _unreadable(file, reader, error) from error
    if len(properties["spacing"]) != array.ndim - 1:
        raise ValueError(f"{file} holds several values for each voxel (an array of shape {array.shape}), and nnU-Net's "
                         f"{type(reader).__name__} takes them for an axis. Save one {what} with one value a voxel.")
    return array, properties


def _unreadable(file: Path, reader: Any, error: Exception) -> ValueError:
    lines = [line for line in str(error).splitlines() if line.strip()] or ["no reason given"]
    advice = "Replace the file."
    if "last dimension must have shape 3 or 4" in str(error):  # NaturalImage2DIO: colours, or a second value
        advice = "Save it as one grey value a pixel, without transparency (alpha)."
    return ValueError(f"{file} cannot be read by nnU-Net's {type(reader).__name__} ({type(error).__name__}: "
                      f"{lines[-1].strip()}). {advice}")


def _require_volume(file: Path) -> None:
    """ValueError for a TIFF that is 2D or in colours, which nnU-Net's reader of 3D TIFF refuses or takes for slices."""
    import tifffile

    with tifffile.TiffFile(file) as tiff:
        axes, shape = tiff.series[0].axes, tiff.series[0].shape
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


def _require_spacing_file(beside: Path | None, file: Path) -> None:
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
    """A label map in the smallest integer type; ValueError where a value is no whole number or may have been another.

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
            raise ValueError(f"{file} holds values that are no labels, e.g. {given[part != given].flat[0]}. Labels are "
                             "whole numbers; perhaps it holds probabilities or was resampled by interpolation.")
    low, high = int(labels.min(initial=0)), int(labels.max(initial=0))
    return labels.astype(np.promote_types(np.min_scalar_type(low), np.min_scalar_type(high)))


def axis_of_one_slice(shape: Sequence[int]) -> int | None:
    """The axis of three along which there is one slice, as 2D files have it in nnU-Net; the first of several."""
    return next((axis for axis, size in enumerate(shape) if size == 1), None)


def read_image(file: Path, reader: Any) -> NDArray[Any]:
    """The first channel (*S) of an image, 2D where it is one slice; ValueError where it cannot be read."""
    image = read_array(file, reader, "image")[0][0]
    axis = axis_of_one_slice(image.shape)
    return image if axis is None else image.squeeze(axis)


def stamp_of(files: Sequence[Path]) -> list[list[Any]]:
    """Path, size and time of files, and of the spacing files that nnU-Net puts beside 3D TIFF."""
    every = [*files, *(file.with_suffix(".json") for file in files)]
    return [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in every if file.is_file()]
