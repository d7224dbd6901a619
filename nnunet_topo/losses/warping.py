"""Warping: cross-entropy at the voxels on which the topology of the prediction turns.

X. Hu, "Structure-aware image segmentation with homotopy warping", NeurIPS 2022, section 3. The prediction, at 1/2, is
warped towards the target and the target towards the prediction, each without a change of its own topology
(:func:`nnunet_topo.homology.critical_voxels`). The voxels M at which either still differs from its goal are critical;
with p the prediction and t the target::

    loss = sum over M of -log(p if t else 1 - p)   divided by a size, see ``normalised``

An error that does no harm to the topology, such as a shifted border, has no critical voxel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nnunet_topo.homology import critical_voxels
from nnunet_topo.kernels.threads import cores, over_threads
from nnunet_topo.losses._common import check_arguments, masked
from nnunet_topo.losses._images import as_columns, check_numbers, images, in_background
from nnunet_topo.losses._ranges import Threads

_EPSILON = 1e-7  # where a probability has been rounded to 0 or 1


class WarpingLoss(nn.Module):
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

    def __init__(
        self,
        *,
        normalised: bool = True,
        connectivity: Literal["foreground", "background"] = "foreground",
        threads: Threads | None = None,
    ) -> None:
        super().__init__()
        if connectivity not in ("foreground", "background"):
            raise ValueError(f"connectivity must be 'foreground' or 'background', got {connectivity!r}.")
        check_numbers(threads)
        self.normalised = normalised
        self.connectivity = connectivity
        self.threads = threads

    @classmethod
    def reference(cls) -> WarpingLoss:
        """The authors' mean over all voxels and their connectivity."""
        return cls(normalised=False, connectivity="background")

    def forward(self, probabilities: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
        return self.start(probabilities, target, valid)()

    def start(self, probabilities: Tensor, target: Tensor, valid: Tensor | None = None) -> Callable[[], Tensor]:
        """Begin the warping in the background; the function that comes back waits for it and returns the loss."""
        check_arguments("Warping", probabilities, target, valid)
        target = target if target.dtype == torch.bool else target > 0.5
        probabilities, target = masked(probabilities, target, valid)
        predictions = images(probabilities, False, False)
        first = (predictions.detach() > 0.5).cpu().numpy()
        second = target.flatten(0, 1).cpu().numpy()
        future = in_background(_all_critical_voxels, first, second, self.connectivity, self.threads)

        def finish() -> Tensor:
            return self._mean_cross_entropy(predictions, first, second, future.result())

        return finish

    def _mean_cross_entropy(
        self, predictions: Tensor, first: NDArray[np.bool_], second: NDArray[np.bool_], critical: Sequence[NDArray]
    ) -> Tensor:
        """Mean over images (N, *S) of the cross-entropy at their critical voxels, given the masks of both sides."""
        rows: list[tuple[NDArray, ...]] = []
        size = second[0].size
        for i, (prediction, target, places) in enumerate(zip(first, second, critical, strict=True)):
            foreground = int(prediction.sum()) + int(target.sum())
            scale = ((1 + len(places)) * (1 + foreground)) ** 0.5 if self.normalised else size
            rows.append((places + i * size, target.ravel()[places].astype(np.float32),
                         np.full(len(places), 1 / (scale * len(second)))))
        voxels, targets, weights = as_columns(rows, predictions)
        values = predictions.flatten()[voxels]
        right = torch.where(targets > 0, values, 1 - values)
        return -(weights * torch.log(right * (1 - _EPSILON) + _EPSILON)).sum()  # 0 where right is 1

    def compile_kernels(self, axes: int) -> None:
        """Compile what a call needs for images of so many axes, or read it from the disk; see the trainer."""
        masks = np.random.default_rng(0).random((2, *(8,) * axes)) > 0.5
        critical_voxels(masks[0], masks[1], self.connectivity)

    def extra_repr(self) -> str:
        return f"normalised={self.normalised}, connectivity={self.connectivity!r}, threads={self.threads}"


def _all_critical_voxels(
    first: NDArray[np.bool_], second: NDArray[np.bool_], connectivity: Literal["foreground", "background"],
    threads: int | None,
) -> list[NDArray[np.int64]]:
    """Indices into each flattened image."""

    def places(prediction: NDArray[np.bool_], target: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.flatnonzero(critical_voxels(prediction, target, connectivity))

    return over_threads(places, first, second, threads=threads or cores())
