"""CPU kernels of tubed skeletons; see ``tubes.py``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.kernels.jit import jit


def boxes(labels: NDArray[Any]) -> Iterator[tuple[int, tuple[slice, ...]]]:
    """Each label above 0 of a map (*S) with a box around it.

    A box leaves a voxel of room where the image has one, so that its border is the image's where the label touches it,
    and starts at even indices, so that thinning, which depends on their parity, does not see the box.
    """
    volume = labels.reshape(-1, *labels.shape[-2:])
    found = _boxes(volume, int(labels.max()))
    for label in np.flatnonzero(found[:, 0, 1]):
        box = tuple(slice(max(low - 1, 0) & ~1, high + 1) for low, high in found[label])
        yield int(label), box[3 - labels.ndim :]


def thicken(
    skeleton: NDArray[np.bool_],
    mask: NDArray[np.bool_],
    labels: NDArray[Any],
    radius: int,
    result: NDArray[Any],
) -> None:
    """Write the labels of all voxels of the mask within a city-block distance of the skeleton; all (*S)."""
    flat = (slice(None),) * labels.ndim if labels.ndim == 3 else (None,)
    _thicken(np.argwhere(skeleton[flat]), mask[flat], labels[flat], radius, result[flat])


@jit
def _boxes(labels, largest):  # type: ignore[no-untyped-def]
    """(labels, 3, 2): first index and last index + 1 along each axis; zeros for labels that are not there."""
    depth, height, width = labels.shape
    result = np.zeros((max(largest, 0) + 1, 3, 2), np.int64)
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                label = labels[z, y, x]
                if label <= 0:
                    continue
                box = result[label]
                if box[0, 1] == 0:
                    box[0, 0], box[1, 0], box[2, 0] = z, y, x
                box[0, 1] = z + 1
                box[1, 0], box[1, 1] = min(box[1, 0], y), max(box[1, 1], y + 1)
                box[2, 0], box[2, 1] = min(box[2, 0], x), max(box[2, 1], x + 1)
    return result


@jit
def _thicken(voxels, mask, labels, radius, result):  # type: ignore[no-untyped-def]
    depth, height, width = mask.shape
    for i in range(len(voxels)):
        z, y, x = voxels[i]
        for k in range(max(z - radius, 0), min(z + radius + 1, depth)):
            in_plane = radius - abs(k - z)
            for j in range(max(y - in_plane, 0), min(y + in_plane + 1, height)):
                in_row = in_plane - abs(j - y)
                for i_x in range(max(x - in_row, 0), min(x + in_row + 1, width)):
                    if mask[k, j, i_x]:
                        result[k, j, i_x] = labels[k, j, i_x]
