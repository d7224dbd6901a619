"""What noise alone adds to a random sample of a probability map, and how to take it out."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nnunet_topo.kernels.threads import over_threads
from nnunet_topo.skeletons.tubes import dilated_by_cross


def without_specks(sample: Tensor, certain: Tensor) -> Tensor:
    """Take out components and cavities of a sample that noise made by itself.

    Args:
        sample: (B, C, *S) bool, 2D or 3D.
        certain: (B, C, *S) bool, the sample without noise.

    Returns:
        The sample without its components (26-connected, 8 in 2D) that hold no certain voxel, and with those components
        of its background (6-connected, 4 in 2D) filled that hold certain voxels only.
    """
    if sample.device.type == "cpu":
        from nnunet_topo.skeletons import specks_numba  # at the first call; see the package

        shape = (-1, *([1] if sample.ndim == 4 else []), *sample.shape[2:])
        pairs = list(zip(sample.numpy().reshape(shape), certain.numpy().reshape(shape), strict=True))
        cleaned = over_threads(lambda pair: specks_numba.without_specks(*pair), pairs)
        return torch.from_numpy(np.stack(cleaned)).view(sample.shape)
    kept = _reached(sample & certain, sample, _box)
    emptied = _reached(~(sample | certain), ~sample, dilated_by_cross)
    # of the voxels on which sample and certain mask agree none changes
    return kept | ~(sample | emptied)


def _reached(seeds: Tensor, within: Tensor, grow: object) -> Tensor:
    """All voxels that are connected to the seeds inside of a mask; one wait for the device a step."""
    while True:
        grown = grow(seeds) & within  # type: ignore[operator]
        if torch.equal(grown, seeds):
            return seeds
        seeds = grown


def _box(mask: Tensor) -> Tensor:
    pool = F.max_pool2d if mask.ndim == 4 else F.max_pool3d
    return pool(mask.half() if mask.device.type == "cuda" else mask.float(), 3, 1, 1) > 0
