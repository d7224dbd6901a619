"""Label maps as nnU-Net reads them, and what must hold before two of them are compared."""

from __future__ import annotations

import io
from collections.abc import Collection
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.files import files_of

Region = int | tuple[int, ...]


@dataclass(frozen=True)
class LabelMap:
    """A label map (*S), 2D or 3D, with the spacing of each axis in mm and, where the file has them, its place in space.

    Attributes:
        origin: position of the first voxel in mm, in the file's own order of axes.
        direction: cosines of the axes, flat.
    """

    file: Path
    labels: NDArray[np.integer]
    spacing: tuple[float, ...]
    origin: NDArray[np.floating] | None = None
    direction: NDArray[np.floating] | None = None

    def mask(self, region: Region) -> NDArray[np.bool_]:
        """Where the label stands, or any of the region's labels."""
        first, *others = region if isinstance(region, tuple) else (region,)
        mask = self.labels == first
        for label in others:
            mask |= self.labels == label
        return mask

    def values(self) -> list[int]:
        """The labels that occur, sorted."""
        return sorted({int(label) for part in self.labels for label in np.unique(part)})


def read_label_map(file: Path, reader: Any) -> LabelMap:
    """Read a file by one of nnU-Net's readers; an axis of one slice, as 2D files have it, is dropped.

    Raises ValueError for a file that cannot be read, has several channels, or holds values that are no whole numbers.
    """
    try:
        with redirect_stdout(io.StringIO()):  # 3D TIFF without a spacing file says so for each file
            array, properties = reader.read_seg(str(file))
    except Exception as error:  # each format has its own
        lines = [line for line in str(error).splitlines() if line.strip()] or ["no reason given"]
        raise ValueError(f"{file} cannot be read by nnU-Net's {type(reader).__name__} ({type(error).__name__}: "
                         f"{lines[-1].strip()}). Replace the file; it may be incomplete.") from error
    if array.ndim != 4 or array.shape[0] != 1:
        raise ValueError(f"{file} holds an array of shape {array.shape} (channels first), but a label map has one "
                         "channel. Save it with one number for each voxel, not in colours.")
    labels = _whole_numbers(array[0], file)
    spacing = tuple(float(size) for size in properties["spacing"])
    if labels.shape[0] == 1:
        labels, spacing = labels[0], spacing[1:]
    return LabelMap(file, labels, spacing, *_place(properties))


def _whole_numbers(array: NDArray[Any], file: Path) -> NDArray[np.integer]:
    with np.errstate(invalid="ignore"):  # not a number becomes an integer that differs from it
        labels = array.astype(np.int32)
    for part, given in zip(labels, array, strict=True):
        if not np.array_equal(part, given):
            raise ValueError(f"{file} holds values that are no labels, e.g. {given[part != given].flat[0]}. Labels are "
                             "whole numbers; perhaps it holds probabilities or was resampled by interpolation.")
    low, high = int(labels.min(initial=0)), int(labels.max(initial=0))
    return labels.astype(np.promote_types(np.min_scalar_type(low), np.min_scalar_type(high)))


def _place(properties: dict[str, Any]) -> tuple[NDArray[np.floating] | None, NDArray[np.floating] | None]:
    """Origin and direction where the reader tells them."""
    if "sitk_stuff" in properties:
        stuff = properties["sitk_stuff"]
        return np.array(stuff["origin"]), np.array(stuff["direction"])
    if "nibabel_stuff" in properties:
        stuff = properties["nibabel_stuff"]
        affine = stuff.get("reoriented_affine", stuff["original_affine"])
        return affine[:3, 3], (affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)).ravel()
    return None, None


def require_same_grid(reference: LabelMap, prediction: LabelMap) -> None:
    """Raise ValueError where shape, spacing, origin (by a hundredth of a voxel) or direction differ."""
    smallest = min(reference.spacing)
    for what, one, two, tolerance in (
        ("shape", reference.labels.shape, prediction.labels.shape, 0),
        ("spacing", reference.spacing, prediction.spacing, 1e-4 * smallest),
        ("origin", reference.origin, prediction.origin, 1e-2 * smallest),
        ("direction", reference.direction, prediction.direction, 1e-4),
    ):
        if one is None or two is None:
            continue
        if len(one) != len(two) or not np.allclose(one, two, rtol=0, atol=tolerance):
            shown = " and ".join(str(tuple(np.round(numbers, 6).tolist())) for numbers in (one, two))
            raise ValueError(f"{reference.file} and {prediction.file} differ in {what}: {shown}. Resample the "
                             "prediction to the reference's grid (nearest neighbour), or predict the same images anew.")


def require_known_labels(label_map: LabelMap, known: Collection[int]) -> None:
    """Raise ValueError where a label occurs that is not known."""
    unknown = [label for label in label_map.values() if label not in known]
    if unknown:
        raise ValueError(f"{label_map.file} holds the label(s) {', '.join(map(str, unknown))}, but dataset.json allows "
                         f"{', '.join(map(str, sorted(known)))} there. Correct the file or dataset.json.")


def ending_and_reader(folder: Path) -> tuple[str, Any]:
    """The file ending of a folder's label maps and the reader of nnU-Net that opens them, without a dataset.json.

    Raises ValueError where no file has an ending that nnU-Net reads, files of several endings lie together, or none
    can be read.
    """
    from nnunetv2.imageio.reader_writer_registry import LIST_OF_IO_CLASSES, determine_reader_writer_from_file_ending

    known = sorted({ending for reader in LIST_OF_IO_CLASSES for ending in reader.supported_file_endings},
                   key=len, reverse=True)
    files = files_of(folder, "")
    endings = {file: next((ending for ending in known if file.name.lower().endswith(ending)), None) for file in files}
    files = [file for file in files if endings[file]]
    found = {file.name[-len(endings[file] or ""):] for file in files}
    if len(found) != 1:
        kinds = f"label maps of several endings ({', '.join(sorted(found))}); keep one kind there"
        raise ValueError(f"The folder {folder} holds {kinds if found else 'no label map'}. nnU-Net reads "
                         f"{', '.join(known)}.")
    (ending,) = found
    for file in files:
        try:
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # tracebacks of readers that fail
                return ending, determine_reader_writer_from_file_ending(ending, str(file), verbose=False)()
        except RuntimeError:
            continue
    raise ValueError(f"None of the {len(files)} file(s) {ending} in {folder} can be read by nnU-Net, e.g. {files[0]}.")
