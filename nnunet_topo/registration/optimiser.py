"""Minimisation of a differentiable function of a parameter vector, and what its curvature says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor
from tqdm import tqdm

Loss = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Minimum:
    """Where the search ended: parameters, loss, the loss after each iteration, and whether it came to rest."""

    parameters: NDArray[np.float64]
    loss: float
    history: list[float]
    converged: bool


def minimise(
    loss: Loss, start: NDArray[np.float64], *, iterations: int, tolerance: float,
    device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32,
) -> Minimum:
    """Minimise by L-BFGS (scipy's, with gradients from torch) until the loss falls by less than a relative tolerance.

    Deterministic. The search works in double precision on the host, the loss in ``dtype`` on ``device``.
    """
    history: list[float] = []
    value_of = _with_gradient(loss, device, dtype)

    def remember(intermediate_result: object) -> None:
        history.append(float(intermediate_result.fun))  # type: ignore[attr-defined]

    found = minimize(value_of, start, jac=True, method="L-BFGS-B", callback=remember,
                     options={"maxiter": iterations, "ftol": tolerance, "gtol": 1e-8, "maxls": 20})
    # status 2 is a line search that finds nothing lower, which in single precision is how a minimum ends
    return Minimum(found.x, float(found.fun), history, found.status != 1)


def curvature(
    loss: Loss, parameters: NDArray[np.float64], *, step: float = 0.1, device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> NDArray[np.float64]:
    """The Hessian (P, P) by central differences of gradients; parameters are lengths, so that its entries compare."""
    value_of = _with_gradient(loss, device, dtype)
    rows = []
    for unit in np.eye(len(parameters)):
        rows.append((value_of(parameters + step * unit)[1] - value_of(parameters - step * unit)[1]) / (2 * step))
    hessian = np.array(rows)
    return (hessian + hessian.T) / 2


def _with_gradient(
    loss: Loss, device: torch.device | str, dtype: torch.dtype
) -> Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]]:
    def value_of(vector: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        parameters = torch.tensor(vector, dtype=dtype, device=device, requires_grad=True)
        value = loss(parameters)
        value.backward()
        assert parameters.grad is not None
        return value.item(), parameters.grad.double().cpu().numpy()

    return value_of


def descend(
    loss: Loss, start: NDArray[np.float64], *, iterations: int, rate_mm: float, device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32, progress: bool = False,
) -> Minimum:
    """A number of steps by Adam, for losses with jumps, at which a line search would stop; the lowest one is kept."""
    parameters = torch.tensor(start, dtype=dtype, device=device, requires_grad=True)
    optimiser = torch.optim.Adam([parameters], lr=rate_mm)
    history: list[float] = []
    best, lowest = start, np.inf
    for _ in tqdm(range(iterations), desc="Skeleton of the moved map", unit="step", disable=not progress):
        optimiser.zero_grad()
        value = loss(parameters)
        history.append(value.item())
        if history[-1] < lowest:
            best, lowest = parameters.detach().double().cpu().numpy(), history[-1]
        value.backward()
        optimiser.step()
    return Minimum(best, lowest, history, True)
