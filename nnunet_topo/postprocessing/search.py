"""Which settings are tried: all of gaps, specks and holes together, then what else may help the best of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from nnunet_topo.postprocessing.choice import Table, Tolerances, best
from nnunet_topo.postprocessing.settings import Operations

TAUS = (0.4, 0.3, 0.2, 0.1, 0.05)
PEAKS = (0.7, 0.9)
SPECKS = {2: (10, 20, 50, 100, 200, 500, 1000), 3: (10, 30, 100, 300, 1000, 3000)}  # voxels
HOLES = {2: (10, 20, 50, 100, 200, 500), 3: (10, 100, 1000)}
TUNNELS = (3, 10)
_BEST = 3  # settings to which peaks, a number of pieces and tunnels are added

Trial = Callable[[Sequence[Operations]], Table]  # scores settings on every image and adds them to the table


def search(
    trial: Trial, *, axes: int, voxel: float, probabilities: bool, pieces: int | None, tolerances: Tolerances
) -> Table:
    """Scores of all settings that were tried, by the settings.

    Gaps, specks and holes are tried in all combinations and both orders, for what one of them does depends on the
    others: specks that are bridged first need not be dropped, and bridges make holes. To the best few of these are
    added highest probabilities, the number of pieces and, in 3D, tunnels.

    Args:
        trial: scores settings on every image.
        axes: of the images, 2 or 3.
        voxel: size of a voxel in mm2 or mm3; sizes that are tried are multiples of it.
        probabilities: whether there are any.
        pieces: the number of largest components that might be kept, or None.
        tolerances: of Dice and clDice.
    """
    table = trial(combinations(axes, voxel, probabilities))
    start = list(dict.fromkeys([Operations(), *best(table, tolerances, _BEST)]))
    further = []
    if probabilities:
        further += [replace(operations, specks_peak_below=peak) for operations in start
                    if operations.specks_smaller_than > 0 for peak in PEAKS]  # fmt: skip
    if pieces is not None:
        further += [replace(operations, pieces=pieces, specks_smaller_than=size) for operations in start
                    for size in {operations.specks_smaller_than, 0.0}]  # fmt: skip
    if axes == 3:
        further += [replace(operations, tunnels_smaller_than=_rounded(voxels * voxel)) for operations in start
                    for voxels in TUNNELS]  # fmt: skip
    return trial(further) if further else table


def combinations(axes: int, voxel: float, probabilities: bool) -> list[Operations]:
    """All settings of gaps, specks and holes that are tried; the first does nothing."""
    specks, holes = ([0.0, *(_rounded(voxels * voxel) for voxels in sizes[axes])] for sizes in (SPECKS, HOLES))
    gaps_first = [Operations(gaps_tau=tau, specks_smaller_than=speck, holes_smaller_than=hole)
                  for tau in (0.5, *(TAUS if probabilities else ())) for speck in specks for hole in holes]
    return gaps_first + [replace(operations, order="specks_first") for operations in gaps_first
                         if operations.gaps_tau < 0.5 and operations.specks_smaller_than > 0]  # fmt: skip


def _rounded(size: float) -> float:
    """To three digits, for files that people read; thresholds lie between whole numbers of voxels then."""
    return float(f"{size:.3g}")
