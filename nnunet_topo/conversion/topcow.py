"""TopCoW 2024's data release (zenodo.org/records/15692630) as a data set of nnU-Net, CT or MR angiographies.

K. Yang et al., "Benchmarking the CoW with the TopCoW Challenge: Topology-Aware Anatomical Segmentation of the Circle of
Willis for CTA and MRA", arXiv:2312.17670. Expected is the folder ``TopCoW2024_Data_Release``: ``imagesTr`` with
``topcow_ct_NNN_0000.nii.gz`` and ``topcow_mr_NNN_0000.nii.gz``, NNN being the patient, and ``cow_seg_labelsTr`` with
``topcow_ct_NNN.nii.gz`` and ``topcow_mr_NNN.nii.gz``. ``roi_loc_labelsTr`` and ``antpos_edges_labelsTr`` (the other
tasks' boxes and graphs) and ``imagesVal`` (without labels) are not read.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nnunet_topo.conversion.raw_dataset import Check, dataset_name, new_datasets
from nnunet_topo.conversion.volumes import read_label, write_label
from nnunet_topo.files import write_json

MODALITIES = {"ct": "CT", "mr": "MR"}  # channels; nnU-Net normalises "CT" in a way of its own
VESSELS = {1: "BA", 2: "R-PCA", 3: "L-PCA", 4: "R-ICA", 5: "R-MCA", 6: "L-ICA", 7: "L-MCA", 8: "R-Pcom", 9: "L-Pcom",
           10: "Acom", 11: "R-ACA", 12: "L-ACA", 15: "3rd-A2"}
_ENDING = ".nii.gz"
_IMAGES, _LABELS, _LICENCE = "imagesTr", "cow_seg_labelsTr", "License.txt"


def convert_topcow(
    source: str | os.PathLike[str], number: int, modality: str, *, binary: bool = False, progress: bool = True,
    check: Check | None = None,
) -> Path:
    """Write ``DatasetXXX_TopCoW<CT or MR>`` (with ``binary`` ``...Binary``) from one modality; returns its folder.

    Images are the release's files. nnU-Net needs consecutive labels, so the release's 15 (3rd-A2; 13 and 14 are not
    used) becomes 13 and all others stay; with ``binary`` all vessels are 1. Label files have the grids of their images.

    Both modalities are of the same patients. A data set has one modality, so that no patient is in training and
    validation at once; where both data sets have the same patients, nnU-Net's own folds have the same ones too, since
    it divides sorted names. The test labels are not public, so there are no test cases.

    Args:
        source: the release's folder, or the one that holds ``TopCoW2024_Data_Release``.
        number: of the data set.
        modality: ``"ct"`` or ``"mr"``.
        binary: one label for all vessels.
        progress: show a bar.
        check: called with the data set's folder before it takes its final name; raises ValueError.

    Raises:
        ValueError: files are missing or cannot be read, a label map lies on another grid than its image, or holds
            a label that the release does not have; nothing is written then.
        FileExistsError: the number is in use.
    """
    if modality not in MODALITIES:
        raise ValueError(f"The modality must be {' or '.join(MODALITIES)}, not {modality!r}.")
    name = dataset_name(number, f"TopCoW{MODALITIES[modality]}{'Binary' if binary else ''}")
    release = _release(Path(source))
    cases = _cases(release, modality)
    with new_datasets([name], check) as folders:
        folder = folders[name]
        for part in ("imagesTr", "labelsTr"):
            (folder / part).mkdir()
        for case in tqdm(cases, desc="Converting", unit="case", disable=not progress):
            image, label = release / _IMAGES / f"{case}_0000{_ENDING}", release / _LABELS / f"{case}{_ENDING}"
            values, grid = read_label(image, label)
            write_label(_consecutive(label, values, binary), grid, folder / "labelsTr" / label.name)
            shutil.copyfile(image, folder / "imagesTr" / image.name)
        vessels = ["vessel"] if binary else list(VESSELS.values())
        write_json(folder / "dataset.json", {
            "channel_names": {"0": MODALITIES[modality]},
            "labels": {"background": 0} | {vessel: label for label, vessel in enumerate(vessels, start=1)},
            "numTraining": len(cases),
            "file_ending": _ENDING,
            "reference": "https://zenodo.org/records/15692630",
            "licence": "Open use. Must provide the source. Use for commercial purposes requires permission of the "
                       "data owner.",
        })
        if (release / _LICENCE).is_file():
            shutil.copyfile(release / _LICENCE, folder / "LICENSE.TopCoW")
    return Path(os.environ["nnUNet_raw"]) / name


def _release(source: Path) -> Path:
    folder = source / "TopCoW2024_Data_Release"
    folder = folder if folder.is_dir() else source
    missing = [name for name in (_IMAGES, _LABELS) if not (folder / name).is_dir()]
    if missing:
        older = ", but that of 2023" if (folder / "mul_labelsTr").is_dir() else ""
        raise ValueError(f"{folder} has no folder {' and no folder '.join(missing)}, so it is not TopCoW's release of "
                         f"2024{older}. Unpack TopCoW2024_Data_Release.zip of https://zenodo.org/records/15692630 and "
                         "give the path of its folder.")
    return folder


def _cases(release: Path, modality: str) -> list[str]:
    """Sorted names of all cases of the modality, each with an image and a label map."""
    found: list[set[str]] = []
    for name, suffix in ((_IMAGES, "_0000"), (_LABELS, "")):
        pattern = re.compile(rf"(topcow_{modality}_\d+){suffix}{re.escape(_ENDING)}")
        matches = [pattern.fullmatch(file.name) for file in (release / name).iterdir()]
        found.append({match[1] for match in matches if match})
    images, labels = found
    if not images | labels:
        raise ValueError(f"{release / _IMAGES} has no files topcow_{modality}_NNN_0000{_ENDING}. Give the folder of "
                         "the whole release, or another --modality.")
    alone = sorted(images ^ labels)
    if alone:
        where, what = (_LABELS, "label map") if alone[0] in images else (_IMAGES, "image")
        raise ValueError(f"{len(alone)} case(s) of {release} have an image or a label map alone, such as {alone[0]}, "
                         f"which has no {what} in {where}. Unpack the release again.")
    return sorted(images)


def _consecutive(label: Path, values: NDArray[np.unsignedinteger], binary: bool) -> NDArray[np.uint8]:
    foreign = sorted(set(np.unique(values).tolist()) - {0, *VESSELS})
    if foreign:
        raise ValueError(f"{label} holds the label(s) {', '.join(map(str, foreign[:5]))}, but TopCoW's "
                         "labels are 0 to 12 and 15. Unpack the release again.")
    if not values.any():
        raise ValueError(f"{label} is empty: it holds none of TopCoW's vessels. Unpack the release again.")
    new = np.zeros(max(VESSELS) + 1, np.uint8)
    new[list(VESSELS)] = 1 if binary else range(1, len(VESSELS) + 1)
    return new[values.astype(np.intp)]
