"""Topograph: the probability of the regions of errors that change the topology.

L. Lux, A. H. Berger, A. Weers, N. Stucki, D. Rueckert, U. Bauer, J. C. Paetzold, "Topograph: an efficient graph-based
framework for strictly topology preserving image segmentation", ICLR 2025. Regions of false positives and of false
negatives are critical unless they may be flipped without a change of the topology
(:func:`nnunet_topo.homology.critical_regions`). With p the prediction and t the target::

    loss = sum over critical regions of the mean over the region of (1 - p if t else p)   scaled, see ``normalised``
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.homology import Outside, critical_regions
from nnunet_topo.losses._ranges import Threads
from nnunet_topo.losses._wrong_voxels import Decision, Weighted, WrongVoxelsLoss, size_of


class TopographLoss(WrongVoxelsLoss):
    """Topograph, called as ``term(probabilities, target, valid=None)``.

    Regions are found on the CPU, all samples and classes in parallel threads, in time that grows with the number of
    voxels. Where no region is critical the loss is 0, and prediction, target and their union have the same Betti
    numbers, in 2D the same homotopy type. In 3D, where the authors' code does not go, a region that closes one tunnel
    and opens another is not seen.

    Args of a call:
        probabilities: (B, C, *S) in [0, 1], foreground channels only, 2D or 3D.
        target: (B, C, *S), bool, or float, of which values above 1/2 count.
        valid: (B, 1, *S) bool, or None; voxels where it is False count as background in both, and have no gradient.

    Args:
        normalised: a region counts with the sum over its voxels divided by the square root of their number, and the sum
            over regions is divided by the square root of (1 plus the critical regions) (1 plus the foreground in voxels
            of both masks). The loss is then below 1, and its gradient has the norm of Dice's, to which each region,
            large or small, adds as much as any other. Otherwise the authors' sum of the means of the regions.
        outside: "background": outside of the image is background, as for Betti numbers; "nothing": what crosses the
            image parts its background, as the authors have it.
        decision: the mask of a channel is where it is above "half", for regions and classes; or, for classes only,
            where it is the "largest" of all and of the background, and the probability is that of the class decided on,
            as the authors have it. With a single channel both are the same.
        threads: how many images are looked at at once; None for one for each core.

    The loss is the mean over samples and classes. It differs from the authors' code (:meth:`reference`) also where a
    crossing of prediction and target in two by two pixels parts the prediction there, which has a foreground of eight
    neighbours everywhere here.
    """

    name = "topograph"

    def __init__(
        self,
        *,
        normalised: bool = True,
        outside: Outside = "background",
        decision: Decision = "half",
        threads: Threads | None = None,
    ) -> None:
        super().__init__("Topograph", threads, decision=decision, cost="probability")
        if outside not in ("background", "nothing"):
            raise ValueError(f"outside must be 'background' or 'nothing', got {outside!r}.")
        self.normalised = normalised
        self.outside: Outside = outside

    @classmethod
    def reference(cls, **options: Any) -> TopographLoss:
        """The authors' loss, with the mean over a region and a foreground of eight neighbours."""
        authors: dict[str, Any] = {"normalised": False, "outside": "nothing", "decision": "largest"}
        return cls(**authors | options)

    def weighted_voxels(self, prediction: NDArray[np.bool_], target: NDArray[np.bool_]) -> Weighted:
        voxels, regions = critical_regions(prediction, target, outside=self.outside).in_critical()
        sizes = np.bincount(regions)
        if not self.normalised:
            return voxels, 1 / sizes[regions]
        return voxels, sizes[regions] ** -0.5 / size_of(len(sizes), prediction, target)

    def extra_repr(self) -> str:
        return (f"normalised={self.normalised}, outside={self.outside!r}, decision={self.decision!r}, "
                f"threads={self.threads}")
