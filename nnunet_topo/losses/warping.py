"""Warping: cross-entropy at the voxels on which the topology of the prediction turns.

X. Hu, "Structure-aware image segmentation with homotopy warping", NeurIPS 2022, section 3. The prediction, at 1/2, is
warped towards the target and the target towards the prediction, each without a change of its own topology
(:func:`nnunet_topo.homology.critical_voxels`). The voxels M at which either still differs from its goal are critical;
with p the prediction and t the target::

    loss = sum over M of -log(p if t else 1 - p)   divided by a size, see ``normalised``

An error that does no harm to the topology, such as a shifted border, has no critical voxel.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.homology import critical_voxels
from nnunet_topo.losses._ranges import Threads
from nnunet_topo.losses._wrong_voxels import Weighted, WrongVoxelsLoss, size_of


class WarpingLoss(WrongVoxelsLoss):
    """Warping loss, called as ``term(probabilities, target, valid=None)``.

    The masks are warped on the CPU, all samples and classes in parallel threads; the time grows with the number of
    voxels that the prediction has wrong.

    Args of a call:
        probabilities: (B, C, *S) in [0, 1], foreground channels only, 2D or 3D; a channel's mask is where it is above
            1/2.
        target: (B, C, *S), bool, or float, of which values above 1/2 count.
        valid: (B, 1, *S) bool, or None; voxels where it is False count as background in both, and have no gradient.

    Args:
        normalised: divide the sum of an image by the square root of (1 plus its critical voxels) (1 plus the foreground
            in voxels of both masks), which gives its gradient, that sits in the critical voxels, the norm of Dice's.
            Otherwise by the number of all voxels, as the authors do, for whom the term fades with the image's size.
        connectivity: the side that is connected across corners: "foreground" (8 in 2D, 26 in 3D; background 4 or 6) or
            "background" (foreground 4 or 6), as the authors have it.
        threads: how many images are warped at once; None for one for each core.

    The loss is the mean over samples and classes. It differs from the authors' code (:meth:`reference`), which visits
    each voxel once, first those to be removed and then those to be added: here voxels of both kinds are flipped in the
    order of their distance from the border until none is simple, at the borders of the image too.
    """

    name = "warping"

    def __init__(
        self,
        *,
        normalised: bool = True,
        connectivity: Literal["foreground", "background"] = "foreground",
        threads: Threads | None = None,
    ) -> None:
        super().__init__("Warping", threads)
        if connectivity not in ("foreground", "background"):
            raise ValueError(f"connectivity must be 'foreground' or 'background', got {connectivity!r}.")
        self.normalised = normalised
        self.connectivity = connectivity

    @classmethod
    def reference(cls, **options: Any) -> WarpingLoss:
        """The authors' mean over all voxels and their connectivity."""
        authors: dict[str, Any] = {"normalised": False, "connectivity": "background"}
        return cls(**authors | options)

    def weighted_voxels(self, prediction: NDArray[np.bool_], target: NDArray[np.bool_]) -> Weighted:
        voxels = np.flatnonzero(critical_voxels(prediction, target, self.connectivity))
        size = size_of(len(voxels), prediction, target) if self.normalised else target.size
        return voxels, np.full(len(voxels), 1 / size)

    def extra_repr(self) -> str:
        return f"normalised={self.normalised}, connectivity={self.connectivity!r}, threads={self.threads}"
