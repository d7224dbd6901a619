"""Two folders, of images and of label maps with the same names, as a data set of nnU-Net."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nnunet_topo.conversion.raw_dataset import Check, dataset_name, new_datasets
from nnunet_topo.conversion.volumes import HIGHEST_LABEL, read_label, write_label
from nnunet_topo.files import files_of, write_json

ENDINGS = (".nii.gz", ".nrrd", ".mha")


def convert_pairs(
    images: str | os.PathLike[str], labels: str | os.PathLike[str], number: int, name: str, *,
    test_images: str | os.PathLike[str] | None = None, test_labels: str | os.PathLike[str] | None = None,
    foreground: int | None = None, classes: Sequence[str] = ("foreground",), channel: str = "image",
    say: Callable[[str], None] = print, check: Check | None = None,
) -> Path:
    """Write ``DatasetXXX_<name>`` from volumes of one channel; returns its folder.

    An image and its label map have the same file name, which ends in one of :data:`ENDINGS`, the same for all. Images
    are copied. Label maps are written with the same values, as unsigned integers on exactly the grids of their images,
    or with ``foreground`` as 1 where they have this value and 0 elsewhere. A label map of two axes may belong to an
    image of one slice, and the reverse.

    Args:
        images, labels: folders of the training cases.
        number: of the data set.
        name: letters and digits.
        test_images, test_labels: folders of the test cases, both or none.
        foreground: the only label value that counts.
        classes: names of the labels 1, 2, ...; "ignore", if it is the last, is nnU-Net's ignore label.
        channel: name of the channel, by which nnU-Net normalises ("CT" has a meaning of its own).
        say: called with a sentence where a class does not occur in the training cases.
        check: called with the data set's folder before it takes its final name; raises ValueError.

    Raises:
        ValueError: a file without its partner, cut off or of several channels, another grid, labels other than 0, 1,
            ... as many as classes, or no label that counts in any training case.
        FileExistsError: the number is in use.
    """
    if (test_images is None) != (test_labels is None):
        raise ValueError("Test images and their labels go together; give the folders of both, or of none.")
    _require_names(classes)
    if foreground is not None and (len(classes) > 1 or not 1 <= foreground <= HIGHEST_LABEL):
        raise ValueError(f"The one label value that counts (--foreground) becomes one class: it is a label from 1 to "
                         f"{HIGHEST_LABEL}, not {foreground} for {len(classes)} class(es). Leave it out to keep all "
                         "labels, or name one class.")
    whole_name = dataset_name(number, name)
    parts = {"Tr": _pairs(Path(images), Path(labels))}
    if test_images is not None and test_labels is not None:
        parts["Ts"] = _pairs(Path(test_images), Path(test_labels))
    endings = {ending for _, ending in parts.values()}
    if len(endings) > 1:
        raise ValueError(f"nnU-Net takes one file format a data set, not {' and '.join(sorted(endings))}; convert the "
                         "training or the test files first.")
    (ending,) = endings
    with new_datasets([whole_name], check) as folders:
        folder = folders[whole_name]
        for letters, (pairs, _) in parts.items():
            (folder / f"images{letters}").mkdir()
            (folder / f"labels{letters}").mkdir()
            found: set[int] = set()
            for image, label in tqdm(pairs, desc=f"Converting images{letters}", unit="case", leave=False):
                case = image.name.removesuffix(ending)
                values, grid = read_label(image, label)
                found |= set(np.unique(values).tolist())
                write_label(_classes(values, label, foreground, len(classes)), grid,
                            folder / f"labels{letters}" / label.name)
                shutil.copyfile(image, folder / f"images{letters}" / f"{case}_0000{ending}")
            if letters == "Tr":
                _require_classes(found, Path(labels), foreground, classes, say)
        write_json(folder / "dataset.json", {
            "channel_names": {"0": channel},
            "labels": {"background": 0} | {label: value for value, label in enumerate(classes, start=1)},
            "numTraining": len(parts["Tr"][0]),
            "file_ending": ending,
        })
    return Path(os.environ["nnUNet_raw"]) / whole_name


def _require_names(classes: Sequence[str]) -> None:
    """ValueError where dataset.json would not say what the names 1, 2, ... mean."""
    for name in classes:
        if not name.strip():
            raise ValueError("A class has an empty name; give each label 1, 2, ... a name.")
        if classes.count(name) > 1:
            raise ValueError(f"The class {name!r} is named {classes.count(name)} times, but a name stands for one "
                             "label. Give each label 1, 2, ... a name of its own.")
        if name.lower() == "background":
            raise ValueError(f"{name!r} is named as a class, but classes are the labels 1, 2, ...; label 0 is the "
                             "background and needs no name. Leave it out.")
        if name.lower() == "ignore" and (name != "ignore" or name != classes[-1] or len(classes) == 1):
            raise ValueError(f"{name!r} is named as a class, but nnU-Net takes 'ignore' for the label that is not "
                             "learnt, which must be the highest, above at least one class. Name it last, in small "
                             "letters, or choose another name.")


def _pairs(images: Path, labels: Path) -> tuple[list[tuple[Path, Path]], str]:
    """The files of the same names, and how these end; hidden ones are not looked at."""
    for folder in (images, labels):
        if not folder.is_dir():
            raise ValueError(f"{folder} is not a folder.")
    names = [{file.name for ending in ENDINGS for file in files_of(folder, ending)} for folder in (images, labels)]
    alone = sorted(names[0] ^ names[1])
    if alone or not names[0]:
        what = f"{len(alone)} file(s) without a partner, such as {alone[0]}" if alone else "no files"
        raise ValueError(f"{images} and {labels} hold {what}. An image and its label map need the same name, which "
                         f"ends in {', '.join(ENDINGS)}.")
    endings = {ending for ending in ENDINGS for name in names[0] if name.endswith(ending)}
    if len(endings) > 1:
        raise ValueError(f"{images} holds files of several formats ({', '.join(sorted(endings))}); nnU-Net takes one.")
    return [(images / name, labels / name) for name in sorted(names[0])], endings.pop()


def _classes(
    values: NDArray[np.unsignedinteger], label: Path, foreground: int | None, classes: int
) -> NDArray[np.unsignedinteger]:
    """The labels to write."""
    if foreground is not None:
        return (values == foreground).astype(np.uint8)
    foreign = sorted(set(np.unique(values).tolist()) - set(range(classes + 1)))
    if foreign:
        raise ValueError(f"{label} holds the label(s) {', '.join(map(str, foreign[:5]))}, but with {classes} class(es) "
                         f"labels are 0 to {classes}. Name all classes (--classes), or the one value that counts "
                         "(--foreground). nnU-Net needs labels without gaps; number them 0, 1, 2, ... first.")
    return values


def _require_classes(
    found: Collection[int], labels: Path, foreground: int | None, classes: Sequence[str], say: Callable[[str], None]
) -> None:
    """ValueError where nothing that counts occurs in the training cases; a sentence for a class that does not."""
    if foreground is not None:
        if foreground not in found:
            raise ValueError(f"No label map of {labels} holds the label {foreground} (--foreground); they hold "
                             f"{', '.join(map(str, sorted(found)[:10]))}. Choose one of these.")
        return
    learnt = [name for name in classes if name != "ignore"]
    missing = [name for label, name in enumerate(learnt, start=1) if label not in found]
    if missing == learnt:
        raise ValueError(f"All label maps of {labels} are empty: they hold no class, so there is nothing to learn. "
                         "Give the folder with the label maps as they were drawn.")
    if missing:
        say(f"No label map of {labels} holds {', '.join(missing)}, so a network cannot learn it.")
