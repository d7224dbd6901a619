"""From pairs of cells to pairs of voxels of the image."""

from __future__ import annotations

import numpy as np

from nnunet_topo.homology._cells import (
    closed_voxel,
    edge_parts,
    edge_voxel,
    square_parts,
    top_voxel,
    voxel_in_image,
    wall_voxel,
)
from nnunet_topo.kernels.jit import jit


@jit
def voxels_of(cells, dimension, image, shape, strides):  # type: ignore[no-untyped-def]
    """Indices, in the image, of the voxels that give cells their values."""
    ndim, keys = len(strides), image.keys
    everywhere = (1 << ndim) - 1
    voxels = np.empty(len(cells), np.int64)
    for i in range(len(cells)):
        cell = np.int64(cells[i])
        if image.closed:
            has_type = 0 < dimension < ndim
            v, along = cell, 0 if dimension == 0 else everywhere
            if has_type and dimension == 1:
                v, axis = edge_parts(strides, image.closed, cell)
                along = 1 << axis
            elif has_type:
                v, axis = square_parts(strides, image.closed, cell)
                along = everywhere - (1 << axis)
            voxel = closed_voxel(keys, strides, v, along)
        elif dimension == 0:
            voxel = cell
        elif dimension == len(strides):
            voxel = top_voxel(keys, strides, cell)
        elif dimension == 1:
            voxel = edge_voxel(keys, strides, cell)
        else:
            voxel = wall_voxel(keys, strides, cell)
        voxels[i] = voxel_in_image(voxel, shape)
    return voxels


@jit
def matched_first(rows, cells):  # type: ignore[no-untyped-def]
    """Cells in the order of the given rows, then those of all other rows."""
    result = np.empty(len(cells), np.int32)
    other = np.ones(len(cells), np.bool_)
    count = 0
    for row in rows:
        result[count] = cells[row]
        other[row] = False
        count += 1
    for row in range(len(cells)):
        if other[row]:
            result[count] = cells[row]
            count += 1
    return result


@jit
def located(dimension, pairs, first, second, shape, strides):  # type: ignore[no-untyped-def]
    """Number of matches; voxels of births and deaths of the first image, then of the second, matched ones in front."""
    births_1, deaths_1, births_2, deaths_2, matched = pairs
    rows_1, rows_2 = matched[:, 0], matched[:, 1]
    return (
        len(matched),
        voxels_of(matched_first(rows_1, births_1), dimension, first, shape, strides),
        voxels_of(matched_first(rows_1, deaths_1), dimension + 1, first, shape, strides),
        voxels_of(matched_first(rows_2, births_2), dimension, second, shape, strides),
        voxels_of(matched_first(rows_2, deaths_2), dimension + 1, second, shape, strides),
    )
