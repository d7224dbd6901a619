"""Betti matching: topological features of prediction and target, matched where they lie.

N. Stucki, J. C. Paetzold, S. Shit, B. Menze, U. Bauer, "Topologically faithful image segmentation via induced matching
of persistence barcodes", ICML 2023. A feature (a component, a loop, a cavity) is born where the prediction is b and
dies where it is d. Sums run over the features of all dimensions, matched ones (b, d) with (b', d') of the target::

    cost = 2 * sum over matched (b - b')^2 + (d - d')^2   +   sum over unmatched, of either image, (b - d)^2

Gradients reach the voxels at which matched and unmatched features of the prediction are born and die.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnunet_topo.homology import BettiMatching, Connectivity, betti_matchings, check_connectivity
from nnunet_topo.losses._common import check_arguments, masked
from nnunet_topo.losses._images import as_columns, check_numbers, crops, images, in_background
from nnunet_topo.losses._ranges import Factor, Share, Smoothing, Threads, Voxels
from nnunet_topo.losses.contract import TopologyLoss


class BettiMatchingLoss(TopologyLoss):
    """Betti matching loss, called as ``term(probabilities, target, valid=None)``.

    The matching runs on the CPU, all samples and classes
    in parallel threads; its time grows a little faster than the number of voxels, which is what crops are for.

    Args of a call:
        probabilities: (B, C, *S) in [0, 1], foreground channels only, 2D or 3D.
        target: (B, C, *S), bool, or float in [0, 1].
        valid: (B, 1, *S) bool, or None; voxels where it is False count as background in both, and have no gradient.

    Args:
        normalised: divide the cost of a sample's class by ``smooth`` plus the squared lengths of all features of both
            images (their cost if none were matched), and by the square root of 1 plus the foreground in voxels of both.
            The first makes it a share between 0 and about 1; the second gives its gradient, which sits in a few voxels,
            the norm of Dice's, which is spread over all of the foreground. Neither is differentiated. Otherwise the
            cost is a sum that grows with the number of features, and its gradient is some thousand times that of Dice.
        smooth: see ``normalised``; 1 is the squared length of one perfect feature.
        essential: count the first component of either image, which never dies and is always matched, by its birth:
            2 (max p - max t)^2. Without it, as in the authors' C++ code, an empty prediction of one component is free.
        matched_weight: factor of the first sum.
        unmatched_weight: factor of the prediction's part of the second sum.
        threshold: unmatched features of the prediction of at most this length are left out.
        push_unmatched: for unmatched features of the prediction, b^2 + (1 - d)^2 twice, which empties where they are
            born and fills where they die, in place of (b - d)^2.
        filtration: "superlevel", from high to low probability; "sublevel", the same for the background, whose features
            are its components; or "both", the sum.
        frame: put a frame of one voxel with the image's largest value around each image, as in the paper ("relative"):
            what touches the border hangs together.
        crop_2d, crop_3d: side of the crop, around a random voxel of foreground, that is looked at of each sample; 0 is
            the whole patch.
        threads: how many matchings run at once; None for one for each core.
        connectivity: the side that is connected across corners: "foreground" (8 in 2D, 26 in 3D; background 4 or 6) or
            "background" (foreground 4 or 6), as in the authors' code.

    The defaults differ from the authors' code (:meth:`reference`) in normalisation, crops, the essential component and
    connectivity.
    """

    name = "betti_matching"

    def __init__(
        self,
        *,
        normalised: bool = True,
        smooth: Smoothing = 1.0,
        essential: bool = True,
        matched_weight: Factor = 1.0,
        unmatched_weight: Factor = 1.0,
        threshold: Share = 0.0,
        push_unmatched: bool = False,
        filtration: Literal["superlevel", "sublevel", "both"] = "superlevel",
        frame: bool = False,
        crop_2d: Voxels = 256,
        crop_3d: Voxels = 64,
        threads: Threads | None = None,
        connectivity: Connectivity = "foreground",
    ) -> None:
        super().__init__()
        check_connectivity(connectivity)
        if smooth <= 0:
            raise ValueError(f"smooth must be greater than 0, or two empty images divide by 0; got {smooth}.")
        if filtration not in ("superlevel", "sublevel", "both"):
            raise ValueError(f"filtration must be 'superlevel', 'sublevel' or 'both', got {filtration!r}.")
        check_numbers(threads, matched_weight=matched_weight, unmatched_weight=unmatched_weight, threshold=threshold,
                      crop_2d=crop_2d, crop_3d=crop_3d)
        self.normalised = normalised
        self.smooth = smooth
        self.essential = essential
        self.matched_weight = matched_weight
        self.unmatched_weight = unmatched_weight
        self.threshold = threshold
        self.push_unmatched = push_unmatched
        self.filtration = filtration
        self.frame = frame
        self.crop_2d = crop_2d
        self.crop_3d = crop_3d
        self.threads = threads
        self.connectivity: Connectivity = connectivity

    @classmethod
    def reference(cls, **options: Any) -> BettiMatchingLoss:
        """The sum of the authors' C++ code over the whole image, mean over samples and classes; options as above."""
        authors: dict = {"normalised": False, "essential": False, "crop_2d": 0, "crop_3d": 0,
                         "connectivity": "background"}
        return cls(**authors | options)

    def forward(self, probabilities: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
        return self.start(probabilities, target, valid)()

    def start(self, probabilities: Tensor, target: Tensor, valid: Tensor | None = None) -> Callable[[], Tensor]:
        """Begin the matching in the background; the function that comes back waits for it and returns the loss."""
        check_arguments("Betti matching", probabilities, target, valid)
        probabilities, target = masked(probabilities, target, valid)
        side = self.crop_2d if probabilities.ndim == 4 else self.crop_3d
        probabilities, target = crops(probabilities, target, side) if side else (probabilities, target)
        # one after the other along the first axis where both filtrations are asked for
        sides = {"superlevel": [False], "sublevel": [True], "both": [False, True]}[self.filtration]
        predictions = torch.cat([images(probabilities, upside_down, self.frame) for upside_down in sides])
        first = predictions.detach().cpu().numpy()
        second = torch.cat([images(target, upside_down, self.frame) for upside_down in sides]).cpu().numpy()
        future = in_background(betti_matchings, first, second, self.connectivity, threads=self.threads)

        def finish() -> Tensor:
            return len(sides) * self._mean_cost(predictions, first, second, future.result())

        return finish

    def _mean_cost(
        self, predictions: Tensor, first: NDArray, second: NDArray, matchings: Sequence[BettiMatching]
    ) -> Tensor:
        """Mean cost of the predictions (N, *S), given their values and the targets' on the CPU, and their matchings."""
        matched, alone, constant = [], [], 0.0
        size = predictions[0].numel()
        for i, matching in enumerate(matchings):
            pairs = [(d.matched_prediction, d.matched_target, d.unmatched_prediction, d.unmatched_target)
                     for d in matching.dimensions]
            m_p, m_t, u_p, u_t = (_joined([dimension[k] for dimension in pairs]) for k in range(4))
            essential = self._essential(first[i], second[i], matching)
            scale = 1.0
            if self.normalised:
                squares = sum(float(((birth - death) ** 2).sum()) for _, _, birth, death in (m_p, m_t, u_p, u_t))
                foreground = float(first[i].sum() + second[i].sum())
                scale = (self.smooth + squares + essential[1] ** 2 + essential[2] ** 2) * (1 + foreground) ** 0.5
            weight = 1 / (scale * len(matchings))
            unmatched_target = float(((u_t[2] - u_t[3]) ** 2).sum())
            constant += weight * unmatched_target
            matched.append((m_p[0] + i * size, m_p[1] + i * size, m_t[2], m_t[3],
                            np.full(len(m_p[0]), 2 * weight * self.matched_weight)))
            kept = np.abs(u_p[2] - u_p[3]) > self.threshold if self.threshold > 0 else slice(None)
            births, deaths = u_p[0][kept] + i * size, u_p[1][kept] + i * size
            alone.append((births, deaths, np.full(len(births), weight * self.unmatched_weight)))
            if self.essential:  # a match whose death is fixed
                matched.append((np.array([essential[0] + i * size]),) * 2 + (np.array([essential[2]]),) * 2
                               + (np.array([weight * self.matched_weight]),))
        values = predictions.reshape(-1)
        at_birth, at_death, true_births, true_deaths, weights = as_columns(matched, values)
        cost = (weights * ((values[at_birth] - true_births) ** 2 + (values[at_death] - true_deaths) ** 2)).sum()
        at_birth, at_death, weights = as_columns(alone, values)
        if self.push_unmatched:
            cost = cost + (2 * weights * (values[at_birth] ** 2 + (1 - values[at_death]) ** 2)).sum()
        else:
            cost = cost + (weights * (values[at_birth] - values[at_death]) ** 2).sum()
        return cost + constant

    def _essential(
        self, prediction: NDArray, target: NDArray, matching: BettiMatching
    ) -> tuple[int, float, float]:
        """Voxel and birth of the prediction's essential component, and birth of the target's."""
        if not self.essential:
            return 0, 0.0, 0.0
        return (matching.essential_prediction, float(prediction.flat[matching.essential_prediction]),
                float(target.flat[matching.essential_target]))

    def compile_kernels(self, axes: int) -> None:
        """Compile what a call needs for images of so many axes, or read it from the disk; see the trainer."""
        image = np.random.default_rng(0).random((8,) * axes, dtype=np.float32)
        betti_matchings([image], [image > 0.5], self.connectivity, threads=1)

    def extra_repr(self) -> str:
        names = ("normalised", "smooth", "essential", "matched_weight", "unmatched_weight", "threshold",
                 "push_unmatched", "filtration", "frame", "crop_2d", "crop_3d", "threads", "connectivity")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)


_Table = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]


def _joined(tables: Sequence) -> _Table:
    """Births' and deaths' indices and values of all dimensions."""
    return tuple(np.concatenate([getattr(table, name) for table in tables])  # type: ignore[return-value]
                 for name in ("birth_index", "death_index", "birth_value", "death_value"))
