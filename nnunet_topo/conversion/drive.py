"""DRIVE (drive.grand-challenge.org), retinal photographs with their vessels, as a data set of nnU-Net.

J. Staal et al., "Ridge-based vessel segmentation in color images of the retina", IEEE Trans. Med. Imaging 23 (2004),
501-509. Expected are the unpacked folders ``training`` and, if there, ``test``, as published::

    training/images/21_training.tif        test/images/01_test.tif
    training/1st_manual/21_manual1.gif     test/1st_manual/01_manual1.gif
    training/mask/21_training_mask.gif     test/mask/01_test_mask.gif

The challenge's own download has no ``test/1st_manual``; older copies have it, and a second observer's
``test/2nd_manual``, which is not read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from nnunet_topo.conversion.pictures import read_mask, read_rgb, require_same_size
from nnunet_topo.conversion.raw_dataset import Check, dataset_name, new_datasets
from nnunet_topo.files import files_of, write_json

IGNORE = 2  # nnU-Net's ignore label is the highest
_PARTS = {"training": "Tr", "test": "Ts"}


class _Case(NamedTuple):
    name: str
    picture: Path
    label: Path
    field_of_view: Path


def convert_drive(
    source: str | os.PathLike[str], number: int, *, ignore_outside: bool = False, say: Callable[[str], None] = print,
    progress: bool = True, check: Check | None = None,
) -> Path:
    """Write ``DatasetXXX_DRIVE`` (with ``ignore_outside`` ``..._DRIVEFieldOfView``); returns its folder.

    Photographs become RGB ``.png`` files, pixel for pixel; labels are 0 and 1 (vessel), the first observer's. Test
    cases are written where they have labels.

    What lies outside of the round field of view is dark. By default it is background as the observer left it: that is
    easily learnt, and a vessel found there is counted as the error it is. Published figures are often of pixels inside
    alone, which matters for specificity and accuracy. For these, ``ignore_outside`` gives pixels outside nnU-Net's
    ignore label: no loss and no evaluation looks at them, and predictions there mean nothing.

    Args:
        source: the folder of ``training`` and ``test``, or the one that holds it as ``DRIVE``.
        number: of the data set.
        ignore_outside: give pixels outside of the field of view the ignore label.
        say: called with a sentence where there are no test labels.
        progress: show a bar.
        check: called with the data set's folder before it takes its final name; raises ValueError.

    Raises:
        ValueError: files are missing or cannot be read, sizes differ, a photograph is not RGB or a mask has more than
            two values; nothing is written then.
        FileExistsError: the number is in use.
    """
    name = dataset_name(number, "DRIVEFieldOfView" if ignore_outside else "DRIVE")
    folder = Path(source) / "DRIVE" if (Path(source) / "DRIVE").is_dir() else Path(source)
    cases = {part: _cases(folder, part, ignore_outside) for part in _PARTS}
    if not cases["test"]:
        say(f"{folder / 'test'} has no images with labels in 1st_manual, so the data set has no test cases.")
    with new_datasets([name], check) as folders, tqdm(
            total=sum(map(len, cases.values())), desc="Converting", unit="case", disable=not progress) as bar:
        for part, letters in _PARTS.items():
            images, labels = (folders[name] / f"{kind}{letters}" for kind in ("images", "labels"))
            for case in cases[part]:
                images.mkdir(exist_ok=True)
                labels.mkdir(exist_ok=True)
                picture, label = _read(case, ignore_outside)
                picture.save(images / f"{case.name}_0000.png")
                Image.fromarray(label).save(labels / f"{case.name}.png")
                bar.update()
        write_json(folders[name] / "dataset.json", {
            "channel_names": {"0": "R", "1": "G", "2": "B"},
            "labels": {"background": 0, "vessel": 1} | ({"ignore": IGNORE} if ignore_outside else {}),
            "numTraining": len(cases["training"]),
            "file_ending": ".png",
            "overwrite_image_reader_writer": "NaturalImage2DIO",
            "reference": "https://drive.grand-challenge.org",
        })
    return Path(os.environ["nnUNet_raw"]) / name


def _cases(folder: Path, part: str, masks: bool) -> list[_Case]:
    """The cases of a part, all with labels and, if asked for, masks; none of the test where it has no labels."""
    pattern = re.compile(rf"(\d+)_{part}\.tif")
    images, labels = folder / part / "images", folder / part / "1st_manual"
    found = [pattern.fullmatch(file.name) for file in images.iterdir()] if images.is_dir() else []
    numbers = sorted(match[1] for match in found if match)
    if part == "test" and (not labels.is_dir() or not files_of(labels, "_manual1.gif")):
        return []
    if not numbers:
        raise ValueError(f"{images} has no files NN_{part}.tif, so {folder} is not DRIVE's folder as published. Unpack "
                         "training.zip and test.zip of https://drive.grand-challenge.org into one folder and give its "
                         "path.")
    cases = [_Case(f"drive_{number}", images / f"{number}_{part}.tif", labels / f"{number}_manual1.gif",
                   folder / part / "mask" / f"{number}_{part}_mask.gif") for number in numbers]
    wanted = [file for case in cases for file in (case.label, *([case.field_of_view] if masks else []))]
    missing = [file for file in wanted if not file.is_file()]
    if missing:
        raise ValueError(f"{folder} lacks {len(missing)} file(s) that its images need, such as "
                         f"{missing[0].relative_to(folder)}. Unpack the download again.")
    return cases


def _read(case: _Case, ignore_outside: bool) -> tuple[Image.Image, NDArray[np.uint8]]:
    picture = read_rgb(case.picture, "DRIVE")
    label = _mask(case.label, case.picture, picture, "at vessels").astype(np.uint8)
    if ignore_outside:
        label[~_mask(case.field_of_view, case.picture, picture, "inside of the field of view")] = IGNORE
    return picture, label


def _mask(file: Path, picture_file: Path, picture: Image.Image, where: str) -> NDArray[np.bool_]:
    """True where a picture of black and one other value has that value, which is ``where``."""
    read = read_mask(file)
    require_same_size(file, read, picture_file, picture)
    array = np.asarray(read)
    values = np.unique(array[array > 0]).tolist()
    if len(values) > 1:
        raise ValueError(f"{file} has the values {', '.join(map(str, values[:5]))} besides 0, but DRIVE's masks are "
                         "black and white. Unpack the download again.")
    if not values:
        raise ValueError(f"{file} is black all over, but it must be white {where}. Unpack the download again.")
    return array > 0
