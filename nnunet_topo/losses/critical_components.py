"""Critical components: cross-entropy of the connected errors that split or merge components.

A. Grim, J. Chandrashekar, U. Sumbul, "Efficient connectivity-preserving instance segmentation with supervoxel-based
loss function", AAAI 2025. A connected component of false negatives is critical unless it touches exactly one component
of what is left of the target; one of false positives likewise, with the roles of prediction and target exchanged
(:func:`nnunet_topo.homology.critical_components`). With p the prediction and t the target::

    loss = - beta * sum over critical false negatives of log p
           - (1 - beta) * sum over critical false positives of log (1 - p)     divided by a size, see ``normalised``
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.homology import critical_components
from nnunet_topo.losses._ranges import Share, Threads
from nnunet_topo.losses._wrong_voxels import Weighted, WrongVoxelsLoss, size_of


class CriticalComponentsLoss(WrongVoxelsLoss):
    """Loss of critical components, called as ``term(probabilities, target, valid=None)``.

    It sees components only: a ring that is cut once, or a hole that is filled, costs nothing
    (:class:`~nnunet_topo.losses.TopographLoss` sees them). Components are found on the CPU, all samples and classes in
    parallel threads, in time that grows with the number of voxels.

    Args of a call:
        probabilities: (B, C, *S) in [0, 1], foreground channels only, 2D or 3D; a channel's mask is where it is above
            1/2.
        target: (B, C, *S), bool, or float, of which values above 1/2 count.
        valid: (B, 1, *S) bool, or None; voxels where it is False count as background in both, and have no gradient.

    Args:
        normalised: divide the sum of an image by the square root of (1 plus its critical voxels) (1 plus the foreground
            in voxels of both masks), which gives its gradient the norm of Dice's. Otherwise by the number of all
            voxels, as the authors do, for whom the term fades with the image's size.
        beta: share of the false negatives, the splits; that of the false positives is 1 - beta.
        threads: how many images are looked at at once; None for one for each core.

    The loss is the mean over samples and classes. The authors add it with a weight of alpha to cross-entropy with a
    weight of 1 - alpha; here nnU-Net's loss stands in the place of the latter. Components touch across faces, edges and
    corners throughout, where the authors' code labels across faces and then walks across corners.
    """

    name = "critical_components"

    def __init__(self, *, normalised: bool = True, beta: Share = 0.5, threads: Threads | None = None) -> None:
        super().__init__("Critical components", threads)
        if not 0 <= beta <= 1:
            raise ValueError(f"beta must be from 0 to 1, got {beta}.")
        self.normalised = normalised
        self.beta = beta

    @classmethod
    def reference(cls, **options: Any) -> CriticalComponentsLoss:
        """The authors' mean over all voxels."""
        authors: dict[str, Any] = {"normalised": False}
        return cls(**authors | options)

    def weighted_voxels(self, prediction: NDArray[np.bool_], target: NDArray[np.bool_]) -> Weighted:
        voxels, _ = critical_components(prediction, target).in_critical()
        size = size_of(len(voxels), prediction, target) if self.normalised else target.size
        return voxels, np.where(target.ravel()[voxels], self.beta, 1 - self.beta) / size

    def extra_repr(self) -> str:
        return f"normalised={self.normalised}, beta={self.beta}, threads={self.threads}"
