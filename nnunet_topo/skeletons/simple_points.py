"""Simple points: foreground voxels whose deletion changes no component, no tunnel and no cavity.

A neighbourhood is a code with one bit for each neighbour that is foreground, in raster order (last axis fastest)
without the voxel itself: 26 bits in 3D, 8 bits in 2D. A table holds one bit a code. Two rules exist:

``"topological"``
    The definition (G. Bertrand and G. Malandain, "A new characterization of three-dimensional simple points", Pattern
    Recognition Letters 1994): one 26-component of foreground among the 26 neighbours, and one 6-component of background
    among the 18 neighbours that touches the voxel by a face. Exact: deleting such a voxel preserves topology with
    26-connected foreground and 6-connected background (8 and 4 in 2D).
``"euler"``
    The Euler characteristic stays the same (T. C. Lee, R. L. Kashyap and C. N. Chu, CVGIP 1994, without its second
    condition). This is necessary, not sufficient: 905,600 of the 2^26 neighbourhoods pass although the voxel is not
    simple, e.g. where one deletion breaks a part in two and opens a tunnel at once. Kept for comparison.

``python -m nnunet_topo.skeletons.simple_points`` writes the tables again, from these definitions.
"""

from __future__ import annotations

import itertools
import lzma
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.files import written_at_once

RULES = ("topological", "euler")
_OFFSETS = [offset for offset in itertools.product((-1, 0, 1), repeat=3) if any(offset)]


@cache
def simple_point_table(rule: str, axes: int) -> NDArray[np.uint8]:
    """The table of a rule, packed: bit ``code & 7`` of byte ``code >> 3``; 2^26 bits in 3D, 2^8 in 2D."""
    packed = (files("nnunet_topo.skeletons") / "tables" / f"{rule}.xz").read_bytes()
    table = np.frombuffer(lzma.decompress(packed), np.uint8)
    return table if axes == 3 else _plane(table)


def code_of(neighbourhood: NDArray[Any]) -> int:
    """Code of a neighbourhood of 3 x 3 or 3 x 3 x 3 voxels; its central voxel does not count."""
    bits = np.delete(np.asarray(neighbourhood, bool).ravel(), neighbourhood.size // 2)
    return int(bits @ (1 << np.arange(bits.size)))


@cache
def background_cells() -> tuple[list[int], list[int]]:
    """The 6 edges, 12 squares and 8 cubes that a voxel spans with its neighbours, with their signs in the Euler number.

    A cell is the mask of its neighbours' bits in a code.
    """
    masks = [_mask(lambda other, offset=offset: all(o in (0, c) for o, c in zip(other, offset, strict=True)))
             for offset in _OFFSETS]
    return masks, [-1 if sum(map(abs, offset)) == 2 else 1 for offset in _OFFSETS]


def _mask(condition: Any) -> int:
    return sum(1 << i for i, offset in enumerate(_OFFSETS) if condition(offset))


def _plane(table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The table of 2D neighbourhoods: those of 3D between two empty planes."""
    bits = [table[(code << 9) >> 3] >> (code << 9 & 7) & 1 for code in range(256)]
    return np.packbits(np.array(bits, np.uint8), bitorder="little")


def _write_tables(folder: Path) -> None:
    import numba

    cells = range(26)

    def distance(first: int, second: int) -> list[int]:
        return [abs(a - b) for a, b in zip(_OFFSETS[first], _OFFSETS[second], strict=True)]

    near_26 = np.array([sum(1 << j for j in cells if j != i and max(distance(i, j)) == 1) for i in cells], np.uint32)
    near_6 = np.array([sum(1 << j for j in cells if sum(distance(i, j)) == 1) for i in cells], np.uint32)
    faces = np.uint32(_mask(lambda offset: sum(map(abs, offset)) == 1))
    within_18 = np.uint32(_mask(lambda offset: sum(map(abs, offset)) <= 2))

    cells_of, signs = (np.array(numbers) for numbers in background_cells())
    cells_of = cells_of.astype(np.uint32)
    zero, one = np.uint32(0), np.uint32(1)

    @numba.njit
    def component(members: Any, seed: Any, near: Any) -> Any:
        found, front = seed, seed
        while front != zero:
            following = zero
            for i in range(26):
                if front >> np.uint32(i) & one:
                    following |= near[i]
            front = following & members & ~found
            found |= front
        return found

    @numba.njit
    def topological(code: Any) -> bool:
        if code == zero or component(code, code & (~code + one), near_26) != code:
            return False
        empty = ~code & within_18
        touching = empty & faces
        return touching != zero and touching & ~component(empty, touching & (~touching + one), near_6) == zero

    @numba.njit
    def euler(code: Any) -> bool:
        # cells of background that come into being around the voxel when it turns to background
        return np.sum(signs[~code & cells_of == cells_of]) == 1

    @numba.njit
    def table(rule: Any) -> Any:
        packed = np.zeros(2**23, np.uint8)
        for code in range(2**26):
            packed[code >> 3] |= np.uint8(rule(np.uint32(code))) << np.uint8(code & 7)
        return packed

    for name, rule in zip(RULES, (topological, euler), strict=True):
        with written_at_once(folder / f"{name}.xz") as temporary:
            Path(temporary).write_bytes(lzma.compress(table(rule).tobytes(), preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    _write_tables(Path(__file__).parent / "tables")
