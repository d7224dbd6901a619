"""Topological interactions: cross-entropy where classes touch that must not.

S. Gupta et al., "Learning topological interactions for multi-class medical image segmentation", ECCV 2022. A voxel is
critical when the class predicted there and that of a neighbour must not touch; background is a class, too. With q the
probability of the true class::

    loss = sum over critical voxels of -log q     divided by a size, see ``normalised``
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray
from torch import Tensor

from nnunet_topo.homology import REACHES, Reach, forbidden_contacts, half_offsets, offsets_within, without_surroundings
from nnunet_topo.kernels.threads import cores, over_threads
from nnunet_topo.losses._common import check_arguments, masked
from nnunet_topo.losses._images import as_columns, check_numbers, in_background
from nnunet_topo.losses._ranges import Samples, Threads
from nnunet_topo.losses.contract import TopologyLoss
from nnunet_topo.schema import Words

Label = Annotated[int, Ge(0), Le(1000)]  # 0 is the background
Pair = tuple[Label, Label]
Apart = Annotated[tuple[Pair | tuple[Label, Label, Reach], ...],
                  Words('a list of pairs of labels such as [1, 3] or [1, 3, "faces"]')]
Enclosed = Annotated[tuple[Pair, ...], Words("a list of pairs of labels such as [1, 2], the inner one first")]
Spacing = Annotated[tuple[Annotated[float, Gt(0), Le(1e6)], ...], Words("a list of lengths above 0, one for each axis")]
_EPSILON = 1e-20  # for a probability that has been rounded to 0


class TopologicalInteractionLoss(TopologyLoss):
    """Loss of topological interactions, called as ``term(probabilities, target, valid=None)``.

    Critical voxels are found on the CPU, all samples in parallel threads, in one pass over pairs of neighbours with one
    table of what must not touch, so that the number of rules does not matter.

    Args of a call:
        probabilities: (B, C, *S) in [0, 1], foreground classes only, 2D or 3D, of a softmax: background is the rest to
            1. Classes that overlap have no interaction of this kind.
        target: (B, C, *S), bool, or float, of which values above 1/2 count.
        valid: (B, 1, *S) bool, or None; voxels where it is False touch nothing and have no gradient.

    Args:
        apart: pairs of labels that must not touch, each with what counts as touching: "corners" (the default; 8 and 26
            neighbours), "faces" (4 and 6), or "slice" (8 within a slice, across the axis of the largest spacing). Label
            0 is the background, and channel c holds label c + 1. None: to be taken from the training labels, which the
            trainer does: all pairs that never touch in them.
        enclosed: pairs of an inner and an outer label: the inner one touches nothing but the outer one, and what
            it encloses itself.
        distance: voxels so far apart along every axis still touch; not where "faces" count.
        spacing: of the voxels; offsets longer than twice the diagonal within a slice do not count. None: all do.
        normalised: divide the sum of a sample by the square root of (1 plus its critical voxels) (1 plus the voxels of
            classes with rules, in prediction and target), which gives its gradient the norm of Dice's. Otherwise the
            sum, as the authors have it, which grows with the patch.
        lenient: where the target itself breaks a rule, as augmentation may make it, no voxel around is critical.
        min_cases: in how many training cases two labels must occur together for a rule to be learnt.
        threads: how many samples are looked at at once; None for one for each core.

    The loss is the mean over samples.
    """

    name = "topological_interaction"
    classes_only = True
    rules_from_labels = True

    def __init__(
        self,
        *,
        apart: Apart | None = None,
        enclosed: Enclosed = (),
        distance: Annotated[int, Ge(1), Le(3)] = 1,
        spacing: Spacing | None = None,
        normalised: bool = True,
        lenient: bool = True,
        min_cases: Samples = 10,
        threads: Threads | None = None,
    ) -> None:
        super().__init__()
        check_numbers(threads)
        if distance < 1:
            raise ValueError(f"distance must be at least 1, got {distance}.")
        self.apart = None if apart is None else tuple(with_reach(rule) for rule in apart)
        self.enclosed = tuple((inner, outer) for inner, outer in enclosed)
        check_rules(self.apart or (), self.enclosed)
        self.distance, self.spacing = distance, None if spacing is None else tuple(spacing)
        self.normalised, self.lenient, self.min_cases, self.threads = normalised, lenient, min_cases, threads
        self._tables: dict[tuple[int, int], tuple[NDArray[np.int64], NDArray[np.bool_]]] = {}

    @classmethod
    def reference(cls, **options: Any) -> TopologicalInteractionLoss:
        """The authors' sum; options as above, among which must be the rules, ``apart`` or ``enclosed``."""
        authors: dict = {"apart": (), "normalised": False, "lenient": False}
        return cls(**authors | options)

    def forward(self, probabilities: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
        return self.start(probabilities, target, valid)()

    def start(self, probabilities: Tensor, target: Tensor, valid: Tensor | None = None) -> Callable[[], Tensor]:
        """Begin the search in the background; the function that comes back waits for it and returns the loss."""
        check_arguments("Topological interaction", probabilities, target, valid)
        offsets, table = self.table(probabilities.shape[1] + 1, probabilities.ndim - 2)
        target = target if target.dtype == torch.bool else target > 0.5
        probabilities, target = masked(probabilities, target, valid)
        background = (1 - probabilities.sum(1)).clamp(min=0)
        highest, predicted = probabilities.detach().max(1)
        predicted = torch.where(highest > background.detach(), predicted + 1, 0)
        true = torch.where(target.any(1), target.to(torch.uint8).argmax(1) + 1, 0)
        if valid is not None:
            predicted, true = (labels.where(valid[:, 0], len(table[0]) - 1) for labels in (predicted, true))
        maps = [labels.to(torch.int16).cpu().numpy().view(np.uint16) for labels in (predicted, true)]
        future = in_background(over_threads, lambda first, second: self._voxels(first, second, offsets, table), *maps,
                               threads=self.threads or cores())
        return lambda: self._mean_cross_entropy(probabilities, background, maps, table, future.result())

    def table(self, classes: int, axes: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Half offsets (n, 3) and what must not touch over each (n, classes + 1, classes + 1), the last of no class.

        Raises:
            ValueError: no rule, one of a class that is not there, rules that leave a class nothing to touch, or a
                spacing of another number of axes.
        """
        key = classes, axes
        if key not in self._tables:
            if not self.apart and not self.enclosed:
                raise ValueError("Topological interaction has no rules: give the labels that must not touch as 'apart' "
                                 "or 'enclosed', or let the trainer learn them from the training labels.")
            self._tables[key] = forbidden_table(self.apart or (), self.enclosed, classes, axes, self.spacing,
                                                self.distance)
        return self._tables[key]

    def _voxels(
        self, predicted: NDArray[np.uint16], true: NDArray[np.uint16], offsets: NDArray, table: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        marks = forbidden_contacts(predicted, offsets, table)
        if self.lenient and marks.any():
            marks = without_surroundings(marks, forbidden_contacts(true, offsets, table))
        return np.flatnonzero(marks)

    def _mean_cross_entropy(
        self, probabilities: Tensor, background: Tensor, maps: Sequence[NDArray[np.uint16]], table: NDArray[np.bool_],
        critical: Sequence[NDArray[np.int64]],
    ) -> Tensor:
        samples, channels = probabilities.shape[:2]
        size = background[0].numel()
        ruled: NDArray[np.bool_] = np.asarray(table.any((0, 2)))
        ruled[0] = False
        rows: list[tuple[NDArray, ...]] = []
        for i, (predicted, true, voxels) in enumerate(zip(*maps, critical, strict=True)):
            scale = 1.0
            if self.normalised:
                count = np.count_nonzero(ruled[predicted]) + np.count_nonzero(ruled[true])
                scale = float((1 + len(voxels)) * (1 + count)) ** 0.5
            labels = true.ravel()[voxels].astype(np.int64)
            of_class = (i * channels + np.maximum(labels, 1) - 1) * size + voxels
            rows.append((of_class, i * size + voxels, (labels > 0).astype(np.float32),
                         np.full(len(voxels), 1 / (scale * samples))))
        of_class, of_background, in_class, weights = as_columns(rows, probabilities)
        right = torch.where(in_class > 0, probabilities.flatten()[of_class], background.flatten()[of_background])
        return -(weights * torch.log(right * (1 - _EPSILON) + _EPSILON)).sum()

    def compile_kernels(self, axes: int) -> None:
        """Compile what a call needs for images of so many axes, or read it from the disk; see the trainer."""
        labels = np.random.default_rng(0).integers(0, 3, (8,) * axes).astype(np.uint16)
        self._voxels(labels, labels, *forbidden_table(((1, 2, "corners"),), (), 3, axes, None, 1))

    def extra_repr(self) -> str:
        return f"apart={self.apart}, enclosed={self.enclosed}, distance={self.distance}, normalised={self.normalised}"


def with_reach(rule: Sequence[Any]) -> tuple[int, int, Reach]:
    one, other, reach = (*rule, "corners")[:3]
    if reach not in REACHES:
        raise ValueError(f"What counts as touching is one of {', '.join(map(repr, REACHES))}, not {reach!r}.")
    return one, other, reach


def check_rules(apart: Iterable[tuple[int, int, Reach]], enclosed: Sequence[tuple[int, int]]) -> None:
    """Raise ValueError where rules contradict themselves or each other."""
    for one, other, *_ in (*apart, *enclosed):
        if one == other:
            raise ValueError(f"The rule [{one}, {other}] names one label twice; a rule is about two labels.")
    outer_of: dict[int, int] = {}
    for inner, outer in enclosed:
        if inner == 0:
            raise ValueError(f"The rule that {outer} encloses 0 cannot hold: 0 is the background, which is "
                             "also outside.")
        if outer_of.setdefault(inner, outer) != outer:
            raise ValueError(f"Rules contradict each other: {inner} is enclosed by {outer_of[inner]} and by {outer}, "
                             "but then it may touch neither. Keep one of them.")
        if outer_of.get(outer) == inner:
            raise ValueError(f"Rules contradict each other: {inner} is enclosed by {outer}, and {outer} by {inner}. "
                             "Keep one of them.")
    for one, other, _ in apart:
        for inner, outer in ((one, other), (other, one)):
            if outer_of.get(inner) == outer:
                raise ValueError(f"Rules contradict each other: {inner} is enclosed by {outer}, so they touch, but "
                                 "they must not touch. Keep one of them.")


def forbidden_table(
    apart: Iterable[tuple[int, int, Reach]], enclosed: Sequence[tuple[int, int]], classes: int, axes: int,
    spacing: Sequence[float] | None, distance: int,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """See :meth:`TopologicalInteractionLoss.table`."""
    if spacing is not None and len(spacing) != axes:
        raise ValueError(f"The spacing {tuple(spacing)} is of {len(spacing)} axes, but images have {axes}.")
    rules = [(one, other, reach) for one, other, reach in apart]
    for label in {label for pair in (*((one, other) for one, other, _ in rules), *enclosed) for label in pair}:
        if not 0 <= label < classes:
            raise ValueError(f"A rule names label {label}, but there are 0 (background) to {classes - 1}. Correct the "
                             "rule.")
    outer_of = dict(enclosed)
    for inner, outer in enclosed:
        rules += [(inner, other, "corners") for other in range(classes)
                  if other not in (inner, outer) and outer_of.get(other) != inner]
    offsets = half_offsets(axes, distance)
    table = np.zeros((len(offsets), classes + 1, classes + 1), np.bool_)
    for one, other, reach in rules:
        over = offsets_within(reach, axes, spacing, distance)
        table[over, one, other] = table[over, other, one] = True
    at_faces = table[np.abs(offsets).sum(1) == 1][:, :classes, :classes]
    for label in range(classes):
        if classes > 1 and np.delete(at_faces[:, label], label, 1).all():
            raise ValueError(f"Rules contradict each other: together they forbid label {label} to touch any other, "
                             "background included. Leave one of them out.")
    used = table.any((1, 2))
    return offsets[used], table[used]
