"""cbDice: clDice with each voxel weighted by how deep it lies and each piece of the skeleton by how thin it is.

P. Shi et al., "Centerline Boundary Dice Loss for Vascular Segmentation", MICCAI 2024, in the linear form that the
authors' code has had since. The prediction's mask are the voxels of probability p > 1/2, S_P is its skeleton, D the
distance to its background, r that of the skeleton's voxels and R the largest r; for the target (label), p = 1::

    Q_V = p min(D, R) / R        Q_S = p ((R - r + 1) / R)^(dimension - 1)  on the skeleton
    precision   = (sum Q_SP Q_VL + s) / (sum Q_SP E_P + s)        E_P = Q_VL on S_L, elsewhere max(Q_VP, Q_VL)
    sensitivity = (sum Q_SL Q_VP + s) / (sum Q_SL E_L + s)        E_L = Q_VP on S_P, elsewhere max(Q_VL, Q_VP)
    loss = 1 - 2 precision sensitivity / (precision + sensitivity)

The authors have Q_VP and Q_VL alone in place of the two maxima, with which a ratio can exceed 1 and a wrong prediction
cost less than a perfect one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from nnunet_topo.losses._common import ThickTargets, check_arguments, masked, mean_over_present, over_processes
from nnunet_topo.losses._depth import depth
from nnunet_topo.losses._ranges import Smoothing, Steps
from nnunet_topo.losses.contract import TopologyLoss
from nnunet_topo.skeletons import soft_skeleton_iterations, soft_skeleton_of_mask, thin, tubed_skeleton

_MOST = 1.01  # to which the probabilities of a softmax that was rounded to half precision may add up


def cb_dice_loss(
    probabilities: Tensor,
    target: Tensor,
    skeleton: Tensor,
    true_skeleton: Tensor,
    valid: Tensor | None = None,
    *,
    smooth: float = 1e-3,
    batch_wise: bool = False,
    skip_absent: bool = True,
    bounded: bool = True,
) -> Tensor:
    """cbDice loss, a scalar; 0 for a perfect prediction and, if ``bounded``, between 0 and 1.

    ``target`` is bool (B, C, *S), as are the skeletons, ``skeleton`` that of the probabilities above 1/2. The other
    arguments are those of :class:`CbDiceLoss`.
    """
    check_arguments("cbDice", probabilities, target, valid)
    if valid is not None:
        probabilities, target = masked(probabilities, target, valid)
        skeleton, true_skeleton = skeleton & valid, true_skeleton & valid
    space = tuple(range(2, target.ndim))
    with torch.no_grad():
        (deep, thinness), (q_vl, q_sl) = _weights(probabilities > 0.5, skeleton), _weights(target, true_skeleton)
    q_vp, q_sp = deep * probabilities, thinness * probabilities
    deeper = torch.maximum(q_vp, q_vl) if bounded else None
    expected = torch.where(true_skeleton, q_vl, q_vp if deeper is None else deeper)
    true_expected = torch.where(skeleton, q_vp, q_vl if deeper is None else deeper)
    parts = torch.stack([(q_sp * q_vl).sum(space), (q_sp * expected).sum(space), (q_sl * q_vp).sum(space),
                         (q_sl * true_expected).sum(space), target.sum(space, dtype=probabilities.dtype)])
    if batch_wise:
        parts = over_processes(parts.sum(1, keepdim=True))
    precision = (parts[0] + smooth) / (parts[1] + smooth)
    sensitivity = (parts[2] + smooth) / (parts[3] + smooth)
    # 1 - 2 p s / (p + s) without cancellation, so that it is not below 0
    losses = (precision * (1 - sensitivity) + sensitivity * (1 - precision)) / (precision + sensitivity)
    return mean_over_present(losses, parts[4] > 0) if skip_absent else losses.mean()


class CbDiceLoss(TopologyLoss):
    """cbDice loss, called as ``term(probabilities, target, valid=None)``.

    It refines what is found: voxels with a probability of at most 1/2 have no gradient, so that it needs a loss such as
    nnU-Net's beside it.

    Args of a call:
        probabilities: (B, C, *S) in [0, 1], foreground channels only, 2D or 3D.
        target: (B, C, *S), bool, or float, of which values above 1/2 count.
        valid: (B, 1, *S) bool, or None; voxels where it is False count as background in both, and have no gradient.
        prepared: (B, C, *S) bool, the target's skeletons where they are at hand, as from nnU-Net's data loader.

    Args:
        skeleton: "topological", which keeps topology (:func:`nnunet_topo.skeletons.thin`, up to the patch's border);
            "soft", clDice's morphological one; or "euler", the thinning of the authors' code, which does not keep
            topology in 3D and takes all outside of the patch as background.
        iterations: of the skeleton. Thinning: None until it ends. Soft: erosions; None leaves them to an nnU-Net
            trainer, which takes them from the training labels, see
            :func:`nnunet_topo.skeletons.soft_skeleton_iterations`.
        smooth: s above.
        batch_wise: sum over the batch (and over all processes of a distributed training) before the ratios.
        class_wise: one loss a class, then their mean; otherwise the classes are merged to one, as the authors have it,
            with the probability max p / (max p + background's p). Not for regions, which overlap.
        skip_absent: leave out the classes that a sample's target does not hold; a sample (``batch_wise``: a batch)
            without any class costs 0.
        bounded: E_P and E_L above with the maxima; otherwise the authors' form, which can be below 0.

    The defaults differ from the authors' code (:meth:`reference`) in that every sample and class counts by itself, in
    the bounds, and in the ignore label, which that code takes as foreground.
    """

    name = "cb_dice"

    def __init__(
        self,
        *,
        skeleton: Literal["topological", "soft", "euler"] = "topological",
        iterations: Steps | None = None,
        smooth: Smoothing = 1e-3,
        batch_wise: bool = False,
        class_wise: bool = True,
        skip_absent: bool = True,
        bounded: bool = True,
    ) -> None:
        super().__init__()
        if skeleton not in ("topological", "soft", "euler"):
            raise ValueError(f"skeleton must be 'topological', 'soft' or 'euler', got {skeleton!r}.")
        if iterations is not None and iterations < 0:
            raise ValueError(f"iterations must be at least 0, or None, got {iterations}.")
        if smooth <= 0:
            raise ValueError(f"smooth must be greater than 0, or an empty skeleton divides by 0; got {smooth}.")
        self.skeleton = skeleton
        self.iterations = iterations
        self.smooth = smooth
        self.batch_wise = batch_wise
        self.class_wise = class_wise
        self.skip_absent = skip_absent
        self.bounded = bounded
        self.prepares = skeleton == "topological"
        self._thick = ThickTargets("CbDiceLoss")

    @staticmethod
    def from_labels(settings: Mapping[str, Any]) -> dict[str, tuple[Callable[..., int], int, int]]:
        """As :meth:`nnunet_topo.losses.ClDiceLoss.from_labels`."""
        return {"iterations": (soft_skeleton_iterations, 3, 25)} if settings["skeleton"] == "soft" else {}

    @classmethod
    def reference(cls, **options: Any) -> CbDiceLoss:
        """The authors' ``SoftcbDiceLoss``, plus the constant 1, with either of its skeletons; 10 or 5 iterations."""
        authors: dict[str, Any] = {"skeleton": "soft", "iterations": 5 if options.get("skeleton") == "euler" else 10,
                                   "batch_wise": True, "class_wise": False, "skip_absent": False, "bounded": False}
        return cls(**authors | options)

    def prepare(self, target: Tensor, ignore_label: int | None = None) -> Tensor:
        """The topological skeletons of integer label maps (B, 1, *S), or of bool channels (B, C, *S), in that form.

        Merged classes share a skeleton; each of its voxels has its label, or the channels that it lies in.
        """
        if target.dtype == torch.bool and not self.class_wise:
            return tubed_skeleton(target.any(1, keepdim=True), 0, iterations=self.iterations) & target
        return tubed_skeleton(target, 0, union=not self.class_wise, ignore_label=ignore_label,
                              iterations=self.iterations)

    def forward(
        self, probabilities: Tensor, target: Tensor, valid: Tensor | None = None, prepared: Tensor | None = None
    ) -> Tensor:
        check_arguments("cbDice", probabilities, target, valid, prepared)
        target = target if target.dtype == torch.bool else target > 0.5
        probabilities, target = masked(probabilities, target, valid)
        if not self.class_wise:
            probabilities, target = _merged(probabilities), target.any(1, keepdim=True)
            prepared = None if prepared is None else prepared.any(1, keepdim=True)
        true_skeleton = self._skeleton(target, of_target=True) if prepared is None else prepared & target
        skeleton = self._skeleton(probabilities.detach() > 0.5)
        return cb_dice_loss(probabilities, target, skeleton, true_skeleton, smooth=self.smooth,
                            batch_wise=self.batch_wise, skip_absent=self.skip_absent, bounded=self.bounded)

    def _skeleton(self, mask: Tensor, of_target: bool = False) -> Tensor:
        if self.skeleton == "topological":
            return thin(mask, self.iterations, border="anchored")
        if self.skeleton == "euler":
            return thin(mask, self.iterations, "euler", border="background")
        if self.iterations is None:
            raise ValueError("CbDiceLoss with the soft skeleton needs its number of iterations: pass iterations=..., "
                             "e.g. the largest soft_skeleton_iterations(mask) of the training labels. nnU-Net trainers "
                             "do so themselves.")
        skeleton, too_deep = soft_skeleton_of_mask(mask, self.iterations)
        if of_target:
            self._thick.see(too_deep, self.iterations)
        return skeleton

    def notices(self) -> list[str]:
        """What the user should know of the calls since the last time: targets too thick for the iterations."""
        return self._thick.notices()

    def extra_repr(self) -> str:
        names = ("skeleton", "iterations", "smooth", "batch_wise", "class_wise", "skip_absent", "bounded")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)


def _weights(mask: Tensor, skeleton: Tensor) -> tuple[Tensor, Tensor]:
    """D / R, and ((R - r + 1) / R)^(dimension - 1) on the skeleton."""
    distance, radius = depth(mask, skeleton)
    thinness = ((radius - distance + 1) / radius) ** (mask.ndim - 3)
    return distance / radius, torch.where(skeleton, thinness, 0.0)


def _merged(probabilities: Tensor) -> Tensor:
    """Softmax over the background's logit and the largest one of the foreground, from the softmax over all."""
    total = probabilities.sum(1, keepdim=True)
    if bool((total > _MOST).any()):
        raise ValueError("cbDice merges classes that exclude each other, but the probabilities of a voxel add up to "
                         f"{float(total.max()):.3f}. For regions, which overlap, leave class_wise=True.")
    largest = probabilities.amax(1, keepdim=True)
    return largest / (largest + (1 - total).clamp(min=0))
