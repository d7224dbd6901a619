"""The grids of voxels that files lie on, and whether two are the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Grid(NamedTuple):
    """Number of voxels along each axis; length of a voxel in mm, place and cosines where a file has them.

    Place and cosines have the file's order of axes; one slice of a volume keeps its three coordinates.
    """

    size: Sequence[int]
    spacing: Sequence[float] | None = None
    origin: Any = None
    direction: Any = None


def check_spacing(spacing: Sequence[float], axes: int) -> None:
    """Raise ValueError unless a spacing is one positive length in mm for each axis."""
    if len(spacing) != axes or not all(math.isfinite(size) and size > 0 for size in spacing):
        raise ValueError(f"The spacing must be {axes} positive lengths in mm, one for each axis of the masks in their "
                         f"order, not {tuple(spacing)}.")


def difference(one: Grid, two: Grid) -> str | None:
    """What differs, in words with both values, or None; None too for what one of them does not tell.

    A 2D file has no place in space, so it tells nothing of the place of one slice of a volume.

    Headers round to single precision or to a few decimals: spacings may differ by a ten-thousandth of the shortest edge
    of a voxel, origins by a hundredth of it, and cosines by 0.0001.
    """
    shortest = min(next((spacing for spacing in (one.spacing, two.spacing) if spacing is not None), [1.0]))
    for what, a, b, tolerance in (("shape", one.size, two.size, 0.0),
                                  ("spacing", one.spacing, two.spacing, 1e-4 * shortest),
                                  ("origin", one.origin, two.origin, 1e-2 * shortest),
                                  ("direction", one.direction, two.direction, 1e-4)):
        if a is None or b is None or (what in ("origin", "direction") and np.shape(a) != np.shape(b)):
            continue
        if len(a) != len(b) or not np.allclose(a, b, rtol=0, atol=tolerance):
            shown = (str(tuple(np.round(np.ravel(values), 6).tolist())) for values in (a, b))
            return f"{what}: {' and '.join(shown)}"
    return None
