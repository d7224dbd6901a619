"""The differentiable skeleton that keeps topology.

M. Menten et al., "A skeletonization algorithm for gradient-based optimization", ICCV 2023. A probability map is turned
into a random binary sample by the reparametrisation trick, with u uniform in (0, 1)::

    q = sigmoid((log(p / (1 - p)) + beta * noise) / tau)      noise = log(u / (1 - u)), logistic
    sample = 1 where q > 1/2, else 0; to the backward pass it looks like q

and the sample is thinned (:mod:`nnunet_topo.skeletons.thinning`). A voxel that thinning deletes has no gradient, all
others pass theirs on to q. Which voxels these are and dq/dp are known in the forward pass: their product, one number a
voxel, is all that is kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nnunet_topo.skeletons.checks import checked_probabilities
from nnunet_topo.skeletons.reference_gradient import Pullback, thin_with_reference_gradient
from nnunet_topo.skeletons.specks import without_specks
from nnunet_topo.skeletons.thinning import check_options, thin_tensor

GRADIENTS = ("straight_through", "reference")
_EPSILON = 1e-8  # the published bound of probabilities and of uniform noise


class TopologicalSkeleton(nn.Module):
    """Differentiable skeleton with the topology of the binarised map, called as ``skeleton(probabilities)``.

    Args of a call:
        probabilities: (B, C, *S) in [0, 1], 2D or 3D, of any size. Half precision is raised to float32 first.
        noise: logistic noise (B, C, *S), or (samples, B, C, *S), in place of noise drawn here.
        generator: source of the noise, for repeatable results; must be on the probabilities' device.

    Returns (B, C, *S): 0 and 1 for one sample, their mean for several.

    Args:
        iterations: of the thinning, or None until nothing changes. Too few leave thick parts; None never does.
        beta: strength of the noise; 0 binarises at 1/2 without noise, and passes gradients on as they are.
        tau: temperature of q.
        simple_points: "topological", or "euler", with which the published code can run but which breaks topology in 3D.
        gradient: "straight_through" passes on the gradient of all voxels but the deleted ones. "reference" is that of
            the published code under autograd, whose minimum halves the gradient wherever its arguments tie: in every
            iteration for skeleton voxels (1/32 is left after 5) and for some of the background; it needs a number of
            iterations and a dense algorithm, and keeps an image for each iteration.
        samples: number of samples whose skeletons are averaged.
        suppress_specks: take out what noise alone makes: components of the sample without a voxel of p > 1/2, and
            cavities (in 2D: holes) without one of p <= 1/2. With p = 0.05 everywhere, 128^3 voxels hold some 280 such
            specks, and thinning must keep each of them.
        border: "anchored" or "background", see :func:`nnunet_topo.skeletons.thin`. Anchored, a vessel that leaves the
            patch has a skeleton up to the patch's border.

    The defaults differ from the published code (:meth:`reference`) in the gradient, the specks and the border.
    """

    def __init__(
        self,
        iterations: int | None = None,
        beta: float = 0.33,
        tau: float = 1.0,
        simple_points: str = "topological",
        gradient: str = "straight_through",
        *,
        samples: int = 1,
        suppress_specks: bool = True,
        border: str = "anchored",
    ) -> None:
        super().__init__()
        check_options(iterations, simple_points, border)
        if not beta >= 0:
            raise ValueError(f"beta, the strength of the noise, must be at least 0, got {beta}.")
        if not tau > 0:
            raise ValueError(f"tau, the temperature, must be greater than 0, got {tau}.")
        if gradient not in GRADIENTS:
            raise ValueError(f"gradient must be one of {GRADIENTS}, got {gradient!r}.")
        if gradient == "reference" and iterations is None:
            raise ValueError("gradient='reference' needs a number of iterations, which it halves gradients for.")
        if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
            raise ValueError(f"samples must be an integer of at least 1, got {samples!r}.")
        if beta == 0 and samples > 1:
            raise ValueError(f"Without noise (beta=0) all samples are the same; samples must be 1, got {samples}.")
        self.iterations = iterations
        self.beta = beta
        self.tau = tau
        self.simple_points = simple_points
        self.gradient = gradient
        self.samples = samples
        self.suppress_specks = suppress_specks
        self.border = border

    @classmethod
    def reference(cls, iterations: int = 5, simple_points: str = "topological") -> TopologicalSkeleton:
        """The published form: gradients halved by ties, specks kept, background around the image."""
        return cls(iterations, simple_points=simple_points, gradient="reference", suppress_specks=False,
                   border="background")

    def forward(
        self, probabilities: Tensor, noise: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        p = checked_probabilities(probabilities, "topological skeleton")
        noises = self._noises(p, noise)
        if p.numel() == 0:
            return p.clone()
        needs_gradient = torch.is_grad_enabled() and p.requires_grad
        with torch.no_grad():
            parts = [self._one(p, noise, generator, needs_gradient) for noise in noises]
            if not needs_gradient or self.gradient == "straight_through":
                skeleton = _mean([part[0] for part in parts])
                slope = _mean([part[1] for part in parts]) if needs_gradient else None
        if not needs_gradient:
            return skeleton
        if self.gradient == "straight_through":
            return _Passing.apply(p, skeleton, slope, None)
        return _mean([_Passing.apply(p, *part) for part in parts])

    def extra_repr(self) -> str:
        return (f"iterations={self.iterations}, beta={self.beta}, tau={self.tau}, "
                f"simple_points={self.simple_points!r}, gradient={self.gradient!r}, samples={self.samples}, "
                f"suppress_specks={self.suppress_specks}, border={self.border!r}")

    def _noises(self, p: Tensor, noise: Tensor | None) -> list[Tensor | None]:
        if noise is None:
            return [None] * self.samples
        if self.beta == 0:
            raise ValueError("noise was given, but beta=0 switches noise off. Set beta, e.g. 0.33.")
        wanted = (self.samples, *p.shape)
        if noise.shape == p.shape and self.samples == 1:
            noise = noise[None]
        if noise.shape != wanted:
            raise ValueError(f"noise must be logistic noise of shape {wanted}"
                             + (f" or {tuple(p.shape)}" if self.samples == 1 else "") + f", got {tuple(noise.shape)}.")
        return list(noise.to(p.dtype))

    def _one(
        self, p: Tensor, noise: Tensor | None, generator: torch.Generator | None, needs_gradient: bool
    ) -> tuple[Tensor, Tensor, Pullback | None]:
        """Skeleton of one sample, what each voxel's gradient is multiplied with, and a linear map to go before."""
        certain = p > 0.5
        if self.beta == 0:
            sample, slope = certain, torch.ones_like(p) if needs_gradient else p
        else:
            sample, slope = _sample(p, _logistic(p, generator) if noise is None else noise, self.beta, self.tau,
                                    needs_gradient)
            if self.suppress_specks:
                sample = without_specks(sample, certain)
        if needs_gradient and self.gradient == "reference" and self.iterations is not None:
            skeleton, pullback = thin_with_reference_gradient(sample, self.iterations, self.simple_points, self.border)
            return skeleton.to(p.dtype), slope, pullback
        skeleton = thin_tensor(sample, self.iterations, self.simple_points, self.border)
        if needs_gradient:
            slope *= skeleton == sample  # unless deleted
        return skeleton.to(p.dtype), slope, None


class _Passing(torch.autograd.Function):
    """The skeleton in the forward pass; in the backward pass a linear map, if any, and a factor a voxel."""

    @staticmethod
    def forward(ctx: Any, probabilities: Tensor, skeleton: Tensor, slope: Tensor, pullback: Pullback | None) -> Tensor:
        ctx.save_for_backward(slope)
        ctx.pullback = pullback
        return skeleton

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (slope,) = ctx.saved_tensors
        if ctx.pullback is not None:
            gradient = ctx.pullback(gradient)
        return gradient * slope, None, None, None


def _mean(tensors: list[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.stack(tensors).mean(0)


def _logistic(like: Tensor, generator: torch.Generator | None) -> Tensor:
    u = torch.empty_like(like, memory_format=torch.contiguous_format)
    return u.uniform_(_EPSILON, 1 - _EPSILON, generator=generator).logit_()


def _sample(
    p: Tensor, noise: Tensor, beta: float, tau: float, needs_gradient: bool
) -> tuple[Tensor, Tensor]:
    """The binary sample, and where it is needed dq/dp = q (1 - q) / tau * (1 / (p + e) + 1 / (1 - p + e))."""
    above, below = p + _EPSILON, 1 - p + _EPSILON
    z = (above / below).log_().add_(noise, alpha=beta).div_(tau)
    sample = z > 0
    if not needs_gradient:
        return sample, p
    slope = z.abs_().neg_().sigmoid_()  # the smaller one of q and 1 - q, without cancellation
    slope.mul_(1 - slope)
    return sample, slope.mul_((1 + 2 * _EPSILON) / tau).div_(above.mul_(below))
