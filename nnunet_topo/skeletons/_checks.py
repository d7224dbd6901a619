"""Checks that the skeletons share."""

from __future__ import annotations

import torch
from torch import Tensor


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
    if probabilities.device.type == "cpu" and probabilities.numel() > 0:
        low, high = (float(value) for value in torch.aminmax(probabilities.detach()))
        if not (low >= 0 and high <= 1):  # also where they are NaN
            raise ValueError(f"The {skeleton} needs probabilities in [0, 1], got values from {low:g} to {high:g}. "
                             "Apply softmax or sigmoid to logits first; NaN has no skeleton.")
    return probabilities
