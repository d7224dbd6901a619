"""Which labels of a label map touch each other, and across what."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Reach = Literal["corners", "slice", "faces"]  # across what two voxels touch
REACHES: tuple[Reach, ...] = get_args(Reach)


def half_offsets(axes: int, distance: int = 1) -> NDArray[np.int64]:
    """(n, 3): one of each two opposite offsets between voxels at most so far apart along every axis.

    Of two axes, the first of the three is 0. Those of distance 1 come first.
    """
    steps = range(-distance, distance + 1)
    offsets = [offset for offset in itertools.product(steps if axes == 3 else (0,), steps, steps) if offset > (0, 0, 0)]
    return np.array(sorted(offsets, key=lambda offset: max(map(abs, offset))), np.int64)


def offsets_within(
    reach: Reach, axes: int, spacing: Sequence[float] | None = None, distance: int = 1
) -> NDArray[np.bool_]:
    """Which of :func:`half_offsets` count.

    "corners": all, 8 neighbours in 2D and 26 in 3D; "faces": 4 and 6; "slice": the 8 in the slice, which is across the
    axis of the largest spacing. Given the ``spacing``, those are left out that are longer than twice the diagonal of a
    voxel in the slice (times the ``distance``): in thick slices they join points that are far apart.
    """
    offsets = half_offsets(axes, distance)
    sizes = np.ones(3) if spacing is None else np.array([0.0] * (3 - axes) + list(spacing))
    in_slice = np.sort(sizes[3 - axes :])[:2]
    counts = np.linalg.norm(offsets * sizes, axis=1) <= 2 * distance * math.hypot(*in_slice) + 1e-9
    if reach == "faces":
        counts &= np.abs(offsets).sum(1) == 1
    if reach == "slice" and axes == 3:
        counts &= offsets[:, int(np.argmax(sizes))] == 0
    return counts


def count_contacts(
    labels: NDArray[np.integer], classes: int, *, distance: int = 1, ignored: int | None = None, in_slices: bool = False
) -> NDArray[np.int64]:
    """Pairs of neighbouring voxels of different labels: (half offsets, classes, classes), at [lower, higher] label.

    Args:
        labels: label map of two or three axes, of labels from 0 to ``classes`` - 1.
        classes: how many labels there are, that of the background among them.
        distance: up to which voxels count as neighbours along each axis.
        ignored: label, of any value, that counts as none.
        in_slices: leave out pairs of different slices of the first axis (zeros).

    Raises:
        ValueError: another label, or another number of axes.
    """
    dense = checked_labels(labels, classes, ignored)
    from nnunet_topo.homology._contacts import count_pairs  # numba is only needed from here on

    offsets = half_offsets(labels.ndim, distance)
    looked_at = np.flatnonzero(offsets[:, 0] == 0) if in_slices else np.arange(len(offsets))
    counts = np.zeros((len(looked_at), classes + 1, classes + 1), np.int64)
    count_pairs(dense.ravel(), (1, *dense.shape)[-3:], offsets[looked_at], counts)
    result = np.zeros((len(offsets), classes, classes), np.int64)
    result[looked_at] = counts[:, :classes, :classes]
    return result


def touching_labels(labels: NDArray[np.integer], classes: int, *, ignored: int | None = None) -> NDArray[np.bool_]:
    """(classes, classes) bool, symmetric: which labels touch across a face, an edge or a corner. Arguments as above."""
    touching = count_contacts(labels, classes, ignored=ignored).any(0)
    return touching | touching.T


def forbidden_contacts(
    labels: NDArray[np.uint16], offsets: NDArray[np.int64], table: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """The voxels of a label map that have a neighbour which they must not have.

    ``table[i, a, b]`` says whether a voxel of label a must not have one of label b at ``offsets[i]``; both are marked.
    """
    from nnunet_topo.homology._contacts import mark_pairs

    marks = np.zeros(labels.size, np.bool_)
    mark_pairs(np.ascontiguousarray(labels).ravel(), (1, *labels.shape)[-3:], offsets, table, marks)
    return marks.reshape(labels.shape)


def without_surroundings(marks: NDArray[np.bool_], among: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The marks, in C order, without those that are among some voxels or touch one of them."""
    from nnunet_topo.homology._contacts import clear_around

    left = marks.copy()
    clear_around(left.ravel(), (1, *marks.shape)[-3:], among.ravel())
    return left


def checked_labels(labels: NDArray[np.integer], classes: int, ignored: int | None) -> NDArray[np.uint16]:
    """Labels in C order as 0 to ``classes`` - 1, and ``classes`` for what is ignored."""
    if not (isinstance(labels, np.ndarray) and np.issubdtype(labels.dtype, np.integer)) or labels.ndim not in (2, 3):
        raise ValueError("Contacts are counted in label maps of whole numbers and of two or three axes, not of "
                         f"{labels.dtype} {labels.shape}.")
    valid = np.ones(labels.shape, np.bool_) if ignored is None else labels != ignored
    wrong = valid & ((labels < 0) | (labels >= classes))
    if wrong.any():
        raise ValueError(f"The label map holds {int(labels[wrong][0])}, but labels are 0 to {classes - 1}.")
    return np.where(valid, labels, classes).astype(np.uint16)
