"""nnU-Net's own loss plus topology terms, whose kinds are those of :class:`nnunet_topo.losses.TopologyLoss`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from nnunet_topo.losses import TopologyLoss
from nnunet_topo.nnunet.training.heads import Head
from nnunet_topo.nnunet.training.terms import Term, check_transforms


class CompoundLoss(nn.Module):
    """``base(output, target) + sum over terms of weight(epoch) * term``.

    With a term that transforms the logits, of weight w, ``(1 - w) * base(output, target) + w * base(transformed output,
    target)`` takes the place of ``base(output, target)``; where w is 1, only the second is computed.

    ``base`` is the loss that nnU-Net built, untouched: its deep supervision, batch Dice, ignore label and DDP handling
    stay as they are. This module does for all terms what each would have to do: logits to foreground probabilities in
    float32, the target to one channel per class or region, the ignore label to a mask of valid voxels, the choice of
    deep-supervision outputs, and a record of the parts.

    Args:
        base: nnU-Net's loss, called as ``base(output, target)``.
        terms: what to add, and at most one transform of the logits; the modules are built here.
        level_weights: nnU-Net's weights of the deep-supervision outputs, finest first; ``[1]`` without it.
        has_regions: sigmoid channels, one per region, instead of softmax with a background channel.
        ignore_label: value of the ignore label in the target (with regions: the last target channel), or None.
    """

    terms: Mapping[str, TopologyLoss]  # in an nn.ModuleDict, which has no such type

    def __init__(
        self,
        base: nn.Module,
        terms: Mapping[str, Term],
        *,
        level_weights: Sequence[float],
        has_regions: bool,
        ignore_label: int | None,
    ) -> None:
        super().__init__()
        check_transforms(terms)
        self.base: nn.Module = base
        self.schedule = dict(terms)
        self.terms = nn.ModuleDict({name: term.build() for name, term in terms.items()})  # type: ignore[assignment]
        self.level_weights = {name: _weights_of_levels(name, term.levels, level_weights)
                              for name, term in terms.items()}
        self.transform = next((name for name, term in self.terms.items() if term.transforms_logits), None)
        self.head = Head(has_regions, ignore_label)
        self.epoch = 0
        self.prepared: list[dict[str, Tensor]] = []  # for each output, what the loader made for the terms; used once
        self._sums: dict[str, Tensor] = {}
        self._calls = 0

    def forward(self, output: Tensor | Sequence[Tensor], target: Tensor | Sequence[Tensor]) -> Tensor:
        """Total loss, a scalar.

        Args:
            output: logits (B, channels, *S), or a list of them, finest first, under deep supervision.
            target: nnU-Net's target of the same form.
        """
        outputs, targets = _as_list(output), _as_list(target)
        prepared, self.prepared = self.prepared or [{} for _ in outputs], []
        if outputs[0].device.type == "cpu":  # free on the CPU; elsewhere it would wait for the device
            _require_finite(outputs[0])
        weights = {name: term.weight_at(self.epoch) for name, term in self.schedule.items()}
        ends: list[tuple[str, float, Callable[[], Tensor]]] = []
        for level, (logits, labels) in enumerate(zip(outputs, targets, strict=True)):
            here = [name for name, weight in weights.items()
                    if weight > 0 and name != self.transform and self._level_weight(name, level) > 0]
            with _without_autocast(logits.device):
                # a term that works in the background begins now, and nnU-Net's loss is computed meanwhile
                begun = self._begin(here, logits, labels, prepared[level])
            ends.extend((name, self._level_weight(name, level), end) for name, end in begun.items())
        total = self._of_base(output, target, weights.get(self.transform or "", 0.0))
        values: dict[str, Tensor] = {}
        for name, level_weight, end in ends:
            with _without_autocast(outputs[0].device):
                value: Tensor = level_weight * end()
            values[name] = values[name] + value if name in values else value
        for name, value in values.items():
            self._record(name, value)
            total = total + weights[name] * value
        self._calls += 1
        return total

    def _begin(
        self, names: Sequence[str], logits: Tensor, labels: Tensor, prepared: Mapping[str, Tensor]
    ) -> dict[str, Callable[[], Tensor]]:
        """Hand the terms what they want of one output; each returns a function that gives its value."""
        begun: dict[str, Callable[[], Tensor]] = {}
        if not names:
            return begun
        wanted = {name: self.terms[name].takes_logits for name in names}
        handed = {as_logits: self.head.foreground_logits(logits) if as_logits else self.head.probabilities(logits)
                  for as_logits in set(wanted.values())}
        count = logits.shape[1] if self.head.has_regions else logits.shape[1] - 1
        channels, valid = self.head.foreground(labels, count), self.head.valid(labels)
        for name in names:
            more = [self.head.foreground(prepared[name], count)] if name in prepared else []
            begun[name] = self.terms[name].start(handed[wanted[name]], channels, valid, *more)
        return begun

    def _of_base(self, output: Tensor | Sequence[Tensor], target: Tensor | Sequence[Tensor], weight: float) -> Tensor:
        """nnU-Net's loss of the logits as they are, of the transformed ones, or the mean weighted by ``weight``."""
        if self.transform is None or weight == 0:
            total: Tensor = self.base(output, target)
            self._record("base", total)
            return total
        transformed = [self._transformed(level, logits, labels)
                       for level, (logits, labels) in enumerate(zip(_as_list(output), _as_list(target), strict=True))]
        total = self.base(transformed[0] if isinstance(output, Tensor) else transformed, target)
        self._record(self.transform, total)
        if weight < 1:
            as_they_are = self.base(output, target)
            self._record("base", as_they_are)
            total = weight * total + (1 - weight) * as_they_are
        return total

    def _transformed(self, level: int, logits: Tensor, labels: Tensor) -> Tensor:
        if self.transform is None or self._level_weight(self.transform, level) == 0:
            return logits
        with _without_autocast(logits.device):
            transformed: Tensor = self.terms[self.transform](
                logits.float(), self.head.every_channel(labels, logits.shape[1]), self.head.valid(labels))
            return transformed

    def _level_weight(self, name: str, level: int) -> float:
        weights = self.level_weights[name]
        return weights[level] if level < len(weights) else 0.0

    def take_means(self) -> dict[str, float]:
        """Mean of every part (without its weight) since the last call; NaN for a part that did not count.

        The part of a term that transforms the logits is nnU-Net's loss of the transformed ones; "base" is that of the
        logits as they are, which does not count where the term's weight is 1.
        """
        calls = self._calls
        means = {name: float(self._sums[name]) / calls if calls and name in self._sums else float("nan")
                 for name in self.part_names}
        self._sums, self._calls = {}, 0
        return means

    @property
    def part_names(self) -> list[str]:
        return ["base", *self.terms]

    def preparing(self, level: int) -> list[str]:
        """The terms for which the loader prepares something at a deep-supervision output, in their order."""
        return [name for name, term in self.terms.items()
                if term.prepares and self.schedule[name].weight > 0 and self.schedule[name].counts_at(level)]

    def notices(self) -> list[str]:
        """Sentences that the terms have for the user since the last call."""
        return [f"{name}: {sentence}" for name, term in self.terms.items()
                for sentence in term.notices()]

    def extra_repr(self) -> str:
        return f"weights={ {name: term.weight for name, term in self.schedule.items()} }"

    def _record(self, name: str, value: Tensor) -> None:
        value = value.detach().float()
        self._sums[name] = self._sums[name] + value if name in self._sums else value


def _weights_of_levels(name: str, levels: int | None, level_weights: Sequence[float]) -> list[float]:
    usable = sum(weight > 1e-5 for weight in level_weights)  # nnU-Net gives the coarsest output 0, under DDP 1e-6
    levels = usable if levels is None else levels
    if levels > usable:
        raise ValueError(f"Term {name!r} asks for {levels} deep-supervision outputs ('levels'), but this network and "
                         f"trainer evaluate {usable}. Set 'levels' to at most {usable} in the plans' 'nnunet_topo' "
                         "entry or on the trainer.")
    chosen = [float(weight) for weight in level_weights[:levels]]
    return [weight / sum(chosen) for weight in chosen]


def _as_list(value: Tensor | Sequence[Tensor]) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else list(value)


def _without_autocast(device: torch.device) -> AbstractContextManager[None]:
    # nnU-Net uses autocast on CUDA alone, and MPS complains about autocast even when it is asked to switch it off
    return torch.autocast(device.type, enabled=False) if device.type in ("cuda", "cpu") else nullcontext()


def _require_finite(logits: Tensor) -> None:
    if not torch.isfinite(logits).all():
        raise FloatingPointError(
            "The network's output contains values that are not finite (NaN or infinity), so the loss has no meaning. "
            "Look for NaN in the preprocessed images, lower the learning rate ('initial_lr'), or continue from the "
            "last good checkpoint with --c."
        )
