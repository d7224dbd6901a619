"""Which settings are tried: a few rounds, each around the best of those before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nnunet_topo.postprocessing.choice import Table, Tolerances, within
from nnunet_topo.postprocessing.settings import Operations

TAUS = (0.4, 0.3, 0.2, 0.1, 0.05)
PEAKS = (0.7, 0.9)
SPECKS = {2: (10, 20, 50, 100, 200, 500, 1000), 3: (10, 30, 100, 300, 1000, 3000)}  # voxels
HOLES = {2: (10, 50, 100, 200, 500), 3: (10, 100, 1000)}
TUNNELS = (3, 10)

# Scores settings on every image and adds them to the table; the second argument is whether the metric may be replaced
# by the Betti error, which in 3D takes a fraction of the time.
Trial = Callable[[Sequence[Operations], bool], Table]


def search(
    trial: Trial, *, axes: int, voxel: float, probabilities: bool, pieces: int | None, tolerances: Tolerances
) -> Table:
    """Scores of all settings that were tried, by the settings.

    First gaps and specks together, in both orders, since specks that are bridged first need not be dropped; with the
    best of each tau holes; with the best of these highest probabilities, the number of pieces and, in 3D, tunnels.

    Args:
        trial: scores settings on every image.
        axes: of the images, 2 or 3.
        voxel: size of a voxel in mm2 or mm3; sizes that are tried are multiples of it.
        probabilities: whether there are any.
        pieces: the number of largest components that might be kept, or None.
        tolerances: of Dice and clDice.
    """
    sizes = [_rounded(voxels * voxel) for voxels in SPECKS[axes]]
    first = [Operations(), *(Operations(specks_smaller_than=size) for size in sizes)]
    for tau in TAUS if probabilities else ():
        first.append(Operations(gaps_tau=tau))
        first += [Operations(order=order, gaps_tau=tau, specks_smaller_than=size)
                  for size in sizes for order in ("gaps_first", "specks_first")]  # type: ignore[arg-type]
    screened = trial(first, axes == 3)
    with_gaps = _best_of_each_tau(screened, tolerances, both_orders=axes == 2)
    table = screened if axes == 2 else trial(with_gaps, False)
    trial([replace(operations, holes_smaller_than=_rounded(voxels * voxel)) for operations in with_gaps
           for voxels in HOLES[axes]], False)  # fmt: skip
    if probabilities:
        table = trial([replace(operations, specks_peak_below=peak) for operations in _best(table, tolerances, 3)
                       if operations.specks_smaller_than > 0 for peak in PEAKS], False)  # fmt: skip
    last = []
    for operations in _best(table, tolerances, 3 if axes == 2 else 2):
        if pieces is not None:
            last += [replace(operations, pieces=pieces), replace(operations, specks_smaller_than=0.0, pieces=pieces)]
        if axes == 3:
            last += [replace(operations, tunnels_smaller_than=_rounded(voxels * voxel)) for voxels in TUNNELS]
    return trial(last, False) if last else table


def _best_of_each_tau(table: Table, tolerances: Tolerances, *, both_orders: bool) -> list[Operations]:
    """For each tau, or each tau and order, the best settings, within the tolerances where there are any: what is filled
    or kept in a later round may bring back the others."""
    images = range(len(table[Operations()]))
    order = sorted(table, key=lambda operations: (not within(table, operations, tolerances, images),
                                                  _rank(table[operations])))  # fmt: skip
    kinds: dict[Any, Operations] = {}
    for operations in order:
        kinds.setdefault((operations.gaps_tau, both_orders and operations.order), operations)
    return list(dict.fromkeys([Operations(), *kinds.values()]))


def _best(table: Table, tolerances: Tolerances, count: int) -> list[Operations]:
    """Nothing, and the best settings within the tolerances, no two of the same scores."""
    images = range(len(table[Operations()]))
    different: dict[Any, Operations] = {}
    for operations in sorted(table, key=lambda operations: _rank(table[operations])):
        if len(different) < count and within(table, operations, tolerances, images):
            different.setdefault(tuple(table[operations]), operations)
    return list(dict.fromkeys([Operations(), *different.values()]))


def _rank(scores: Sequence[Any]) -> tuple[float, float]:
    return float(np.mean([score.error for score in scores])), float(np.mean([score.changed for score in scores]))


def _rounded(size: float) -> float:
    """To three digits, for files that people read; thresholds lie between whole numbers of voxels then."""
    return float(f"{size:.3g}")
