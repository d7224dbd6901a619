"""Checks that skeletons and losses share."""

from __future__ import annotations

import torch
from torch import Tensor

_ROUNDING = 1e-6  # by which sums of weights, as in interpolation, miss 1 in float32


def checked_probabilities(probabilities: Tensor, skeleton: str) -> Tensor:
    """The probabilities, half precision raised to float32.

    Raises:
        TypeError: not floating-point.
        ValueError: not (B, C, *S) in 2D or 3D; on the CPU also values outside of [0, 1] or NaN, for which other devices
            would have to wait.
    """
    if probabilities.ndim not in (4, 5):
        raise ValueError(f"The {skeleton} needs shape (B, C, *S) with two or three spatial axes, got "
                         f"{tuple(probabilities.shape)}.")
    if not probabilities.is_floating_point():
        raise TypeError(f"The {skeleton} needs floating-point probabilities, got {probabilities.dtype}; for masks use "
                        "soft_skeleton_of_mask or thin.")
    if probabilities.dtype in (torch.float16, torch.bfloat16):
        probabilities = probabilities.float()
    if probabilities.device.type == "cpu":
        check_probabilities(probabilities, f"The {skeleton} needs probabilities")
    return probabilities


def check_probabilities(values: Tensor, needs: str, instead: str = "Apply softmax or sigmoid to logits first.") -> None:
    """Raise ValueError for values outside of [0, 1], beyond rounding, and for NaN; another device is waited for.

    ``needs`` and ``instead`` are what the sentence begins and ends with.
    """
    if values.dtype == torch.bool or values.numel() == 0:
        return
    values = values.detach()
    low, high = float(values.amin()), float(values.amax())
    if low != low:
        raise ValueError(f"{needs} in [0, 1], but some are NaN.")
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise ValueError(f"{needs} in [0, 1], got values from {low:g} to {high:g}. {instead}")
