"""Two folders, of images and of label maps with the same names, as a data set of nnU-Net."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813  its customary name

from nnunet_topo.conversion.raw_dataset import dataset_name, new_datasets
from nnunet_topo.conversion.volumes import read_label, write_label
from nnunet_topo.files import write_json

ENDINGS = (".nii.gz", ".nrrd", ".mha")


def convert_pairs(
    images: str | os.PathLike[str], labels: str | os.PathLike[str], number: int, name: str, *,
    test_images: str | os.PathLike[str] | None = None, test_labels: str | os.PathLike[str] | None = None,
    foreground: int | None = None, classes: Sequence[str] = ("foreground",), channel: str = "image",
) -> Path:  # fmt: skip
    """Write ``DatasetXXX_<name>`` from volumes of one channel; returns its folder.

    An image and its label map have the same file name, which ends in one of :data:`ENDINGS`, the same for all. Files
    are copied; with ``foreground``, label maps are written anew, 1 where they have this value and 0 elsewhere.

    Args:
        images, labels: folders of the training cases.
        number: of the data set.
        name: letters and digits.
        test_images, test_labels: folders of the test cases, both or none.
        foreground: the only label value that counts.
        classes: names of the labels 1, 2, ...
        channel: name of the channel, by which nnU-Net normalises ("CT" has a meaning of its own).

    Raises:
        ValueError: a file without its partner, another grid, or labels other than 0, 1, ... as many as classes.
        FileExistsError: the number is in use.
    """
    if (test_images is None) != (test_labels is None):
        raise ValueError("Test images and their labels go together; give the folders of both, or of none.")
    whole_name = dataset_name(number, name)
    parts = {"Tr": _pairs(Path(images), Path(labels))}
    if test_images is not None and test_labels is not None:
        parts["Ts"] = _pairs(Path(test_images), Path(test_labels))
    endings = {ending for _, ending in parts.values()}
    if len(endings) > 1:
        raise ValueError(f"nnU-Net takes one file format a data set, not {' and '.join(sorted(endings))}; convert the "
                         "training or the test files first.")
    (ending,) = endings
    with new_datasets([whole_name]) as folders:
        folder = folders[whole_name]
        for letters, (pairs, _) in parts.items():
            (folder / f"images{letters}").mkdir()
            (folder / f"labels{letters}").mkdir()
            for image, label in pairs:
                case = image.name.removesuffix(ending)
                _copy_label(image, label, folder / f"labels{letters}" / label.name, foreground, len(classes))
                shutil.copyfile(image, folder / f"images{letters}" / f"{case}_0000{ending}")
        write_json(folder / "dataset.json", {
            "channel_names": {"0": channel},
            "labels": {"background": 0} | {label: value for value, label in enumerate(classes, start=1)},
            "numTraining": len(parts["Tr"][0]),
            "file_ending": ending,
        })
    return Path(os.environ["nnUNet_raw"]) / whole_name


def _pairs(images: Path, labels: Path) -> tuple[list[tuple[Path, Path]], str]:
    """The files of the same names, and how these end."""
    for folder in (images, labels):
        if not folder.is_dir():
            raise ValueError(f"{folder} is no folder.")
    names = [{file.name for file in folder.iterdir() if file.name.endswith(ENDINGS)} for folder in (images, labels)]
    alone = sorted(names[0] ^ names[1])
    if alone or not names[0]:
        what = f"{len(alone)} file(s) without a partner, such as {alone[0]}" if alone else "no files"
        raise ValueError(f"{images} and {labels} hold {what}. An image and its label map need the same name, which "
                         f"ends in {', '.join(ENDINGS)}.")
    endings = {ending for ending in ENDINGS for name in names[0] if name.endswith(ending)}
    if len(endings) > 1:
        raise ValueError(f"{images} holds files of several formats ({', '.join(sorted(endings))}); nnU-Net takes one.")
    return [(images / name, labels / name) for name in sorted(names[0])], endings.pop()


def _copy_label(image: Path, label: Path, target: Path, foreground: int | None, classes: int) -> None:
    content = read_label(image, label)
    values = sitk.GetArrayViewFromImage(content)
    if foreground is not None:
        write_label((values == foreground).astype(np.uint8), content, target)
        return
    foreign = sorted(set(np.unique(values).tolist()) - set(range(classes + 1)))
    if foreign:
        raise ValueError(f"{label} holds the label(s) {', '.join(map(str, foreign[:5]))}, but with {classes} class(es) "
                         f"labels are 0 to {classes}. Name all classes (--classes), or the one value that counts "
                         "(--foreground).")
    shutil.copyfile(label, target)
