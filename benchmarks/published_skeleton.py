"""The published differentiable skeletonization in plain torch: what our fast version is measured against.

M. J. Menten et al., "A skeletonization algorithm for gradient-based optimization", ICCV 2023 (arXiv 2309.02527),
written again from its mathematics. As in the authors' code, every test is a dense convolution or pooling of stride 2 on
the whole image, for each of the eight subfields of each iteration, all of it recorded by autograd; nothing here knows
how much foreground there is. A 2D image is a volume of one slice. Values and gradients are those of the authors' code,
also where the gradient is an artefact: ties of the minimum halve it, and see ``_euler_simple``.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

_PAD = (1,) * 6
_OFFSETS = torch.tensor(list(itertools.product((-1, 0, 1), repeat=3))).view(3, 3, 3, 3)  # of a voxel's 27 cells
_DISTANCE = _OFFSETS.abs().sum(-1)  # 1 at the 6 neighbours, 2 at the edges, 3 at the corners


def published_skeleton(
    image: Tensor, *, iterations: int, simple_points: str = "topological", stacked: bool = False
) -> Tensor:
    """The skeleton, {0, 1} of the same shape, of an image (B, 1, *S) of the values 0 and 1, outside of which is 0.

    Exactly ``iterations`` rounds, converged or not; an image without foreground comes back as it is. As in the authors'
    code, the topological rule convolves with one kernel at a time; ``stacked`` convolves with all orientations of a
    cell at once, which gives the same results in less time and is not what the authors do.
    """
    _check(image, simple_points)
    if bool(((image != 0) & (image != 1)).any()):
        raise ValueError("The image holds values other than 0 and 1; use published_probabilistic_skeleton for those.")
    rule = _RULES[simple_points](image.device, stacked)
    neighbours = _neighbours(3, image.device)
    volume = F.pad(image if image.ndim == 5 else image.unsqueeze(2), _PAD)
    for _ in range(iterations):
        movable = 1 - _at_most_one(F.conv3d(F.pad(volume, _PAD), neighbours))  # 0 at end points, for the whole round
        for x, y, z in itertools.product((0, 1), repeat=3):  # parities in the padded volume, its first axis fastest
            subfield = (..., slice(z, None, 2), slice(y, None, 2), slice(x, None, 2))
            simple = rule(F.pad(volume[..., z:, y:, x:], _PAD))
            volume[subfield] = torch.min(volume[subfield].clone(), 1 - simple * movable[subfield])
    return volume[..., 1:-1, 1:-1, 1:-1].reshape(image.shape)


def published_probabilistic_skeleton(
    probabilities: Tensor, *, iterations: int, simple_points: str = "topological", beta: float = 0.33,
    tau: float = 1.0, uniform: Tensor | None = None,
) -> Tensor:
    """The skeleton of a random binary image (B, 1, *S) with the given probabilities, straight through to them.

    ``uniform`` is the noise in (0, 1), of the same shape, drawn here if None; ``beta`` scales its logit and ``tau`` is
    the temperature of the relaxed binary variable.
    """
    _check(probabilities, simple_points)
    if uniform is None:
        uniform = torch.empty_like(probabilities).uniform_(1e-8, 1 - 1e-8)
    if uniform.shape != probabilities.shape:
        raise ValueError(f"The noise has shape {tuple(uniform.shape)}; it must be that of the probabilities, "
                         f"{tuple(probabilities.shape)}.")
    odds = (probabilities + 1e-8) / (1.0 - probabilities + 1e-8)
    noise = torch.log(uniform) - torch.log(1 - uniform)
    relaxed = torch.sigmoid((torch.log(odds) + noise * beta) / tau)
    return published_skeleton(_straight_through(relaxed), iterations=iterations, simple_points=simple_points)


def _check(image: Tensor, simple_points: str) -> None:
    if image.ndim not in (4, 5) or image.shape[1] != 1 or image.dtype != torch.float32:
        raise ValueError(f"An image of type float32 and shape (B, 1, H, W) or (B, 1, D, H, W) is needed, "
                         f"not one of type {image.dtype} and shape {tuple(image.shape)}.")
    if simple_points not in _RULES:
        raise ValueError(f"simple_points is {simple_points!r}; it must be one of {', '.join(_RULES)}.")


def _straight_through(soft: Tensor) -> Tensor:
    return (soft.detach() > 0.5).float() - soft.detach() + soft


def _at_most_one(count: Tensor) -> Tensor:
    return F.hardtanh(2 - count, 0, 1)


def _exactly_one(count: Tensor) -> Tensor:
    return F.hardtanh(count, 0, 1) * _at_most_one(count)


def _none(count: Tensor) -> Tensor:
    return F.hardtanh(1 - count, 0, 1)


def _topological_simple(device: torch.device, stacked: bool) -> Callable[[Tensor], Tensor]:
    """G. Bertrand, "A Boolean characterization of three-dimensional simple points", Pattern Recognition Letters 1996.

    A cell is a set of neighbours with given values; a18, a26, b18, b26 and a6 are the paper's, in all orientations.
    """
    n6, n18, n26 = (_neighbours(distance, device) for distance in (1, 2, 3))

    def cell(ones: Tensor, zeros: Tensor) -> tuple[Tensor, ...]:
        kernels = _orientations(ones, zeros).to(device)
        return kernels.split(len(kernels) if stacked else 1)

    a, b, c = _OFFSETS.unbind(-1)
    nowhere, around = _DISTANCE > 3, _DISTANCE > 0
    quarter, octant = around & (a <= 0) & (b <= 0), around & (a <= 0) & (b <= 0) & (c <= 0)
    edge, corner = octant & (_DISTANCE == 2) & (c == 0), octant & (_DISTANCE == 3)
    a6 = cell(ones=(a == -1) & (_DISTANCE == 2), zeros=(a == -1) & (_DISTANCE == 1))
    a18 = cell(ones=nowhere, zeros=octant & (c == 0))
    a26 = cell(ones=nowhere, zeros=octant)
    b18 = cell(ones=edge, zeros=quarter & (_DISTANCE <= 2) & ~edge)
    b26 = cell(ones=corner, zeros=octant & ~corner)

    def simple(image: Tensor) -> Tensor:
        signs = 2.0 * image - 1.0
        zeros6 = F.conv3d(1 - image, n6, stride=2)
        no_b26 = _none(_count(signs, b26))
        conditions = (
            _exactly_one(zeros6),
            _exactly_one(F.conv3d(image, n26, stride=2)),
            _exactly_one(F.conv3d(image, n18, stride=2)) * no_b26,
            _exactly_one(zeros6 - _count(signs, a18) + _count(signs, a26))
            * _none(_count(signs, a6)) * _none(_count(signs, b18)) * no_b26,
        )
        return torch.amax(torch.cat(conditions, dim=1), dim=1, keepdim=True)

    return simple


def _neighbours(distance: int, device: torch.device) -> Tensor:
    return ((_DISTANCE > 0) & (_DISTANCE <= distance)).float().view(1, 1, 3, 3, 3).to(device)


def _orientations(ones: Tensor, zeros: Tensor) -> Tensor:
    """Kernels (N, 1, 3, 3, 3) of a cell in its N rotations and reflections: +1 at its ones, -1 at its zeros."""
    cell = ones.float() - zeros.float()
    flips = [axes for n in range(4) for axes in itertools.combinations(range(3), n)]
    images = [cell.permute(axes).flip(flip) for axes in itertools.permutations(range(3)) for flip in flips]
    return torch.stack(images).unique(dim=0).unsqueeze(1)


def _count(signs: Tensor, kernels: tuple[Tensor, ...]) -> Tensor:
    """How many of the cells are there: where all n signs agree, the sum is n, elsewhere at most n - 2."""
    biases = [1 - kernel.abs().sum(dim=(1, 2, 3, 4)) for kernel in kernels]
    present = [F.relu(F.conv3d(signs, *both, stride=2)) for both in zip(kernels, biases, strict=True)]
    return torch.cat(present, dim=1).sum(1, keepdim=True)


def _euler_simple(device: torch.device, _stacked: bool) -> Callable[[Tensor], Tensor]:
    """S. Lobregt et al., IEEE TPAMI 1980: the background's Euler characteristic stays when the voxel turns to it.

    Its gradient is an artefact of rounding: where 15 of 27 vertices are background, their average times 27 is
    15 + 2^-20 in float32. Only then is the change of the characteristic no whole number, and has hardtanh a slope.
    """
    shapes = sorted(itertools.product((1, 2), repeat=3), key=sum)  # a vertex, 3 edges, 3 squares, a cube
    cells = [((-1) ** shape.count(2), torch.full((1, 1, *shape), 0.5, device=device)) for shape in shapes]

    def characteristic(image: Tensor) -> Tensor:
        signs = 1.0 - 2.0 * image
        terms = [sign * _count_around(signs, cell) for sign, cell in cells]
        return functools.reduce(torch.add, terms)  # one by one, vertices first: other orders may round 2^-20 away

    def simple(image: Tensor) -> Tensor:
        others = torch.ones_like(image)
        others[..., 1::2, 1::2, 1::2] = 0
        change = characteristic(image * others) - characteristic(image)
        return _straight_through(1 - F.hardtanh(change.abs(), 0, 1))

    return simple


def _count_around(signs: Tensor, cell: Tensor) -> Tensor:
    """How many cells of background lie in the neighbourhood of each voxel of the subfield."""
    present = F.relu(F.conv3d(signs, cell, (1 - cell.sum()).view(1)))
    window = [4 - length for length in cell.shape[2:]]
    return F.avg_pool3d(present, window, stride=2) * math.prod(window)


_RULES = {"topological": _topological_simple, "euler": _euler_simple}
