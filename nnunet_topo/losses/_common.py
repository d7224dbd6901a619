"""What the losses share: checks of their arguments, sums over processes, and means over classes."""

from __future__ import annotations

import warnings
from collections import Counter

import torch
import torch.distributed
from torch import Tensor

from nnunet_topo.skeletons.checks import check_probabilities

_CHANNELS = "Each class is a channel of its own, for instance labels == 1; a mask of 0 and 255 becomes one by mask > 0."
_AT_FIRST = 8  # calls for whose values a GPU is waited for; what a caller gets wrong is mostly wrong from the start
_calls: Counter[tuple[str, str, torch.dtype, torch.dtype]] = Counter()  # on devices that are not the CPU


def check_arguments(
    loss: str,
    given: Tensor,
    target: Tensor,
    valid: Tensor | None,
    prepared: Tensor | None = None,
    *,
    what: str = "probabilities",
    channels: str = "a foreground class",
) -> None:
    """The contract of a topology term: (B, C, *S), the target alike, ``valid`` a bool mask (B, 1, *S) or None.

    Target and probabilities lie in [0, 1], and logits are not NaN, where valid. On the CPU this is always looked at, on
    other devices, which would have to be waited for, in the first calls of a loss for each combination of types.
    ``what`` names the first argument, "probabilities" or "logits", and ``channels`` what has a channel, for the
    messages.
    """
    if given.ndim not in (4, 5):
        raise ValueError(f"{loss} needs {what} of shape (B, C, *S) with two or three spatial axes, got "
                         f"{tuple(given.shape)}.")
    if target.shape != given.shape:
        raise ValueError(f"{loss} needs a target of the {what}' shape, one channel {channels}; got {what} "
                         f"{tuple(given.shape)} and target {tuple(target.shape)}. Turn a label map into channels "
                         "first.")
    expected = (given.shape[0], 1, *given.shape[2:])
    if valid is not None and (valid.dtype != torch.bool or valid.shape != expected):
        raise ValueError(f"{loss} needs valid as a bool mask of shape {expected}, got {valid.dtype} of shape "
                         f"{tuple(valid.shape)}.")
    if prepared is not None and (prepared.dtype != torch.bool or prepared.shape != target.shape):
        raise ValueError(f"{loss} needs prepared as a bool mask of shape {tuple(target.shape)}, got {prepared.dtype} "
                         f"of shape {tuple(prepared.shape)}.")
    if given.device.type != "cpu":
        kind = loss, given.device.type, given.dtype, target.dtype
        _calls[kind] += 1
        if _calls[kind] > _AT_FIRST:
            return
    given, target = (values if valid is None or values.dtype == torch.bool else values.detach().where(valid, 0)
                     for values in (given, target))
    check_probabilities(target, f"{loss} needs targets", _CHANNELS)
    if what == "probabilities":
        check_probabilities(given, f"{loss} needs probabilities")
    elif given.is_floating_point() and bool(given.isnan().any()):
        raise ValueError(f"{loss} needs {what}, but some are NaN.")


def masked(probabilities: Tensor, target: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Probabilities in float32 (float64 stays) and the target, both 0 and without gradient where not valid."""
    if probabilities.dtype != torch.float64:
        probabilities = probabilities.float()
    if valid is not None:
        probabilities = torch.where(valid, probabilities, 0.0)
        target = torch.where(valid, target, torch.zeros((), dtype=target.dtype, device=target.device))
    return probabilities, target


def mean_over_present(losses: Tensor, present: Tensor) -> Tensor:
    """Mean over samples of the mean over the present classes; both (B, C), a sample without any class counts 0."""
    weights = present.to(losses.dtype)
    return ((losses * weights).sum(1) / weights.sum(1).clamp(min=1)).mean()


def over_processes(parts: Tensor) -> Tensor:
    """Sum over the processes of a distributed training, with gradient; each process then has the same loss.

    The backward of the all-reduce adds up the processes' equal gradients, and DistributedDataParallel then averages:
    the result is the gradient of the one loss.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized() \
            and torch.distributed.get_world_size() > 1:
        from torch.distributed.nn.functional import all_reduce

        return all_reduce(parts)
    return parts


class ThickTargets:
    """Remembers whether a target was thicker than the soft skeleton's iterations reach, and says so."""

    def __init__(self, loss: str) -> None:
        self.loss = loss
        self.iterations = 0
        self._seen: Tensor | None = None  # stays on its device, so that a step never waits for it
        self._warned = False

    def see(self, too_deep: Tensor, iterations: int) -> None:
        """Note the outcome of a call, a bool tensor without dimensions; on the CPU warn, the first time."""
        self.iterations = iterations
        self._seen = too_deep if self._seen is None else self._seen | too_deep
        if too_deep.device.type == "cpu" and bool(too_deep) and not self._warned:  # elsewhere, looking would wait
            self._warned = True
            warnings.warn(f"{self.loss}: {self._sentence()}", stacklevel=4)

    def notices(self) -> list[str]:
        """The sentence for the user, if there was such a target since the last call."""
        seen, self._seen = self._seen, None
        return [self._sentence()] if seen is not None and bool(seen) else []

    def _sentence(self) -> str:
        return (f"the target of at least one patch is thicker than {self.iterations} iterations can skeletonise, so "
                "the middle of its thick parts is not scored. Set iterations higher if these parts matter.")
