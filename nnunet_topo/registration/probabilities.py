"""nnU-Net's probabilities (``.npz``), whose order of axes only the label map beside them tells."""

from __future__ import annotations

import pickle
import zipfile
import zlib
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813  its customary name
from numpy.typing import NDArray

from nnunet_topo.registration.labels import labels_of_data_set, named, read_data_set

_ROUNDING = 1e-3  # of the foreground: probabilities kept in half precision have ties that the label map had not
_DAMAGED = (OSError, KeyError, IndexError, TypeError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error,
            pickle.UnpicklingError)


def bone_probability(file: Path, label_map: sitk.Image, label: tuple[int, ...] | None) -> sitk.Image:
    """The probability of the bone's label, or labels together, on the grid of the label map written with the file.

    nnU-Net writes the label map as the image was stored, but the probabilities as its reader turned them, which for
    ``NibabelIOWithReorient`` is right-anterior-superior. The order of axes and their directions are taken in which the
    label map follows from the probabilities.

    Args:
        label: None for a file with one label only. With regions, the labels of one region.

    Raises ValueError where the file is damaged or the label unclear, and where in no order the label map follows.
    """
    channels = _channels(file)
    labels = sitk.GetArrayViewFromImage(label_map)
    if channels.shape[0] > 1 and np.abs(channels.sum(0, dtype=np.float32) - 1).max() < 1e-2:
        chosen = _class(file, len(channels), label)
        made = channels.argmax(0)
    else:
        index, made = _region(file, channels, label)
        chosen = [index]
        labels = labels > 0 if made.dtype == bool else labels
    axes, steps = _order(made, labels, file)
    values = channels[chosen].sum(0, dtype=np.float32).transpose(axes)[steps]
    image = sitk.GetImageFromArray(np.ascontiguousarray(np.clip(values, 0, 1)))
    image.CopyInformation(label_map)
    return image


def _channels(file: Path) -> NDArray[np.floating]:
    try:
        with np.load(file) as content:
            array = content["probabilities"]
    except _DAMAGED as error:
        raise ValueError(f"{file} cannot be read as nnU-Net's probabilities ({type(error).__name__}: {error}). It may "
                         "be incomplete: predict again with --save_probabilities.") from error
    if array.ndim != 4 or not np.issubdtype(array.dtype, np.floating) or not array.size:
        raise ValueError(f"{file} holds an array of shape {array.shape} and type {array.dtype}, but nnU-Net's "
                         "probabilities are floating point numbers with the axes channel, z, y, x.")
    if not (array.min() >= 0 and array.max() <= 1 + 1e-3):  # false for what is not a number, too
        raise ValueError(f"{file} holds values from {array.min()} to {array.max()}, but probabilities are from 0 to 1. "
                         "Predict again with --save_probabilities.")
    return array


def _class(file: Path, count: int, label: tuple[int, ...] | None) -> list[int]:
    """Channels of a softmax, of which the first is the background."""
    if label is None and count == 2:
        return [1]
    if label is not None and max(label) < count:
        return list(label)
    try:
        found = labels_of_data_set(file)
    except ValueError:
        found = None  # only for the names in the sentence
    names = f" ({named(found[1])})" if found else ""
    if label is None:
        raise ValueError(f"{file} holds the probabilities of the labels 1 to {count - 1}{names}. Say by label (-l) "
                         "which of them is the bone.")
    raise ValueError(f"{file} has no label {max(label)}: it holds the probabilities of the labels 1 to {count - 1}"
                     f"{names}, beside the background.")


def _region(
    file: Path, channels: NDArray[np.floating], label: tuple[int, ...] | None
) -> tuple[int, NDArray[Any]]:
    """The channel of a region, and what the channels make of each voxel: a label, or foreground where none is known."""
    count = len(channels)
    found = labels_of_data_set(file)
    if found is None:
        if count > 1 or label is not None:
            raise ValueError(f"{file} holds the probabilities of {count} region(s), without a background, and only the "
                             "dataset.json of the training tells which. Copy it beside the file, as nnU-Net does, and "
                             "name the region by label (-l).")
        return 0, channels[0] > 0.5
    path, regions = found
    order = read_data_set(path).get("regions_class_order")
    if not isinstance(order, list) or not len(order) == len(regions) == count:
        raise ValueError(f"{file} holds the probabilities of {count} region(s), but {path} has {len(regions)} label(s) "
                         f"and the regions_class_order {order}. Give the dataset.json that belongs to it.")
    made = np.zeros(channels.shape[1:], np.int64)
    for channel, value in zip(channels, order, strict=True):
        made[channel > 0.5] = value
    if label is None and count == 1:
        return 0, made
    indices = [index for index, numbers in enumerate(regions.values()) if numbers == label]
    if len(indices) != 1:
        given = "Say" if label is None else f"The labels {','.join(map(str, label))} are not among them: say"
        raise ValueError(f"{file} holds the probabilities of the regions {named(regions)}. {given} by name or by all "
                         "its labels (-l) which region is the bone.")
    return indices[0], made


def _order(
    made: NDArray[Any], labels: NDArray[Any], file: Path
) -> tuple[tuple[int, ...], tuple[slice, ...]]:
    """Permutation and directions of axes that turn the one array into the other; unchanged where that is right."""
    least, best = None, None
    for axes in permutations(range(3)):
        turned = made.transpose(axes)
        if turned.shape != labels.shape:
            continue
        for signs in product((1, -1), repeat=3):
            steps = tuple(slice(None, None, sign) for sign in signs)
            wrong = int(np.count_nonzero(turned[steps] != labels))
            if least is None or wrong < least:
                least, best = wrong, (axes, steps)
            if not wrong:
                break
        if least == 0:
            break
    if best is None or least is None:
        raise ValueError(f"{file} has the size {made.shape}, its label map {labels.shape} (z, y, x). Predict both "
                         "again with --save_probabilities.")
    if least > _ROUNDING * np.count_nonzero(labels):
        raise ValueError(f"{file} and its label map contradict each other in {least} voxels, in whatever order of axes "
                         "it is read. Perhaps the label map was changed afterwards, e.g. by post-processing, or is of "
                         "another prediction. Register by the label map itself, or predict both again.")
    return best
