"""TopoLoss: as many lasting topological features as the target has, and no others.

X. Hu, F. Li, D. Samaras, C. Chen, "Topology-preserving deep image segmentation", NeurIPS 2019, section 3. A feature (a
component, a loop, a cavity) is born where the prediction is b and dies where it is d. In each dimension the target has
as many features as its Betti number says, all born at 1 and dying at 0; so many of the prediction's features, those of
the longest lives b - d, are kept, and the others are brought to the diagonal::

    cost = sum over kept (1 - b)^2 + d^2   +   sum over others (b - d)^2   +   1 for each that is missing

Gradients reach the voxels at which the features are born and die. Where a feature lies does not matter: a component
at the wrong place counts as right, which is what Betti matching corrects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnunet_topo.homology import Connectivity, Persistence, betti_numbers, check_connectivity, persistence_pairs
from nnunet_topo.kernels.threads import cores, over_threads
from nnunet_topo.losses._common import check_arguments, masked
from nnunet_topo.losses._images import as_columns, check_numbers, crops, images, in_background, tiles
from nnunet_topo.losses._ranges import Share, Smoothing, Threads, Voxels
from nnunet_topo.losses.contract import TopologyLoss

_Diagram = tuple[Persistence, tuple[int, ...]]  # of a prediction, with its target's Betti numbers


class TopoLoss(TopologyLoss):
    """TopoLoss, called as ``term(probabilities, target, valid=None)``.

    The diagrams are made on the CPU, all samples and classes in parallel threads, in time that grows a little faster
    than the number of voxels.

    Args of a call:
        probabilities: (B, C, *S) in [0, 1], foreground channels only, 2D or 3D.
        target: (B, C, *S), bool, or float, of which values above 1/2 count.
        valid: (B, 1, *S) bool, or None; voxels where it is False count as background in both, and have no gradient.

    Args:
        normalised: divide the cost of an image by ``smooth`` plus the squared lengths of all features of both images
            (their cost if nothing were kept), and by the square root of 1 plus the foreground in voxels of both. The
            first makes it a share between 0 and 1; the second gives its gradient, which sits in a few voxels, the norm
            of Dice's, which is spread over all of the foreground. Neither is differentiated. Otherwise the cost is a
            sum that grows with the number of features.
        smooth: see ``normalised``; 1 is the squared length of one perfect feature.
        essential: count the first component of either image, which never dies: it is the longest-lived one and dies
            at 0, so that it costs (1 - max p)^2, or (max p)^2 where the target is empty. Without it, as in the authors'
            code, one component less is kept, and an empty prediction of one component is free.
        threshold: features of at most this length that would be brought to the diagonal are left alone.
        frame: put a frame of one voxel with the image's largest value around each image: what touches the border hangs
            together, and cells that the border cuts count as holes.
        crop_2d, crop_3d: side of the crop, around a random voxel of foreground, that is looked at of each sample; 0 is
            the whole patch.
        tiled: cut each sample into tiles of that side, as the authors do, and look at all of them in place of one crop.
        threads: how many diagrams are made at once; None for one for each core.
        connectivity: the side that is connected across corners, in the prediction's persistence and in the target's
            Betti numbers alike: "foreground" (8 in 2D, 26 in 3D; background 4 or 6) or "background" (foreground 4, 6).

    The loss is the mean over samples, classes and tiles. The defaults differ from the authors' code (:meth:`reference`)
    in normalisation, crops, the essential component and connectivity; both differ from it in that all dimensions count.
    """

    name = "topo"

    def __init__(
        self,
        *,
        normalised: bool = True,
        smooth: Smoothing = 1.0,
        essential: bool = True,
        threshold: Share = 0.03,
        frame: bool = False,
        crop_2d: Voxels = 256,
        crop_3d: Voxels = 64,
        tiled: bool = False,
        threads: Threads | None = None,
        connectivity: Connectivity = "foreground",
    ) -> None:
        super().__init__()
        check_connectivity(connectivity)
        if smooth <= 0:
            raise ValueError(f"smooth must be greater than 0, or two empty images divide by 0; got {smooth}.")
        check_numbers(threads, threshold=threshold, crop_2d=crop_2d, crop_3d=crop_3d)
        self.normalised = normalised
        self.smooth = smooth
        self.essential = essential
        self.threshold = threshold
        self.frame = frame
        self.crop_2d = crop_2d
        self.crop_3d = crop_3d
        self.tiled = tiled
        self.threads = threads
        self.connectivity: Connectivity = connectivity

    @classmethod
    def reference(cls, **options: Any) -> TopoLoss:
        """The authors' sum of squares over the whole image, mean over samples and classes; options as above.

        Its gradient is that of their code; its numbers are not. Of a feature that is brought to the diagonal, their
        code draws birth and death to each other's value, which it holds constant, and so prints 2 (b - d)^2, with the
        gradient of (b - d)^2. Their number is therefore twice the second sum here plus the first, and nothing for
        features that are missing. The paper's formula, a squared Wasserstein distance, has (b - d)^2 / 2, since the
        nearest point of the diagonal is (b + d) / 2: half of the second sum, in the number and in the gradient.
        """
        authors: dict = {"normalised": False, "essential": False, "crop_2d": 0, "crop_3d": 0,
                         "connectivity": "background"}
        return cls(**authors | options)

    def forward(self, probabilities: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
        return self.start(probabilities, target, valid)()

    def start(self, probabilities: Tensor, target: Tensor, valid: Tensor | None = None) -> Callable[[], Tensor]:
        """Begin the diagrams in the background; the function that comes back waits for them and returns the loss."""
        check_arguments("TopoLoss", probabilities, target, valid)
        target = target if target.dtype == torch.bool else target > 0.5
        probabilities, target = masked(probabilities, target, valid)
        predictions, targets = self._pieces(probabilities, target)
        values = torch.cat([prediction.flatten() for prediction in predictions])
        ends = np.cumsum([prediction.numel() for prediction in predictions])[:-1]
        shapes = [tuple(prediction.shape) for prediction in predictions]
        first, second = (
            [piece.reshape(shape) for piece, shape in zip(np.split(array, ends), shapes, strict=True)]
            for array in (values.detach().cpu().numpy(), torch.cat([t.flatten() for t in targets]).cpu().numpy())
        )
        future = in_background(_diagrams, first, second, self.connectivity, self.threads)

        def finish() -> Tensor:
            return self._mean_cost(values, first, second, future.result())

        return finish

    def _pieces(self, probabilities: Tensor, target: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The images that are looked at, and their targets as masks."""
        side = self.crop_2d if probabilities.ndim == 4 else self.crop_3d
        if side and self.tiled:
            parts, target_parts = tiles(probabilities, side), tiles(target, side)
        else:
            cropped = crops(probabilities, target, side) if side else (probabilities, target)
            parts, target_parts = [cropped[0]], [cropped[1]]
        return ([image for part in parts for image in images(part, False, self.frame)],
                [image > 0.5 for part in target_parts for image in images(part, False, self.frame)])

    def _mean_cost(
        self, values: Tensor, first: Sequence[NDArray], second: Sequence[NDArray], diagrams: Sequence[_Diagram]
    ) -> Tensor:
        """Mean cost of images, whose values stand in one row, given their values and targets on the CPU."""
        towards: list[tuple[NDArray, ...]] = []  # voxel, goal, weight
        others: list[tuple[NDArray, ...]] = []  # voxel of birth, voxel of death, weight
        constant, offset = 0.0, 0
        for image, mask, (persistence, numbers) in zip(first, second, diagrams, strict=True):
            goals, pairs, missing, squares = self._features(image, persistence, numbers)
            scale = 1.0
            if self.normalised:
                scale = (self.smooth + squares) * (1 + float(image.sum()) + int(mask.sum())) ** 0.5
            weight = 1 / (scale * len(first))
            constant += weight * missing
            towards += [(voxels + offset, np.full(len(voxels), goal), np.full(len(voxels), weight))
                        for voxels, goal in goals]
            others += [(births + offset, deaths + offset, np.full(len(births), weight)) for births, deaths in pairs]
            offset += image.size
        voxels, goal, weights = as_columns(towards, values)
        cost = (weights * (values[voxels] - goal) ** 2).sum()
        births, deaths, weights = as_columns(others, values)
        return cost + (weights * (values[births] - values[deaths]) ** 2).sum() + constant

    def _features(
        self, image: NDArray, persistence: Persistence, numbers: tuple[int, ...]
    ) -> tuple[list[tuple[NDArray, float]], list[tuple[NDArray, NDArray]], int, float]:
        """Voxels with the value they are drawn to; births and deaths of the other features; how many are missing; and
        the squared lengths of all features of both images.
        """
        goals: list[tuple[NDArray, float]] = []
        others: list[tuple[NDArray, NDArray]] = []
        missing, squares = 0, 0.0
        for dimension, (pairs, number) in enumerate(zip(persistence.dimensions, numbers, strict=True)):
            lengths = pairs.birth_value - pairs.death_value
            if dimension == 0:  # the essential component is the longest-lived one, and never missing
                if self.essential:
                    highest = float(image.flat[persistence.essential])
                    squares += highest**2 + min(number, 1)
                    if number > 0 or highest > self.threshold:
                        goals.append((np.array([persistence.essential]), float(number > 0)))
                number = max(number - 1, 0)
            order = np.argsort(-lengths, kind="stable")
            kept, left = order[:number], order[number:]
            left = left[lengths[left] > self.threshold]
            goals += [(pairs.birth_index[kept], 1.0), (pairs.death_index[kept], 0.0)]
            others.append((pairs.birth_index[left], pairs.death_index[left]))
            missing += number - len(kept)
            squares += float((lengths.astype(np.float64) ** 2).sum()) + number
        return goals, others, missing, squares

    def compile_kernels(self, axes: int) -> None:
        """Compile what a call needs for images of so many axes, or read it from the disk; see the trainer."""
        persistence_pairs(np.random.default_rng(0).random((8,) * axes, dtype=np.float32), self.connectivity)

    def extra_repr(self) -> str:
        names = ("normalised", "smooth", "essential", "threshold", "frame", "crop_2d", "crop_3d", "tiled", "threads",
                 "connectivity")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)


def _diagrams(
    first: Sequence[NDArray], second: Sequence[NDArray], connectivity: Connectivity, threads: int | None
) -> list[_Diagram]:
    def diagram(image: NDArray, mask: NDArray) -> _Diagram:
        return persistence_pairs(image, connectivity), betti_numbers(mask, connectivity)

    return over_threads(diagram, first, second, threads=threads or cores())
