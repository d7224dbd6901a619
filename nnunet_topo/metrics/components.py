"""Components that one mask has and the other lacks altogether."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import cc3d
import numpy as np
from numpy.typing import NDArray

from nnunet_topo.homology.masks import Connectivity, Neighbours, check_connectivity, neighbours
from nnunet_topo.metrics.masks import check_masks, check_spacing


class ComponentErrors(NamedTuple):
    """How many components of the reference are missed and how many of the prediction are spurious, and their volumes.

    Volumes are in mm3, in 2D areas in mm2.
    """

    missed_components: int
    missed_volume_mm3: float
    spurious_components: int
    spurious_volume_mm3: float


def component_errors(
    prediction: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    spacing: Sequence[float],
    connectivity: Connectivity = "foreground",
) -> ComponentErrors:
    """Missed and spurious components of two boolean masks of the same shape, 2D or 3D, with spacing in mm.

    A component of the reference is missed when no voxel of it is predicted, and one of the prediction spurious when no
    voxel of it is in the reference. Components are 8-connected in 2D and 26-connected in 3D, or 4- and
    6-connected with the ``connectivity`` "background". All numbers are 0 when
    both masks are empty; when only one is, all components of the other are missed or spurious. Raises ValueError for
    masks of different shapes or another type, a spacing that does not fit, and another connectivity.
    """
    check_masks(prediction, reference)
    check_spacing(spacing, prediction)
    check_connectivity(connectivity)
    of_foreground, _ = neighbours(prediction.ndim, connectivity)
    missed, missed_voxels = _components_without(reference, prediction, of_foreground)
    spurious, spurious_voxels = _components_without(prediction, reference, of_foreground)
    voxel = float(math.prod(spacing))
    return ComponentErrors(missed, missed_voxels * voxel, spurious, spurious_voxels * voxel)


def _components_without(
    mask: NDArray[np.bool_], other: NDArray[np.bool_], connectivity: Neighbours
) -> tuple[int, int]:
    """Number of components of a mask that have no voxel of the other, and the number of their voxels."""
    # The frame keeps cc3d from failing on isolated voxels of an axis of size 1 or 3.
    framed, count = cc3d.connected_components(np.pad(mask, 1), connectivity=connectivity, return_N=True)
    labels = framed[(slice(1, -1),) * mask.ndim]
    sizes = np.bincount(labels[mask], minlength=count + 1)
    met = np.bincount(labels[mask & other], minlength=count + 1)
    alone = (sizes > 0) & (met == 0)
    return int(np.count_nonzero(alone)), int(sizes[alone].sum())
