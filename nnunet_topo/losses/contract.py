"""What a topology term is: all that a loss may have, and its defaults. Nothing else of a loss is looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn

Wanted = tuple[Callable[..., int], int, int]  # a measure of one class's mask, and the bounds of its largest value


class TopologyLoss(nn.Module):
    """A topology term, called as ``term(probabilities, target, valid=None)``; returns a scalar.

    A loss derives from it, has a ``name`` and a ``forward``, and takes its options as keyword arguments with defaults,
    whose annotations (:mod:`typing`, with ranges by ``Annotated``) say what a plans file may set::

        class FalseAlarmLoss(TopologyLoss):
            name = "false_alarm"

            def __init__(self, *, exponent: float = 2.0) -> None:
                super().__init__()
                self.exponent = exponent

            def forward(self, probabilities, target, valid=None):
                wrong = (probabilities * ~target.bool()) ** self.exponent
                return wrong.mean() if valid is None else (wrong * valid).mean()

    Args of a call:
        probabilities: (B, C, *S) float32 in [0, 1], foreground channels only: softmax without its background, or one
            sigmoid channel a region. Logits where ``takes_logits`` or ``transforms_logits`` says so.
        target: (B, C, *S) bool or float, one-hot of the same channels.
        valid: (B, 1, *S) bool, or None; False where the ignore label stands. Such voxels give no value and exactly no
            gradient.
        prepared: (B, C, *S) bool, only where ``prepares`` says so and something is at hand: what ``prepare`` makes.

    Losses of this package have a class method ``reference(**options)``: the authors' form, in which the options that
    are given take the place of the authors'.

    The value is at least 0, 0 for a perfect prediction, finite for every input in range, connected to the graph even
    where it is 0, float32 under autocast, the same on every device, and for a sample the same whatever else is in its
    batch, unless an option asks for that.

    Attributes:
        name: of the term in plans files, logs and pictures, in the style of ``cl_dice``, unless a trainer declares it
            by another one. Names of losses that a trainer does not use are passed over in its plans.
        takes_logits: it is handed logits of the same channels, with which logarithms are exact: the sigmoid of a
            channel is its probability, also where the network has a softmax.
        transforms_logits: it is not added. Called with all of the network's channels, the background's too, it returns
            logits of the same shape, of which nnU-Net's own loss is taken.
        prepares: the data loader's workers call ``prepare`` of the augmented label.
        spatial_axes: numbers of axes of the patches that it is for.
        classes_only: it is for two classes or more that do not overlap, which regions may do.
        rules_from_labels: its option ``apart``, where it is None, is a list of pairs of labels that never touch in the
            training labels.
    """

    name: ClassVar[str] = ""
    takes_logits: bool = False
    transforms_logits: bool = False
    prepares: bool = False
    spatial_axes: tuple[int, ...] = (2, 3)
    classes_only: bool = False
    rules_from_labels: bool = False

    @staticmethod
    def from_labels(settings: Mapping[str, Any]) -> dict[str, Wanted]:
        """Options that the training labels decide where they are None, given all settings.

        Each with a function of one class's mask (*S), whose largest value over the labels is taken, and its bounds.
        """
        return {}

    def prepare(self, target: Tensor, ignore_label: int | None = None) -> Tensor:
        """Turn integer label maps (B, 1, *S), or bool channels (B, C, *S), into the same form; see ``prepares``."""
        raise NotImplementedError(f"{type(self).__name__} prepares nothing.")

    def compile_kernels(self, axes: int) -> None:
        """Compile what a call needs for images of so many axes; a trainer does so before its first epoch."""

    def start(self, *arguments: Any, **more: Any) -> Callable[[], Tensor]:
        """Begin a call, perhaps in the background; the function that comes back ends it and returns its value.

        nnU-Net's own loss is computed in between. By default nothing begins before the end is asked for.
        """
        return partial(self, *arguments, **more)

    def notices(self) -> list[str]:
        """Sentences that the user should read, on what the calls since the last time have met."""
        return []


def losses_by_name() -> dict[str, type[TopologyLoss]]:
    """Every loss that has been defined so far, by its name; those of other packages once they are imported."""
    found: dict[str, type[TopologyLoss]] = {}
    todo: list[type[TopologyLoss]] = [TopologyLoss]
    while todo:
        loss = todo.pop()
        todo += loss.__subclasses__()
        if loss.name:
            found.setdefault(loss.name, loss)
    return found
