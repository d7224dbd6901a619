"""Label maps as nnU-Net reads them, and what must hold before two of them are compared."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.files import files_of
from nnunet_topo.grids import Grid, difference
from nnunet_topo.nnunet.reading import read_array, whole_numbers

Region = int | tuple[int, ...]


@dataclass(frozen=True)
class LabelMap:
    """A label map (*S), 2D or 3D, with its grid."""

    file: Path
    labels: NDArray[np.integer]
    grid: Grid

    @property
    def spacing(self) -> tuple[float, ...]:
        """Of each axis in mm; 1 where the file has none."""
        return tuple(self.grid.spacing or [1.0] * self.labels.ndim)

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

    Raises ValueError for what :func:`nnunet_topo.nnunet.reading.read_array` refuses, for several channels, and for
    values that are not whole numbers or so large that nnU-Net takes one for another.
    """
    array, grid = read_array([file], reader, "label map")
    if array.shape[0] != 1:
        stack = " If it is a stack of slices, its data set needs the reader Tiff3DIO." if file.suffix == ".tif" else ""
        raise ValueError(f"{file} holds an array of shape {array.shape} (channels first), but a label map has one "
                         f"channel. Save it with one number for each voxel, not in colours.{stack}")
    return LabelMap(file, whole_numbers(array[0], file), grid)


def require_same_grid(prediction: LabelMap, reference: LabelMap) -> tuple[float, ...]:
    """The spacing of both label maps; ValueError where :func:`nnunet_topo.grids.difference` sees one.

    A 3D TIFF without a spacing file has the other's spacing.
    """
    differs = difference(reference.grid, prediction.grid)
    if differs:
        raise ValueError(f"{reference.file} and {prediction.file} differ in {differs}. Resample the prediction to the "
                         "reference's grid (nearest neighbour), or predict the same images again.")
    return prediction.spacing if reference.grid.spacing is None else reference.spacing


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
