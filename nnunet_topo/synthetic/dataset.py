"""Synthetic vessels as a raw dataset of nnU-Net v2."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813  its customary name
from numpy.typing import NDArray
from tqdm import tqdm

from nnunet_topo.disk import require_writable, writing
from nnunet_topo.files import unfinished_folder, write_image, write_json
from nnunet_topo.synthetic.vessels import Vessels, vessel_tree

_BRIGHTEST = 1.8  # intensity that becomes white in an 8 bit image
_CLASS_NAMES = {1: ("vessel",), 2: ("artery", "vein")}


def write_dataset(
    folder: str | os.PathLike[str], *, cases: int, test_cases: int, shape: tuple[int, ...], seed: int, classes: int = 1,
    spacing: Sequence[float] | None = None, progress: bool = True, **vessel_options: Any,
) -> None:
    """Write training and test cases of :func:`vessel_tree` as a raw nnU-Net dataset, labels of the test cases included.

    ``folder`` is the dataset's own (``.../nnUNet_raw/Dataset900_Vessels``); it appears only when all is written.
    3D cases are NIfTI with ``spacing`` in mm in the order of ``shape`` (1 mm when None), 2D cases are 8 bit PNG, which
    have no spacing. Further options are those of :func:`vessel_tree`. Beside nnU-Net's files, ``topology.json`` holds
    the known Betti numbers and gaps of each case. A case depends on ``seed`` and its own number alone. Raises
    FileExistsError for a folder that holds something, ValueError for arguments out of range.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(
            f"{folder} exists and is not an empty folder; choose another name or remove it first. Nothing was written."
        )
    _check(cases, test_cases, shape, seed, spacing)
    ending = ".png" if len(shape) == 2 else ".nii.gz"
    require_writable(folder.parent)
    with unfinished_folder(folder.parent) as unfinished, writing(folder):
        partial = unfinished / folder.name
        for part in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
            (partial / part).mkdir(parents=True)
        topology = {}
        for number in tqdm(range(cases + test_cases), desc="Drawing vessels", unit="case", disable=not progress):
            name, part = f"vessels_{number:03d}", "Tr" if number < cases else "Ts"
            case_seed = int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
            vessels = vessel_tree(shape, seed=case_seed, classes=classes, **vessel_options)
            _write_image(vessels.image, partial / f"images{part}" / f"{name}_0000{ending}", spacing)
            _write_image(vessels.label, partial / f"labels{part}" / f"{name}{ending}", spacing)
            topology[name] = _known_topology(vessels)
        write_json(partial / "topology.json", topology)
        write_json(partial / "dataset.json", _dataset_json(cases, classes, ending))
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)


def _check(
    cases: int, test_cases: int, shape: tuple[int, ...], seed: int, spacing: Sequence[float] | None
) -> None:
    for name, value, least in (("cases", cases, 1), ("test_cases", test_cases, 0), ("seed", seed, 0)):
        if not isinstance(value, (int, np.integer)) or value < least:
            raise ValueError(f"{name} must be an integer of at least {least}, not {value!r}.")
    if spacing is None:
        return
    if len(shape) == 2:
        raise ValueError("2D cases are written as PNG, which nnU-Net reads with spacing 1; leave the spacing out.")
    if len(spacing) != len(shape) or min(spacing) <= 0:
        raise ValueError(f"The spacing must be {len(shape)} positive numbers in mm, not {tuple(spacing)}.")


def _write_image(image: NDArray[Any], path: Path, spacing: Sequence[float] | None) -> None:
    if image.ndim == 2 and image.dtype != np.uint8:
        image = np.clip(np.rint(255 / _BRIGHTEST * image), 0, 255).astype(np.uint8)
    file = sitk.GetImageFromArray(image)
    if spacing is not None:
        file.SetSpacing([float(length) for length in reversed(spacing)])
    write_image(file, path)


def _dataset_json(cases: int, classes: int, ending: str) -> dict[str, Any]:
    content: dict[str, Any] = {
        "channel_names": {"0": "synthetic vessels"},
        "labels": {"background": 0} | {name: value for value, name in enumerate(_CLASS_NAMES[classes], start=1)},
        "numTraining": cases,
        "file_ending": ending,
    }
    if ending == ".png":
        content["overwrite_image_reader_writer"] = "NaturalImage2DIO"
    return content


def _known_topology(vessels: Vessels) -> dict[str, Any]:
    return {
        "betti_numbers": list(vessels.betti),
        "betti_numbers_of_class": {str(value): list(numbers) for value, numbers in vessels.class_betti.items()},
        "connectivity": "the same under either",
        "gaps": vessels.gaps.tolist(),
    }
