"""Whether the images and the label map of a case can be read by nnU-Net and belong together."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.configuration import default_num_processes

from nnunet_topo.files import files_of
from nnunet_topo.grids import difference
from nnunet_topo.kernels.threads import cores
from nnunet_topo.nnunet.evaluation.label_maps import read_label_map, require_known_labels
from nnunet_topo.nnunet.reading import in_words, read_array, spacing_file

_WORTH_A_PROCESS = 2**28  # bytes; one that imports nnU-Net starts in the time in which so many are read


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
        beside = [spacing_file(self.images[0], self.reader, "image"), spacing_file(self.label, self.reader)]
        return [*self.images, self.label, *filter(None, beside)]


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
    label = read_label_map(case.label, case.reader)
    require_known_labels(label, case.known_labels)
    array, grid = read_array(case.images, case.reader, "image")
    if len(array) != case.channels:
        raise ValueError(f"{in_words(case.images)} has {len(array)} channel(s), but dataset.json names "
                         f"{case.channels}. Add the missing files, or remove those that do not belong to the case.")
    if np.isnan(array).any():
        raise ValueError(f"{in_words(case.images)} holds {np.count_nonzero(np.isnan(array))} value(s) that are not a "
                         "number (NaN), so that nothing can be learnt or predicted there. Replace them, e.g. by "
                         "numpy.nan_to_num.")
    differs = difference(grid, label.grid)
    if differs:
        raise ValueError(f"{case.label} lies on another grid than its image {case.images[0]}; they differ in "
                         f"{differs}. Resample the label map onto the image's grid (nearest neighbour).")


def processes_for(files: Iterable[Path]) -> int:
    """How many processes are worth starting to read files, for :func:`nnunet_topo.processes.outcomes`."""
    wanted = sum(file.stat().st_size for file in files) // _WORTH_A_PROCESS
    return 0 if wanted < 2 else min(wanted, default_num_processes, cores())
