"""Label maps as nnU-Net reads them, and what must hold before two of them are compared."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.files import files_of
from nnunet_topo.nnunet.reading import axis_of_one_slice, read_array, spacing_file, whole_numbers

Region = int | tuple[int, ...]
_SHEAR = 1e-3  # of the cosine between two axes; headers in single precision and rounded cosines stay below


@dataclass(frozen=True)
class LabelMap:
    """A label map (*S), 2D or 3D, with the spacing of each axis in mm and, where the file has them, its place in space.

    Attributes:
        origin: position of the first voxel in mm, in the file's own order of axes.
        direction: cosines of the axes in the same order, a column each; of the two that are left of one slice.
        spacing_known: False where the file has no spacing, which then is 1.
    """

    file: Path
    labels: NDArray[np.integer]
    spacing: tuple[float, ...]
    origin: NDArray[np.floating] | None = None
    direction: NDArray[np.floating] | None = None
    spacing_known: bool = True

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
    """Read a file by one of nnU-Net's readers; an axis of one slice, as 2D files have it there, is dropped.

    Raises ValueError for a file that cannot be read or is damaged, has several channels, values that are no whole
    numbers or so large that nnU-Net mistakes one for another, or axes that are not at right angles.
    """
    array, properties = read_array(file, reader)
    if array.shape[0] != 1:
        stack = " If it is a stack of slices, its data set needs the reader Tiff3DIO." if file.suffix == ".tif" else ""
        raise ValueError(f"{file} holds an array of shape {array.shape} (channels first), but a label map has one "
                         f"channel. Save it with one number for each voxel, not in colours.{stack}")
    labels = whole_numbers(array[0], file)
    spacing = tuple(float(size) for size in properties["spacing"])
    origin, direction = _place(properties, file)
    slice_axis = axis_of_one_slice(labels.shape)
    if slice_axis is not None:
        labels, spacing = labels.squeeze(slice_axis), (*spacing[:slice_axis], *spacing[slice_axis + 1 :])
        if direction is not None and direction.shape[1] == 3:  # the axes of files stand in the opposite order
            direction = np.delete(direction, 2 - slice_axis, axis=1)
    known = type(reader).__name__ not in ("NaturalImage2DIO", "Tiff3DIO") or spacing_file(file, reader) is not None
    return LabelMap(file, labels, spacing, origin, direction, known)


def _place(
    properties: dict[str, Any], file: Path
) -> tuple[NDArray[np.floating] | None, NDArray[np.floating] | None]:  # fmt: skip
    """Origin and direction where the reader tells them; ValueError where the axes are not at right angles."""
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


def require_same_grid(reference: LabelMap, prediction: LabelMap) -> tuple[float, ...]:
    """The spacing of both; ValueError where shape, spacing, origin (by a hundredth of a voxel) or direction differ.

    What a file does not say contradicts nothing: a 3D TIFF without a spacing file has the other's spacing, and a 2D
    file has no place in space that one slice of a volume could differ from.
    """
    smallest = min(reference.spacing)
    both_known = reference.spacing_known and prediction.spacing_known
    for what, one, two, tolerance in (
        ("shape", reference.labels.shape, prediction.labels.shape, 0),
        ("spacing", reference.spacing, prediction.spacing if both_known else None, 1e-4 * smallest),
        ("origin", reference.origin, prediction.origin, 1e-2 * smallest),
        ("direction", reference.direction, prediction.direction, 1e-4),
    ):
        if one is None or two is None:
            continue
        if what in ("origin", "direction") and len(one) != len(two):
            continue
        if np.shape(one) != np.shape(two) or not np.allclose(one, two, rtol=0, atol=tolerance):
            shown = " and ".join(str(tuple(np.round(np.ravel(numbers), 6).tolist())) for numbers in (one, two))
            raise ValueError(f"{reference.file} and {prediction.file} differ in {what}: {shown}. Resample the "
                             "prediction to the reference's grid (nearest neighbour), or predict the same images "
                             "again.")
    return prediction.spacing if prediction.spacing_known and not reference.spacing_known else reference.spacing


def require_known_labels(label_map: LabelMap, known: Collection[int]) -> None:
    """Raise ValueError where a label occurs that is not known."""
    unknown = [label for label in label_map.values() if label not in known]
    if unknown:
        raise ValueError(f"{label_map.file} holds the label(s) {', '.join(map(str, unknown))}, but dataset.json allows "
                         f"{', '.join(map(str, sorted(known)))} there. Correct the file or dataset.json.")


def ending_and_reader(folder: Path) -> tuple[str, Any]:
    """The file ending of a folder's label maps and the reader of nnU-Net that opens them, without a dataset.json.

    Raises ValueError where no file has an ending that nnU-Net reads, files of several endings lie together, or none
    can be read as a label map.
    """
    from nnunetv2.imageio.reader_writer_registry import LIST_OF_IO_CLASSES

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
    reasons: list[str] = []
    for file in files:
        for reader_class in LIST_OF_IO_CLASSES:
            if ending.lower() in reader_class.supported_file_endings:
                try:
                    read_label_map(file, reader_class())
                except ValueError as error:
                    reasons.append(str(error))
                else:
                    return ending, reader_class()
    raise ValueError(f"None of the {len(files)} file(s) {ending} in {folder} can be read by nnU-Net, e.g.: "
                     + " ".join(dict.fromkeys(reason for reason in reasons if str(files[0]) in reason)))
