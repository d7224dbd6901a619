"""Homotopy warping: one mask brought as close to another as it gets without a change of its topology.

X. Hu, "Structure-aware image segmentation with homotopy warping", NeurIPS 2022, section 3. Voxels in which the masks
differ are flipped, one after the other, as long as they are simple points, those near the border of the mask first.
What still differs at the end is where the topology does. A voxel is simple as background when it is simple as
foreground: the rule looks at its neighbours only (see :mod:`nnunet_topo.skeletons.simple_points`).
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.homology.masks import Connectivity, check_connectivity, check_masks
from nnunet_topo.skeletons.simple_points import simple_point_table

# To a neighbour across a face, an edge, a corner, nearly three times the length (G. Borgefors, "Distance
# transformations in digital images", CVGIP 34, 1986).
_STEPS = (0, 3, 4, 5)


def warped(
    mask: NDArray[np.bool_], towards: NDArray[np.bool_], connectivity: Connectivity = "foreground"
) -> NDArray[np.bool_]:
    """A mask with the topology of ``mask``, that differs from ``towards`` where no simple point does.

    At each step, of the voxels that differ and are simple, the one nearest to the border of ``mask`` is flipped, of
    several the first in raster order. Distances are measured in steps of 3, 4 and 5 to neighbours across faces, edges
    and corners, through voxels that are to be flipped the same way.

    Both are boolean arrays of two or three axes and of one shape; outside of them is background, as it is for Betti
    numbers. ``connectivity`` names the side that is connected across corners, in whose sense the topology stays: of
    the "foreground" (8 in 2D, 26 in 3D; background 4 or 6) or of the "background" (foreground 4 or 6). The time grows
    with the number of voxels that differ; it is some seconds for the first call on a machine, which compiles. Raises
    ValueError for anything else.
    """
    _check(mask, towards, connectivity)
    from nnunet_topo.homology._warping import warp  # numba is only needed from here on

    outside = connectivity == "background"  # simple points of one side are those of the other with roles exchanged
    framed = [np.pad(image ^ outside, 1, constant_values=outside).astype(np.uint8, "C") for image in (mask, towards)]
    strides = framed[0].strides  # a voxel is a byte
    around = [offset for offset in itertools.product((-1, 0, 1), repeat=mask.ndim) if any(offset)]
    offsets = np.array([np.dot(offset, strides) for offset in around], np.int64)
    steps = np.array([_STEPS[sum(map(abs, offset))] for offset in around], np.int32)
    warp(framed[0].ravel(), framed[1].ravel(), offsets, steps, simple_point_table("topological", mask.ndim))
    return framed[0][(slice(1, -1),) * mask.ndim].astype(bool) ^ outside


def critical_voxels(
    prediction: NDArray[np.bool_], target: NDArray[np.bool_], connectivity: Connectivity = "foreground"
) -> NDArray[np.bool_]:
    """Voxels that still differ when the prediction is warped towards the target, or the target to the prediction.

    None where the prediction is right, and none where it is wrong without harm to the topology. Arguments as in
    :func:`warped`.
    """
    return (warped(prediction, target, connectivity) ^ target) | (warped(target, prediction, connectivity) ^ prediction)


def _check(mask: NDArray[np.bool_], towards: NDArray[np.bool_], connectivity: str) -> None:
    check_connectivity(connectivity)
    check_masks("Homotopy warping is made", mask, towards)
