"""nnU-Net's probabilities of a case (``--npz``, ``--save_probabilities``), read a channel at a time."""

from __future__ import annotations

import pickle
import zipfile
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray

from nnunet_topo.postprocessing.labels import Labels, LabelScheme, Mask

_PART, _AHEAD = 2**18, 8  # voxels that are looked at together, and how many such parts are read ahead
_ONE_THREAD = 2**15  # numbers that torch converts without a second thread, for which it would wait
_OUTSIDE = 1e-3  # of [0, 1] and of 0.5: what half precision and means of several networks make of probabilities


@dataclass
class CaseProbabilities:
    """The probabilities of those labels or regions that were asked for, in half precision.

    Attributes:
        scheme: of the data set.
        channels: (*S) of each label or region, by its index.
        of_label: (*S), the probability of the label that the label map has; None for regions.
    """

    scheme: LabelScheme
    channels: dict[int, NDArray[np.float16]]
    of_label: NDArray[np.float16] | None = None

    def within(self, box: tuple[slice, ...]) -> CaseProbabilities:
        """The part of the case in a box, with the same memory."""
        own = None if self.of_label is None else self.of_label[box]
        return CaseProbabilities(self.scheme, {index: values[box] for index, values in self.channels.items()}, own)

    def of(self, index: int) -> NDArray[np.float16]:
        """The probabilities of a label or region."""
        return self.channels[index]

    def likelier(
        self, index: int, labels: Labels, voxels: tuple[NDArray[np.int64], ...] | None = None
    ) -> Mask:
        """Where a label or region is likelier than all that would lose a voxel of ``labels`` to it.

        ``labels`` has the whole image's shape, or are those of ``voxels``. The ignore label loses nothing.
        """
        if index not in self.channels:
            return np.zeros(labels.shape, np.bool_)
        place: Any = (...,) if voxels is None else voxels
        own = self.channels[index][place]
        if self.of_label is not None:
            result = ordered(own) > ordered(self.of_label[place])
        else:
            result = np.ones(labels.shape, np.bool_)
            for label in np.unique(labels).tolist():
                here = labels == label
                for other in self.scheme.losers(index, label):
                    result[here] &= ordered(own[here]) > ordered(self.channels[other][place][here])
        if self.scheme.ignore_label is not None:
            result &= labels != self.scheme.ignore_label
        return result

    def gained(self, index: int, voxels: tuple[NDArray[np.int64], ...]) -> None:
        """Note that a label was given voxels."""
        if self.of_label is not None and index in self.channels:
            self.of_label[voxels] = self.channels[index][voxels]


def above(probabilities: NDArray[np.floating[Any]], value: float) -> Mask:
    """Where probabilities (*S) of any precision are above a value, which half precision rounds as numpy does."""
    if probabilities.dtype == np.float16:
        return np.asarray(ordered(probabilities) > ordered(np.float16(value)))
    return probabilities > value


def ordered(probabilities: Any) -> Any:
    """Whole numbers of the same order as numbers of half precision from 0 on; processors compare them much faster."""
    return probabilities.view(np.int16)


def read_probabilities(file: Path, label_file: Path, labels: Labels, scheme: LabelScheme, wanted: Sequence[int],
                       spacing: Sequence[float]) -> CaseProbabilities:
    """The probabilities of a case, checked against its label map.

    Args:
        file: nnU-Net's .npz; its .pkl, where it is there, has the spacing.
        label_file: of the label map, for sentences.
        labels: the label map (*S) as nnU-Net's reader gives it.
        scheme: of the data set.
        wanted: indices of the labels or regions to keep; all regions are kept, as they are few.
        spacing: of the label map.

    Raises:
        ValueError: no such file, or one that cannot be read; another shape, number of channels or spacing; values
            outside of [0, 1]; probabilities that say other labels than the label map has.
    """
    _require_spacing(file.with_suffix(".pkl"), label_file, spacing)
    case = CaseProbabilities(scheme, {})
    of_channel = {channel: index for index, channel in enumerate(scheme.channels)}
    keeps = set(range(len(scheme.names))) if scheme.has_regions else set(wanted)
    labels = np.ascontiguousarray(labels)
    flat = labels.reshape(-1)
    best, own = (np.zeros(flat.size, np.float16) for _ in range(2))
    painted, unsure = (np.zeros(flat.size if scheme.has_regions else 0, kind) for kind in (labels.dtype, np.bool_))
    for channel, part, values in _parts(file, scheme.channel_count, labels.shape, label_file):
        index = of_channel.get(channel, -1)
        if index in keeps:
            if part.start == 0:
                case.channels[index] = np.empty(labels.shape, np.float16)
            case.channels[index].reshape(-1)[part] = values
        if scheme.has_regions:
            painted[part][above(values, 0.5)] = scheme.painted[channel]
            unsure[part] |= np.abs(values - np.float16(0.5)) < _OUTSIDE
            continue
        np.copyto(own[part], values, where=flat[part] == channel)
        np.maximum(ordered(best[part]), ordered(values), out=ordered(best[part]))
    if scheme.has_regions:
        wrong = (painted != flat) & ~unsure
    else:
        wrong = ordered(best) > ordered(own)
        wrong[wrong] = best[wrong] > own[wrong] + np.float16(2 * _OUTSIDE)
        case.of_label = own.reshape(labels.shape)
    if scheme.ignore_label is not None:
        wrong &= flat != scheme.ignore_label
    if wrong.any():
        place = tuple(map(int, np.unravel_index(np.flatnonzero(wrong)[0], labels.shape)))
        raise ValueError(f"{file} says other labels than {label_file} has, in {np.count_nonzero(wrong)} voxel(s), e.g. "
                         f"at {place}. Both must be of one prediction, as nnU-Net wrote them, without another "
                         "post-processing in between.")
    return case


def require_channels(file: Path, count: int) -> None:
    """Raise ValueError where a file of probabilities cannot be opened or has another number of channels."""
    with _opened(file) as (_, shape, _, _):
        _require_count(file, shape, count)


def _parts(
    file: Path, count: int, size: tuple[int, ...], label_file: Path
) -> Iterator[tuple[int, slice, NDArray[np.float16]]]:  # fmt: skip
    """Each channel part by part, from its first voxel on: its number, the part, and its values in half precision.

    Values are checked. They are decompressed by a thread of their own, a few parts ahead.
    """
    with _opened(file) as (stream, shape, fortran, dtype):
        _require_count(file, shape, count)
        if shape[1:] != size and size not in [_without(shape[1:], axis) for axis in range(len(shape) - 1)
                                              if shape[1 + axis] == 1]:
            raise ValueError(f"{file} has the shape {shape[1:]} beside its channels, but {label_file} has {size}. Both "
                             "must be of one prediction.")
        voxels = int(np.prod(size))
        parts = [(channel, slice(start, min(start + _PART, voxels)))
                 for channel in range(count) for start in range(0, voxels, _PART)]
        if fortran:  # where nnU-Net turned the axes of a single channel
            content = _bytes(stream, file, voxels * count * dtype.itemsize)
            whole = np.frombuffer(content, dtype).reshape(shape, order="F").reshape(count, voxels)
            for channel, part in parts:
                yield channel, part, _checked(whole[channel, part], channel, file)
            return
        with ThreadPoolExecutor(1) as thread:
            def read(part: slice) -> Future[bytes]:
                return thread.submit(_bytes, stream, file, (part.stop - part.start) * dtype.itemsize)

            ahead = deque(read(part) for _, part in parts[:_AHEAD])
            for place, (channel, part) in enumerate(parts):
                values = np.frombuffer(ahead.popleft().result(), dtype)
                ahead.extend(read(later) for _, later in parts[place + _AHEAD : place + _AHEAD + 1])
                yield channel, part, _checked(values, channel, file)


def _checked(values: NDArray[np.floating[Any]], channel: int, file: Path) -> NDArray[np.float16]:
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    if not (low >= -_OUTSIDE and high <= 1 + _OUTSIDE):
        found = "holds values that are not a number" if np.isnan(low) or np.isnan(high) else (
            f"holds values from {low:g} to {high:g}")
        raise ValueError(f"Channel {channel} of {file} {found}, but probabilities lie in [0, 1]. Predict the case "
                         "again.")
    return _half(np.clip(values, 0, 1, dtype=np.float32))


def _half(values: NDArray[np.float32]) -> NDArray[np.float16]:
    """By torch, since numpy takes fifty times as long for numbers below 6e-5, as most probabilities are."""
    result = np.empty(values.shape, np.float16)
    for start in range(0, values.size, _ONE_THREAD):
        part = slice(start, start + _ONE_THREAD)
        torch.from_numpy(result[part]).copy_(torch.from_numpy(values[part]))
    return result


def _bytes(stream: Any, file: Path, count: int) -> bytes:
    try:
        content = stream.read(count)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise _damaged(file, error) from error
    if len(content) != count:
        raise _damaged(file, "it is too short")
    return bytes(content)


@contextmanager
def _opened(file: Path) -> Iterator[tuple[Any, tuple[int, ...], bool, np.dtype[Any]]]:
    """The array ``probabilities`` of an .npz: its bytes from the first value on, shape, order and type."""
    if not file.is_file():
        raise ValueError(f"{file} does not exist, but gaps and peaks need probabilities. Predict with "
                         "--save_probabilities (validate with --npz, ensemble with --save_npz), or use settings "
                         "without gaps and peaks.")
    try:
        archive = zipfile.ZipFile(file)
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise _damaged(file, error) from error
    with archive:
        if "probabilities.npy" not in archive.namelist():
            raise ValueError(f"{file} has no array 'probabilities'; it is not a file of nnU-Net's.")
        with archive.open("probabilities.npy") as stream:
            try:
                version = npy.read_magic(stream)  # type: ignore[arg-type]
                read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                shape, fortran, dtype = read(stream)  # type: ignore[arg-type]
            except (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile) as error:
                raise _damaged(file, error) from error
            if not np.issubdtype(dtype, np.floating):
                raise ValueError(f"{file} holds {dtype} values, not probabilities.")
            yield stream, shape, fortran, dtype


def _damaged(file: Path, reason: object) -> ValueError:
    return ValueError(f"{file} cannot be read ({reason}). It may be incomplete; predict the case again.")


def _require_count(file: Path, shape: tuple[int, ...], count: int) -> None:
    if len(shape) < 3 or shape[0] != count:
        raise ValueError(f"{file} has an array of shape {shape}, but this data set's probabilities have {count} "
                         "channel(s), first. It is of another data set, or dataset.json has changed.")


def _require_spacing(file: Path, label_file: Path, spacing: Sequence[float]) -> None:
    """The spacing in nnU-Net's .pkl, where there is one, is the label map's."""
    if not file.is_file():
        return
    try:
        with file.open("rb") as stream:
            given = tuple(float(size) for size in _Properties(stream).load()["spacing"])
    except Exception as error:  # whatever a damaged pickle does
        raise ValueError(f"{file} cannot be read ({type(error).__name__}: {error}). Predict the case again.") from error
    # of an image of one slice the spacing across it does not count
    choices = [_without(given, axis) for axis in range(len(given))] if len(given) == 3 > len(spacing) else [given]
    if not any(len(choice) == len(spacing) and np.allclose(choice, spacing, rtol=1e-4, atol=0) for choice in choices):
        raise ValueError(f"{file} has the spacing {given}, but {label_file} has {tuple(spacing)}. Both must be of one "
                         "prediction.")


def _without(values: tuple[Any, ...], axis: int) -> tuple[Any, ...]:
    return values[:axis] + values[axis + 1 :]


class _Properties(pickle.Unpickler):
    """Reads numbers, texts, containers and numpy's arrays, and runs nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "numpy" and name in ("_reconstruct", "ndarray", "dtype", "scalar", "_frombuffer"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which is not a property of an image")
