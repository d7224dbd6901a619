"""What the losses share that look for wrong voxels in masks on the CPU and weigh the probabilities there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnunet_topo.kernels.threads import cores, over_threads
from nnunet_topo.losses._common import check_arguments, masked
from nnunet_topo.losses._images import as_columns, check_numbers, images, in_background
from nnunet_topo.losses.contract import TopologyLoss

Decision = Literal["half", "largest"]
Weighted = tuple[NDArray[np.int64], NDArray[np.floating]]  # voxels of a flattened image, and the weight of each
_EPSILON = 1e-7  # where a probability has been rounded to 0 or 1


class WrongVoxelsLoss(TopologyLoss, ABC):
    """Mean over samples and classes of a sum over voxels, of weight times cost.

    Args:
        name: of the loss, for messages.
        threads: how many images are looked at at once; None for one for each core.
        decision: "half": a channel's mask is where it is above 1/2; "largest": where it is the largest, and larger than
            what all channels leave to the background.
        cost: "cross-entropy" of a voxel, or the "probability" of the decision there, which is wrong.
    """

    def __init__(
        self, name: str, threads: int | None, *, decision: Decision = "half",
        cost: Literal["cross-entropy", "probability"] = "cross-entropy",
    ) -> None:
        super().__init__()
        check_numbers(threads)
        if decision not in ("half", "largest"):
            raise ValueError(f"decision must be 'half' or 'largest', got {decision!r}.")
        self._name, self._cost = name, cost
        self.threads = threads
        self.decision = decision

    @abstractmethod
    def weighted_voxels(self, prediction: NDArray[np.bool_], target: NDArray[np.bool_]) -> Weighted:
        """The voxels of an image that cost something."""

    def forward(self, probabilities: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
        return self.start(probabilities, target, valid)()

    def start(self, probabilities: Tensor, target: Tensor, valid: Tensor | None = None) -> Callable[[], Tensor]:
        """Begin the search in the background; the function that comes back waits for it and returns the loss."""
        check_arguments(self._name, probabilities, target, valid)
        target = target if target.dtype == torch.bool else target > 0.5
        probabilities, target = masked(probabilities, target, valid)
        predictions, decided = images(probabilities, False, False), probabilities.detach() > 0.5
        if self.decision == "largest":
            probabilities = predictions.view(probabilities.shape)
            best = torch.maximum(1 - probabilities.sum(1), probabilities.amax(1))  # of the background, too
            decided = one_at_most(probabilities.detach(), best.detach())
            predictions = best[:, None].expand_as(probabilities).flatten(0, 1)
        first = decided.flatten(0, 1).cpu().numpy()
        second = target.flatten(0, 1).cpu().numpy()
        future = in_background(over_threads, self.weighted_voxels, first, second, threads=self.threads or cores())
        return lambda: self._mean_cost(predictions, second, future.result())

    def _mean_cost(self, predictions: Tensor, targets: NDArray[np.bool_], weighted: list[Weighted]) -> Tensor:
        """Given images (N, *S) of the probabilities of the masks, or with "largest" of what was decided."""
        size = targets[0].size
        rows = [(voxels + i * size, target.ravel()[voxels].astype(np.float32), weights / len(targets))
                for i, (target, (voxels, weights)) in enumerate(zip(targets, weighted, strict=True))]
        voxels, true, weights = as_columns(rows, predictions)
        values = predictions.flatten()[voxels]
        if self.decision == "largest":
            right = 1 - values
        else:
            right = torch.where(true > 0, values, 1 - values)
        if self._cost == "probability":
            return (weights * (1 - right)).sum()
        return -(weights * torch.log(right * (1 - _EPSILON) + _EPSILON)).sum()  # 0 where right is 1

    def compile_kernels(self, axes: int) -> None:
        """Compile what a call needs for images of so many axes, or read it from the disk; see the trainer."""
        masks = np.random.default_rng(0).random((2, *(8,) * axes)) > 0.5
        self.weighted_voxels(masks[0], masks[1])


def one_at_most(probabilities: Tensor, best: Tensor) -> Tensor:
    """Where a channel (B, C, *S) is the first of the largest, and larger than the rest that is the background's."""
    background = 1 - probabilities.sum(1) >= best
    first = torch.zeros_like(probabilities, dtype=torch.bool)
    return first.scatter_(1, probabilities.argmax(1, keepdim=True), ~background[:, None])


def size_of(critical: float, prediction: NDArray[np.bool_], target: NDArray[np.bool_]) -> float:
    """What a sum over an image is divided by, so that its gradient has the norm of Dice's.

    ``critical`` is the square of the norm of the gradient of the sum, with regard to logits, at its largest.
    """
    return float((1 + critical) * (1 + np.count_nonzero(prediction) + np.count_nonzero(target))) ** 0.5
