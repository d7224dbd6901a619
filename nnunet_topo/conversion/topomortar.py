"""TopoMortar's repository (github.com/jmlipman/TopoMortar, its folder ``dataset``) as six data sets of nnU-Net.

J. M. Valverde et al., "TopoMortar: A dataset to evaluate image segmentation methods focused on topology accuracy",
BMVC 2025. Its files: ``splits.yaml`` (50 training images), ``splits_small.yaml`` (10 of them), ``dataset_types.txt``
(the group of each image), ``betti_numbers.csv`` (of the test labels), and ``train``, ``val``, ``test`` with the folders
``images``, ``accurate`` and, but for ``test``, ``noisy`` and ``pseudo``.
"""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from nnunet_topo.conversion.pictures import read_mask, read_rgb, require_same_size
from nnunet_topo.conversion.raw_dataset import Check, dataset_name, new_datasets
from nnunet_topo.files import write_json

SIZES = {"large": "splits.yaml", "small": "splits_small.yaml"}
LABELS = ("accurate", "noisy", "pseudo")
SETS = tuple(f"{size}_{labels}" for size in SIZES for labels in LABELS)
FOREGROUND = 255
_PARTS = ("train", "val", "test")


class _Source(NamedTuple):
    """What the repository says of its images: groups, Betti numbers, and for each size the images of each part."""

    folder: Path
    groups: Mapping[str, str]
    betti: Mapping[str, tuple[int, int]]
    splits: Mapping[str, Mapping[str, Sequence[str]]]


def convert_topomortar(
    source: str | os.PathLike[str], number: int, *, sets: Sequence[str] = SETS,
    say: Callable[[str], None] = print, progress: bool = True, check: Check | None = None,
) -> list[Path]:
    """Write data sets ``number``, ``number + 1``, ... in the order of ``sets``; returns their folders.

    Each holds ``dataset.json``, ``imagesTr``, ``labelsTr`` (training and validation images), ``imagesTs``, ``labelsTs``
    (the accurate labels of the test images), ``splits_final.json`` with the published split as its one fold, and
    ``manifest.csv`` (case, TopoMortar's number, split, group, Betti numbers). Images are the repository's files; labels
    are 1 where the repository's are 255, since a label file holds a few pixels of another value. The data sets share
    their images as hard links where the disk has these.

    Args:
        source: the repository's folder, or its folder ``dataset``.
        number: of the first data set.
        sets: of :data:`SETS`, ``<size>_<labels>``.
        say: called with a sentence for each label file that holds other values than 0 and 255.
        progress: show a bar.
        check: called with each data set's folder before it takes its final name; raises ValueError.

    Raises:
        ValueError: files are missing or cannot be read, shapes differ, or labels have other Betti numbers than
            published; nothing is written then.
        FileExistsError: a number is in use.
    """
    unknown = sorted(set(sets) - set(SETS))
    if unknown or not sets or len(set(sets)) < len(sets):
        raise ValueError(f"The sets to write must be some of {', '.join(SETS)}, each once, not {', '.join(sets)}.")
    names = [dataset_name(number + place, "TopoMortar" + "".join(map(str.capitalize, which.split("_"))))
             for place, which in enumerate(sets)]
    read = _read_source(Path(source), sets)
    _require_files(read, sets)
    with new_datasets(names, check) as folders:
        total = sum(len(read.splits[which.split("_")[0]][part]) for which in sets for part in _PARTS)
        with tqdm(total=total, desc="Converting", unit="case", disable=not progress) as bar:
            first: dict[str, Path] = {}  # where a file of the repository has been written, to be linked to
            for name, which in zip(names, sets, strict=True):
                _write(read, which, folders[name], first, say, bar.update)
    raw = Path(os.environ["nnUNet_raw"])
    return [raw / name for name in names]


def _read_source(source: Path, sets: Sequence[str]) -> _Source:
    folder = source / "dataset" if (source / "dataset").is_dir() else source
    for needed in ("dataset_types.txt", *(file for size, file in SIZES.items() if any(size in name for name in sets))):
        if not (folder / needed).is_file():
            raise ValueError(f"{folder} has no file {needed}, so it is not TopoMortar's folder. Clone "
                             "https://github.com/jmlipman/TopoMortar and give the path of the clone.")
    groups = {row["ID"]: row["group"] for row in _rows(folder / "dataset_types.txt", ("ID", "group"))}
    betti: dict[str, tuple[int, int]] = {}
    if (folder / "betti_numbers.csv").is_file():
        for row in _rows(folder / "betti_numbers.csv", ("ID", "Betti0", "Betti1")):
            betti[row["ID"]] = int(row["Betti0"]), int(row["Betti1"])
    splits = {size: _split(folder / file) for size, file in SIZES.items() if any(size in name for name in sets)}
    for split in splits.values():
        without = sorted({image for images in split.values() for image in images} - set(groups))
        if without:
            raise ValueError(f"{folder / 'dataset_types.txt'} gives no group for the image(s) {', '.join(without)}.")
    return _Source(folder, groups, betti, splits)


def _rows(file: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    with file.open(newline="") as opened:
        reader = csv.DictReader(opened)
        missing = set(columns) - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"{file} lacks the column(s) {', '.join(sorted(missing))}.")
        return list(reader)


def _split(file: Path) -> dict[str, list[str]]:
    """The numbers of the images of each part, sorted."""
    try:
        import yaml
    except ImportError as error:
        raise ValueError(f"{file.name} is read with PyYAML, which is not installed: pip install PyYAML.") from error
    try:
        (parts,) = yaml.safe_load(file.read_text()).values()
        split = {part: sorted(Path(path).stem for path in parts[part]) for part in _PARTS}
    except (yaml.YAMLError, AttributeError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is not as published: one split with train, val and test ({error}).") from error
    return split


def _label_folder(which: str, part: str) -> str:
    return "accurate" if part == "test" else which.split("_")[1]


def _require_files(source: _Source, sets: Sequence[str]) -> None:
    wanted = [source.folder / part / kind / f"{image}.png" for which in sets for part in _PARTS
              for kind in ("images", _label_folder(which, part))
              for image in source.splits[which.split("_")[0]][part]]
    missing = [file for file in dict.fromkeys(wanted) if not file.is_file()]
    if missing:
        raise ValueError(f"{source.folder} lacks {len(missing)} file(s) that its splits name, such as "
                         f"{missing[0].relative_to(source.folder)}. Get the whole repository again.")


def _write(
    source: _Source, which: str, folder: Path, first: dict[str, Path], say: Callable[[str], None],
    done: Callable[[], Any],
) -> None:
    split = source.splits[which.split("_")[0]]
    for part in ("Tr", "Ts"):
        (folder / f"images{part}").mkdir()
        (folder / f"labels{part}").mkdir()
    for part in _PARTS:
        letters = "Ts" if part == "test" else "Tr"
        for image in split[part]:
            kind = _label_folder(which, part)
            picture = source.folder / part / "images" / f"{image}.png"
            target = folder / f"images{letters}" / f"TM_{image}_0000.png"
            label_target = folder / f"labels{letters}" / f"TM_{image}.png"
            if str(picture) not in first:
                read_rgb(picture, "TopoMortar")
                shutil.copyfile(picture, target)
            else:
                _link(first[str(picture)], target)
            first.setdefault(str(picture), target)
            label_file = source.folder / part / kind / f"{image}.png"
            if str(label_file) not in first:
                _write_label(source, part, image, label_file, picture, label_target, say)
            else:
                _link(first[str(label_file)], label_target)
            first.setdefault(str(label_file), label_target)
            done()
    _write_tables(source, split, folder)


def _write_label(
    source: _Source, part: str, image: str, label_file: Path, picture: Path, target: Path, say: Callable[[str], None]
) -> None:
    from nnunet_topo.homology import betti_numbers  # here, for it brings torch, and --help need not wait for that

    values = read_mask(label_file)
    with Image.open(picture) as opened:
        require_same_size(label_file, values, picture, opened)
    array = np.asarray(values)
    stray = sorted(set(np.unique(array).tolist()) - {0, FOREGROUND})
    mask: NDArray[np.bool_] = array == FOREGROUND
    if stray:
        say(f"{label_file.relative_to(source.folder)}: {int(np.isin(array, stray).sum())} pixel(s) are neither 0 nor "
            f"{FOREGROUND}; they become background.")
    if not mask.any():
        raise ValueError(f"{label_file} has no pixel of the value {FOREGROUND}, so it shows no mortar; it holds "
                         f"{', '.join(map(str, np.unique(array)[:5].tolist()))}. Get the repository again.")
    if part == "test" and image in source.betti:
        found, published = betti_numbers(mask), source.betti[image]
        if found != published:
            raise ValueError(f"{label_file} has the Betti numbers {found} (8-connected foreground), but "
                             f"betti_numbers.csv says {published}. One of the files is not as published; get the "
                             "repository again.")
    Image.fromarray(mask.astype(np.uint8)).save(target)


def _write_tables(source: _Source, split: Mapping[str, Sequence[str]], folder: Path) -> None:
    training = [*split["train"], *split["val"]]
    write_json(folder / "splits_final.json", [{part: [f"TM_{image}" for image in split[part]]
                                               for part in ("train", "val")}])
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "topomortar_id", "split", "group", "betti0", "betti1"])
        for part in _PARTS:
            writer.writerows([f"TM_{image}", image, part, source.groups[image],
                              *source.betti.get(image, ("", ""))] for image in split[part])
    write_json(folder / "dataset.json", {
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "labels": {"background": 0, "mortar": 1},
        "numTraining": len(training),
        "file_ending": ".png",
        "overwrite_image_reader_writer": "NaturalImage2DIO",
        "reference": "https://github.com/jmlipman/TopoMortar",
        "licence": "MIT",
    })
    for place in (source.folder, source.folder.parent):
        if (place / "LICENSE").is_file():
            shutil.copyfile(place / "LICENSE", folder / "LICENSE.TopoMortar")


def _link(existing: Path, target: Path) -> None:
    """A hard link, or a copy where the disk has none."""
    try:
        os.link(existing, target)
    except OSError:
        shutil.copyfile(existing, target)
