"""A training divided into rounds, each with a learning rate of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Round:
    """One round: its number from 0, its first epoch, and its number of epochs."""

    index: int
    start: int
    length: int


@dataclass(frozen=True)
class Rounds:
    """Epochs divided into rounds of equal length; where that does not go, the last rounds are an epoch longer."""

    epochs: int
    count: int

    def __post_init__(self) -> None:
        if self.epochs < self.count:
            raise ValueError(f"Self-distillation divides a training into {self.count} rounds of at least one epoch, "
                             f"but this training has {self.epochs} epoch(s). Train for {self.count} epochs or more.")

    def __getitem__(self, index: int) -> Round:
        short, longer = divmod(self.epochs, self.count)
        start = index * short + max(0, index - (self.count - longer))
        return Round(index, start, short + (index >= self.count - longer))

    def at(self, epoch: int) -> Round:
        """The round of an epoch; the last one for a training that is done."""
        return next(part for part in map(self.__getitem__, reversed(range(self.count))) if part.start <= epoch)


class SchedulerOfRound:
    """A learning-rate scheduler to which the first epoch of the round is epoch 0."""

    def __init__(self, scheduler: Any, start: int) -> None:
        self.scheduler = scheduler
        self.start = start

    def step(self, epoch: int) -> None:
        self.scheduler.step(epoch - self.start)
