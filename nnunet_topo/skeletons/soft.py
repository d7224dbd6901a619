"""The soft skeleton of clDice, exact and lean.

S. Shit et al., "clDice - a novel topology-preserving loss function for tubular structure segmentation", CVPR 2021,
algorithm 1. With e_0 = X and e_{i+1} the erosion of e_i by the cross (minimum over windows of 3 along each axis):

    o_i = dilation of e_{i+1} by the 3^d box        d_i = max(e_i - o_i, 0)        S <- S + max(d_i - S d_i, 0)

for i = 0 ... n. Outside of the image nothing counts. Instead of letting autograd record each pooling operation, the
backward pass keeps e_0 ... e_{n+1} and T = prod_i (1 - d_i) and redoes the rest: dS/dd_i = T / (1 - d_i).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_VOXELS_AT_ONCE = 2**22  # how much the torch version processes together, so that its temporaries stay small


def soft_skeleton(probabilities: Tensor, iterations: int) -> Tensor:
    """Soft skeleton of probability maps, differentiable.

    Values equal the plain composition of pooling operations bit by bit, gradients equal its gradients, ties included.
    Half precision is computed and returned in float32, float64 stays.

    Args:
        probabilities: (B, C, *S), 2D or 3D, in [0, 1].
        iterations: number of erosions n; structures deeper than n + 1 voxels (city-block) lose their middle. See
            :func:`soft_skeleton_iterations`.

    Returns:
        (B, C, *S) in [0, 1], at most the probabilities.

    Raises:
        ValueError: wrong shape or number of iterations; on the CPU also values outside [0, 1] or NaN, for which other
            devices would have to wait.
    """
    _check(probabilities, iterations)
    if not probabilities.is_floating_point():
        raise TypeError(f"The soft skeleton needs floating-point probabilities, got {probabilities.dtype}; for masks "
                        "use soft_skeleton_of_mask.")
    if probabilities.dtype in (torch.float16, torch.bfloat16):
        probabilities = probabilities.float()
    if probabilities.numel() == 0:
        return probabilities.clone()
    if probabilities.device.type == "cpu":
        low, high = (float(value) for value in torch.aminmax(probabilities.detach()))
        if not (low >= 0 and high <= 1):  # also where they are NaN
            raise ValueError(f"The soft skeleton needs probabilities in [0, 1], got values from {low:g} to {high:g}. "
                             "Apply softmax or sigmoid to logits first; NaN has no skeleton.")
    return _SoftSkeleton.apply(probabilities, iterations)


def soft_skeleton_of_mask(mask: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """The soft skeleton of a binary mask by its closed form, far faster than :func:`soft_skeleton`, without gradient.

    A voxel is in it if its city-block distance D to the background is at most ``iterations`` + 1 and no voxel of its
    3^d box has a larger D. Outside of the image is no background; a mask without background has an empty skeleton.

    Args:
        mask: (B, C, *S) bool, 2D or 3D.
        iterations: as in :func:`soft_skeleton`.

    Returns:
        The skeleton (B, C, *S) bool, and a bool tensor without dimensions on the same device: whether some mask is
        deeper than the iterations reach, so that its middle is missing.
    """
    _check(mask, iterations)
    if mask.dtype != torch.bool:
        raise TypeError(f"soft_skeleton_of_mask needs a bool mask, got {mask.dtype}; compare with a threshold first, or "
                        "use soft_skeleton for probabilities.")
    if mask.numel() == 0:
        return mask.clone(), torch.zeros((), dtype=torch.bool, device=mask.device)
    images = mask.detach().flatten(0, 1).contiguous()
    if mask.device.type != "cpu":
        from nnunet_topo.skeletons import soft_torch

        skeleton, deeper = soft_torch.skeleton_of_mask(images, iterations)
        return skeleton.view(mask.shape), deeper
    from nnunet_topo.skeletons import soft_numba

    skeleton = torch.empty_like(images)
    sources, targets = (_as_volumes(tensor, images.ndim - 1) for tensor in (images, skeleton))
    flags = _for_each(len(images), lambda i: soft_numba.skeleton_of_mask(sources[i], iterations, targets[i]))
    return skeleton.view(mask.shape), torch.tensor(any(flags))


def soft_skeleton_iterations(mask: NDArray[np.bool_] | Tensor) -> int:
    """The smallest number of iterations after which a mask's soft skeleton does not change any more.

    This is the largest city-block distance to the background, minus 1; 0 for an empty mask, and for a mask without any
    background, whose soft skeleton is empty whatever the iterations.

    Args:
        mask: (*S), 2D or 3D, bool.
    """
    from nnunet_topo.skeletons import soft_numba

    array = mask.detach().cpu().numpy() if isinstance(mask, Tensor) else np.asarray(mask)
    if array.dtype != np.bool_ or array.ndim not in (2, 3):
        raise ValueError(f"soft_skeleton_iterations needs one bool mask of two or three axes, got {array.dtype} of shape "
                         f"{array.shape}.")
    if not array.any() or array.all():
        return 0
    volume = np.ascontiguousarray(array if array.ndim == 3 else array[None])
    distance = np.empty(volume.shape, np.int16)
    soft_numba.city_block_distance(volume, distance)
    return max(int(distance.max()) - 1, 0)


class _SoftSkeleton(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, probabilities: Tensor, iterations: int) -> Tensor:
        images = probabilities.detach().flatten(0, 1).contiguous()
        keep = ctx.needs_input_grad[0]
        run = _forward_cpu if images.device.type == "cpu" else _forward_torch
        skeleton, saved = run(images, iterations, keep)
        if keep:
            ctx.save_for_backward(*saved)
        return skeleton.view(probabilities.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        images = gradient.flatten(0, 1).contiguous()
        run = _backward_cpu if images.device.type == "cpu" else _backward_torch
        return run(images, ctx.saved_tensors).view(gradient.shape), None


def _forward_cpu(images: Tensor, iterations: int, keep: bool) -> tuple[Tensor, tuple[Tensor, ...]]:
    from nnunet_topo.skeletons import soft_numba

    axes, skeleton = images.ndim - 1, torch.empty_like(images)
    sources, targets = _as_volumes(images, axes), _as_volumes(skeleton, axes)
    if not keep:
        _for_each(len(images), lambda i: soft_numba.forward_only(sources[i], axes, iterations, targets[i]))
        return skeleton, ()
    levels = images.new_empty(len(images), iterations + 2, *images.shape[1:])
    rest = torch.empty_like(images)
    stacks, rests = _as_volumes(levels, axes), _as_volumes(rest, axes)
    _for_each(len(images), lambda i: soft_numba.forward(sources[i], axes, stacks[i], targets[i], rests[i]))
    return skeleton, (levels, rest)


def _backward_cpu(gradient: Tensor, saved: tuple[Tensor, ...]) -> Tensor:
    from nnunet_topo.skeletons import soft_numba

    axes, result = gradient.ndim - 1, torch.empty_like(gradient)
    sources, levels, rests, targets = (_as_volumes(tensor, axes) for tensor in (gradient, *saved, result))

    def work(i: int) -> None:
        targets[i][...] = soft_numba.backward(sources[i], axes, levels[i], rests[i])

    _for_each(len(sources), work)
    return result


def _forward_torch(images: Tensor, iterations: int, keep: bool) -> tuple[Tensor, tuple[Tensor, ...]]:
    from nnunet_topo.skeletons import soft_torch

    parts = [soft_torch.forward(part, iterations, keep) for part in _parts(images)]
    saved = [tensor for _, levels, rest in parts if levels is not None for tensor in (levels, rest)]
    return torch.cat([skeleton for skeleton, _, _ in parts]), tuple(saved)


def _backward_torch(gradient: Tensor, saved: tuple[Tensor, ...]) -> Tensor:
    from nnunet_topo.skeletons import soft_torch

    pairs = zip(_parts(gradient), saved[::2], saved[1::2], strict=True)
    return torch.cat([soft_torch.backward(part, levels, rest) for part, levels, rest in pairs])


def _parts(images: Tensor) -> tuple[Tensor, ...]:
    return images.split(max(1, _VOXELS_AT_ONCE // images[0].numel()))


def _for_each(number: int, work: Callable[[int], Any]) -> list[Any]:
    """Call ``work`` for each image, in threads: the kernels do not hold the interpreter's lock."""
    threads = min(number, torch.get_num_threads())
    if threads == 1:
        return [work(i) for i in range(number)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, range(number)))


def _as_volumes(tensor: Tensor, axes: int) -> list[NDArray]:
    """One array a leading index, with spatial axes (Z, Y, X), Z = 1 for images of two axes."""
    array = tensor.detach().numpy()
    return list(array if axes == 3 else np.expand_dims(array, -3))


def _check(images: Tensor, iterations: int) -> None:
    if images.ndim not in (4, 5):
        raise ValueError(f"The soft skeleton needs shape (B, C, *S) with two or three spatial axes, got "
                         f"{tuple(images.shape)}.")
    if isinstance(iterations, bool) or not isinstance(iterations, int) or iterations < 0:
        raise ValueError(f"iterations must be an integer of at least 0, got {iterations!r}.")
