"""Which implementation of the skeletons runs on a device: kernels in Triton on CUDA, torch operations elsewhere.

Triton compiles a kernel when it is first used, which needs a C compiler, and supports neither every GPU nor every
system. So once for each device the kernels are tried and compared with the torch operations. Where they fail a warning
says so, and the torch operations, which are several times slower, do the work.
"""

from __future__ import annotations

import warnings
from functools import cache
from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor

from nnunet_topo.skeletons import soft_torch, thinning_torch

FIX = "see that gcc and python3-dev are installed and that Triton fits torch"
_LARGEST = 2**31 - 2**16  # voxels of one image that the kernels can count


def soft_backend(images: Tensor) -> ModuleType:
    """The module that has ``forward`` and ``backward`` of the soft skeleton for images (..., *S) of this device."""
    if not _in_triton(images):
        return soft_torch
    from nnunet_topo.skeletons import soft_triton

    return soft_triton


def thinning_backend(images: Tensor) -> ModuleType:
    """The module that has ``thin`` for images (N, *S) of this device."""
    if not _in_triton(images):
        return thinning_torch
    from nnunet_topo.skeletons import thinning_triton

    return thinning_triton


def _in_triton(images: Tensor) -> bool:
    return images.device.type == "cuda" and why_not_triton(images.device) == "" and images[0].numel() < _LARGEST


@cache
def why_not_triton(device: torch.device) -> str:
    """Empty where Triton's kernels run on a CUDA device and agree with the torch operations, else the reason."""
    if find_spec("triton") is None:
        return "Triton is not installed"
    try:
        from nnunet_topo.skeletons import soft_triton, thinning_triton

        reason = disagreement(device, soft_triton, thinning_triton)
    except Exception as error:  # of the compiler, the driver, or Triton: anything
        reason = f"{type(error).__name__}: {error}"
    if reason:
        warnings.warn(f"Triton's kernels do not run on {device} ({reason}). Skeletons are computed by torch operations "
                      "instead, with the same results, several times slower. nnU-Net's torch.compile needs Triton too: "
                      f"{FIX}.", stacklevel=2)
    return reason


def disagreement(device: torch.device, soft: ModuleType, thinning: ModuleType) -> str:
    """Which results of two modules differ from those of the torch operations, for a small case; empty if none."""
    for size in ((2, 9, 10), (1, 5, 6, 7)):
        random = torch.Generator().manual_seed(0)
        images, gradients = torch.rand(2, *size, generator=random).to(device)
        (*forward, gradient), (*wanted, wanted_gradient) = (_soft(module, images, gradients)
                                                            for module in (soft, soft_torch))
        thinned, wanted_thinned = (module.thin(images > 0.3, "topological", None, images > 0.9)
                                   for module in (thinning, thinning_torch))
        axes = f"in {len(size) - 1}D"
        if not all(map(torch.equal, forward, wanted)):
            return f"another soft skeleton {axes}"
        if not torch.allclose(gradient, wanted_gradient, rtol=1e-5, atol=1e-6):
            return f"another gradient of the soft skeleton {axes}"
        if not torch.equal(thinned, wanted_thinned):
            return f"another thinning {axes}"
    return ""


def _soft(module: ModuleType, images: Tensor, gradients: Tensor, iterations: int = 2) -> tuple[Tensor, ...]:
    """Skeleton, levels, rest and gradient."""
    skeleton, rest, gradient = (torch.empty_like(images) for _ in range(3))
    levels = images.new_empty(len(images), iterations + 1, *images.shape[1:])
    module.forward(images, levels, skeleton, rest, iterations)
    module.backward(images, levels, rest, gradients, gradient)
    return skeleton, levels, rest, gradient
