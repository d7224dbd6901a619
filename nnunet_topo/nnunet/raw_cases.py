"""Whether the images and the label map of a case can be read by nnU-Net and belong together."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.configuration import default_num_processes

from nnunet_topo.files import files_of, require_whole
from nnunet_topo.grids import Grid, difference
from nnunet_topo.nnunet.label_maps import LabelMap, _place, read_label_map, require_known_labels

_SMALL = 2**28  # bytes that this process reads in less time than others need to start


@dataclass(frozen=True)
class RawCase:
    """A case of a raw data set: its files, the reader of both kinds, how many channels the images have together (one
    file may hold all, as colours), and the labels that may occur."""

    images: tuple[Path, ...]
    label: Path
    reader: Any
    channels: int
    known_labels: frozenset[int]

    def files(self) -> list[Path]:
        """All of its files, with the spacing files that nnU-Net puts beside 3D TIFF, so far as they exist."""
        beside = [self.label.with_suffix(".json"), _spacing_file(self.images[0])]
        return [*self.images, self.label, *(file for file in beside if file.is_file())]


def channels_of(folder: Path, ending: str) -> dict[str, dict[int, Path]]:
    """The channels of each case of a folder of images, by their numbers; ValueError for a file that is not named so.

    Hidden files are not looked at, such as the ``._`` of macOS, which nnU-Net itself takes for cases.
    """
    found: dict[str, dict[int, Path]] = {}
    for file in files_of(folder, ending) if folder.is_dir() else ():
        match = re.fullmatch(r"(.+)_(\d{4})", file.name.removesuffix(ending))
        if match is None:
            raise ValueError(f"{file} is not named as nnU-Net needs it, CASE_XXXX{ending}, XXXX being the channel. "
                             "Rename it, or move it away.")
        found.setdefault(match[1], {})[int(match[2])] = file
    return found


def require_sound(case: RawCase) -> None:
    """Raise ValueError where a file is cut off, cannot be read, or holds what nnU-Net cannot use, or grids differ."""
    for file in (*case.images, case.label):
        require_whole(file)
    label = read_label_map(case.label, case.reader)
    require_known_labels(label, case.known_labels)
    image = _read_image(case)
    differs = difference(_grid(image), _grid(label) if _has_spacing(case) else Grid(label.labels.shape))
    if differs:
        raise ValueError(f"{case.label} lies on another grid than its image {case.images[0]}; they differ in "
                         f"{differs}. Resample the label map onto the image's grid (nearest neighbour).")


def processes_for(files: Iterable[Path]) -> int:
    """How many processes are worth starting to read files, for :func:`nnunet_topo.processes.outcomes`."""
    return 0 if sum(file.stat().st_size for file in files) < _SMALL else int(default_num_processes)


def _read_image(case: RawCase) -> LabelMap:
    files = [str(file) for file in case.images]
    shown = f"{files[0]}{f' (and {len(files) - 1} more file(s))' if files[1:] else ''}"
    said = io.StringIO()
    try:
        with redirect_stdout(said):  # what is wrong is printed, not raised, or nothing is
            array, properties = case.reader.read_images(files)
    except Exception as error:  # each format has its own
        lines = [line for line in f"{said.getvalue()}\n{error}".splitlines() if line.strip()] or ["no reason given"]
        raise ValueError(f"{shown} cannot be read by nnU-Net's {type(case.reader).__name__} ({type(error).__name__}: "
                         f"{lines[-1].strip()}). Replace the file; it may be incomplete.") from error
    if len(array) != case.channels:
        raise ValueError(f"{shown} has {len(array)} channel(s), but dataset.json names {case.channels}. Add the "
                         "missing files, or remove those that do not belong to the case.")
    if np.isnan(array).any():
        raise ValueError(f"{shown} holds {np.count_nonzero(np.isnan(array))} value(s) that are not a number (NaN), so "
                         "that nothing can be learnt or predicted there. Replace them, e.g. by numpy.nan_to_num.")
    spacing = tuple(float(size) for size in properties["spacing"])
    volume = array[0]
    if volume.shape[0] == 1:
        volume, spacing = volume[0], spacing[1:]
    return LabelMap(case.images[0], volume, spacing, *_place(properties))


def _grid(read: LabelMap) -> Grid:
    return Grid(read.labels.shape, read.spacing, read.origin, read.direction)


def _has_spacing(case: RawCase) -> bool:
    """A 3D TIFF without a spacing file, as label maps are in nnU-Net's own gt_segmentations, is read as of 1 mm, but
    says nothing."""
    return type(case.reader).__name__ != "Tiff3DIO" or case.label.with_suffix(".json").is_file()


def _spacing_file(image: Path) -> Path:
    """Of ``case_0000.tif``, ``case.json``."""
    return image.with_name(f"{image.stem[: -len('_0000')]}.json")
