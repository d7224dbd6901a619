"""The soft skeleton of clDice (Shit et al., "clDice - a novel topology-preserving loss function for tubular structure
segmentation", CVPR 2021, algorithm 1), with the values and gradients of its composition of pooling operations, in a
fraction of their time and memory.

With e_0 the image, e_{i+1} the erosion of e_i by the cross of radius 1 (minimum over windows of three along each axis)
and o_i the dilation of e_{i+1} by the box of 3^d voxels::

    d_i = relu(e_i - o_i)            what opening removes at level i
    S <- S + relu(d_i - S d_i)       for i = 0 ... iterations; so S = 1 - T with T = product of all (1 - d_i)

Nothing outside of the image takes part: it neither erodes nor dilates. Forward keeps the levels and T. Backward knows
dS/dd_i = T / (1 - d_i) from them, recomputes o_i, and sends each gradient to the voxel that its maximum or minimum came
from. Ties follow the pooling operations: the first voxel in the order of axes holds the maximum of a box and the
minimum of a window, and equal minima of several axes share as in ``torch.minimum``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from nnunet_topo.kernels.threads import over_threads
from nnunet_topo.skeletons import soft_torch
from nnunet_topo.skeletons._device import soft_backend
from nnunet_topo.skeletons.checks import checked_probabilities

_VOXELS_AT_ONCE = 2**22  # on devices: smaller images are worked on together, larger ones one at a time


def soft_skeleton(probabilities: Tensor, iterations: int) -> Tensor:
    """Soft skeleton of probability maps, differentiable once.

    Values equal the plain composition of pooling operations bit by bit, gradients equal its gradients, ties included.
    For the backward pass iterations + 2 images are kept beside the input; temporaries are a few images at a time.

    Args:
        probabilities: (B, C, *S) in [0, 1], 2D or 3D, of any size. Half precision is raised to float32, float64 stays.
        iterations: number of erosions after the first; structures deeper than iterations + 1 voxels (city-block) lose
            their middle. See :func:`soft_skeleton_iterations`.

    Returns:
        (B, C, *S) in [0, 1], at most the probabilities. Images that are 0, or 1, everywhere have an empty skeleton.

    Raises:
        TypeError: not floating-point.
        ValueError: wrong shape or number of iterations; on the CPU also values outside of [0, 1] or NaN, for which
            other devices would have to wait.
    """
    _check(probabilities, iterations)
    probabilities = checked_probabilities(probabilities, "soft skeleton")
    if probabilities.numel() == 0:
        return probabilities.clone()
    if torch.is_grad_enabled() and probabilities.requires_grad:
        return _SoftSkeleton.apply(probabilities, iterations)
    return _forward(probabilities.detach(), iterations, keep=False)[0]


def soft_skeleton_of_mask(mask: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """The soft skeleton of a binary mask by its closed form, far faster than :func:`soft_skeleton`, without gradient.

    A voxel is in it if its city-block distance D to the background is at most ``iterations`` + 1 and no voxel of its
    3^d box has a larger D. There is no background outside the image; a mask without background has an empty skeleton.

    Args:
        mask: (B, C, *S) bool, 2D or 3D.
        iterations: as in :func:`soft_skeleton`.

    Returns:
        The skeleton (B, C, *S) bool, and a bool tensor without dimensions on the same device: whether some mask is
        deeper than the iterations reach, so that its middle is missing.
    """
    _check(mask, iterations)
    if mask.dtype != torch.bool:
        raise TypeError(f"soft_skeleton_of_mask needs a bool mask, got {mask.dtype}; compare with a threshold first, "
                        "or use soft_skeleton for probabilities.")
    if mask.numel() == 0:
        return mask.clone(), torch.zeros((), dtype=torch.bool, device=mask.device)
    skeleton = torch.empty(mask.shape, dtype=torch.bool, device=mask.device).flatten(0, 1)
    run = _mask_on_cpu if mask.device.type == "cpu" else soft_torch.skeleton_of_mask
    deeper = _for_each_group(lambda group: run(_images(mask, group), iterations, skeleton[group]), mask)
    return skeleton.view(mask.shape), torch.stack(deeper).any()


def soft_skeleton_iterations(mask: NDArray[np.bool_] | Tensor) -> int:
    """The smallest number of iterations after which a mask's soft skeleton does not change any more.

    This is the largest city-block distance to the background, minus 1; 0 for an empty mask, and for a mask without any
    background, whose soft skeleton is empty whatever the iterations.

    Args:
        mask: (*S), 2D or 3D, bool.
    """
    from nnunet_topo.skeletons.city_block import city_block_distance

    array = mask.detach().cpu().numpy() if isinstance(mask, Tensor) else np.asarray(mask)
    if array.dtype != np.bool_ or array.ndim not in (2, 3):
        raise ValueError(f"soft_skeleton_iterations needs one bool mask of two or three axes, got {array.dtype} of "
                         f"shape {array.shape}.")
    if not array.any() or array.all():
        return 0
    volume = np.ascontiguousarray(array if array.ndim == 3 else array[None])
    return max(int(city_block_distance(volume).max()) - 1, 0)


class _SoftSkeleton(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, probabilities: Tensor, iterations: int) -> Tensor:
        skeleton, *saved = _forward(probabilities, iterations, keep=True)
        ctx.save_for_backward(probabilities, *saved)
        return skeleton

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        probabilities, eroded, rest = ctx.saved_tensors
        result = torch.empty_like(rest)
        backend = _backend(probabilities)

        def run(group: slice) -> None:
            images, gradients = _images(probabilities, group), _images(gradient, group)
            backend.backward(images, eroded[group], rest[group], gradients, result[group])

        _for_each_group(run, probabilities)
        return result.view(probabilities.shape), None


def _forward(probabilities: Tensor, iterations: int, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The skeleton (B, C, *S), the levels (B*C, iterations + 1, *S) after the first, and T (B*C, *S).

    Without ``keep``, the last two are empty and only two levels exist at a time.
    """
    size = probabilities.shape[2:]
    count = probabilities.shape[0] * probabilities.shape[1]
    kept = count if keep else 0
    skeleton = probabilities.new_empty(count, *size)
    eroded = probabilities.new_empty(kept, iterations + 1, *size)
    rest = probabilities.new_empty(kept, *size)
    backend = _backend(probabilities)

    def run(group: slice) -> None:
        images = _images(probabilities, group)
        levels = eroded[group] if keep else images.new_empty(len(images), min(iterations + 1, 2), *size)
        rests = rest[group] if keep else torch.empty_like(images)
        backend.forward(images, levels, skeleton[group], rests, iterations)

    _for_each_group(run, probabilities)
    return skeleton.view(probabilities.shape), eroded, rest


def _backend(probabilities: Tensor) -> ModuleType:
    if probabilities.device.type == "cpu":
        from nnunet_topo.skeletons import soft_numba  # at the first call; see the package

        return soft_numba
    return soft_backend(probabilities[0])


def _mask_on_cpu(images: Tensor, iterations: int, skeleton: Tensor) -> Tensor:
    from nnunet_topo.skeletons import city_block

    volumes, targets = (tensor.numpy().reshape(len(images), -1, *images.shape[-2:]) for tensor in (images, skeleton))
    return torch.tensor(any([city_block.skeleton_of_mask(volume, iterations, target)
                             for volume, target in zip(volumes, targets, strict=True)]))


def _for_each_group(run: Callable[[slice], Any], images: Tensor) -> list[Any]:
    """Call ``run`` for slices of the images of a tensor (B, C, *S): on the CPU one image each, spread over threads."""
    count = images.shape[0] * images.shape[1]
    on_cpu = images.device.type == "cpu"
    size = 1 if on_cpu else max(_VOXELS_AT_ONCE // math.prod(images.shape[2:]), 1)
    groups = [slice(start, min(start + size, count)) for start in range(0, count, size)]
    return over_threads(run, groups, threads=None if on_cpu else 1)


def _images(tensor: Tensor, group: slice) -> Tensor:
    """A slice of the images (B*C, *S) of a tensor (B, C, *S), contiguous; a single one is not copied if it is."""
    tensor, channels = tensor.detach(), tensor.shape[1]
    if group.stop - group.start == 1:
        return tensor[group.start // channels, group.start % channels].contiguous()[None]
    return torch.stack([tensor[i // channels, i % channels] for i in range(group.start, group.stop)])


def _check(images: Tensor, iterations: int) -> None:
    if images.ndim not in (4, 5):
        raise ValueError(f"The soft skeleton needs shape (B, C, *S) with two or three spatial axes, got "
                         f"{tuple(images.shape)}.")
    if isinstance(iterations, bool) or not isinstance(iterations, int) or iterations < 0:
        raise ValueError(f"iterations must be an integer of at least 0, got {iterations!r}.")
