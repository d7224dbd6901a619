"""Vessels as tubes on a grid, painted so that the topology of what is there is known after every tube.

A tube is kept only if it changes the Euler characteristic as it should: by 1 for the root of a new tree, by 0 for a
branch that leaves its parent, by -1 for one that comes back to its own tree and so closes a loop. Excision makes this a
question about the bounding box of the tube alone, which makes growth fast. The same is asked of tubes thicker by
``CLEARANCE``, so that vessels keep apart, and under both connectivities, so that no two voxels that only touch at a
corner decide anything.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from nnunet_topo.homology.betti import euler_characteristic

CLEARANCE = 1.0  # voxels by which tubes are thickened when it is asked whether they touch
_EVERY = 4  # one centreline point in so many stands for its neighbours when distances are estimated

Floats = NDArray[np.float64]


@dataclass
class Branch:
    """A vessel between two bifurcations: centreline (N, D) and radii (N,) in voxels, and the number of its tree."""

    points: Floats
    radii: Floats
    tree: int
    is_terminal: bool = False


@dataclass
class Forest:
    """Trees on one grid; ``trees`` is 0 for background and elsewhere the number of the tree, from 1."""

    shape: tuple[int, ...]
    branches: list[Branch] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.trees = np.zeros(self.shape, dtype=np.uint8)
        self._thickened = np.zeros(self.shape, dtype=bool)

    def add(self, branch: Branch, *, change: int) -> bool:
        """Keep the branch if it changes the Euler characteristic by exactly ``change``; say whether it was kept."""
        box, tube = paint_tube(branch.points, branch.radii, self.shape)
        thick_box, thick_tube = paint_tube(branch.points, branch.radii + CLEARANCE, self.shape)
        thickened, trees = self._thickened[thick_box], self.trees[box]
        if not (_changes_by(change, thickened, thick_tube) and _changes_by(change, trees > 0, tube)):
            return False
        thickened |= thick_tube
        trees[tube & (trees == 0)] = branch.tree
        self.branches.append(branch)
        return True

    def clearance(self, points: Floats) -> Floats:
        """About how far, in voxels, each of ``points`` (N, D) is from the nearest vessel wall or from the border."""
        free = np.minimum(points, np.array(self.shape) - 1 - points).min(axis=1)
        if not self.branches:
            return free
        centres = np.concatenate([branch.points[::_EVERY] for branch in self.branches])
        radii = np.concatenate([branch.radii[::_EVERY] for branch in self.branches])
        return np.minimum(free, (cdist(points, centres) - radii).min(axis=1))


def paint_tube(points: Floats, radii: Floats, shape: tuple[int, ...]) -> tuple[tuple[slice, ...], NDArray[np.bool_]]:
    """Union of balls along a centreline (N, D), cut at the border: its box with a voxel to spare, and its mask."""
    reach = int(np.ceil(radii.max())) + 1
    low = np.maximum(np.floor(points.min(axis=0)).astype(int) - reach, 0)
    high = np.minimum(np.ceil(points.max(axis=0)).astype(int) + reach + 1, shape)
    mask = np.zeros(high - low, dtype=bool)

    offsets = np.indices((2 * reach + 1,) * points.shape[1]).reshape(points.shape[1], -1).T - reach
    nearest = np.rint(points).astype(int)
    voxels = nearest[:, None] + offsets
    squared = ((voxels - points[:, None]) ** 2).sum(axis=-1)
    voxels = voxels[squared <= radii[:, None] ** 2] - low
    voxels = voxels[((voxels >= 0) & (voxels < mask.shape)).all(axis=1)]
    mask[tuple(voxels.T)] = True
    return tuple(slice(a, b) for a, b in zip(low, high, strict=True)), mask


def _changes_by(change: int, present: NDArray[np.bool_], added: NDArray[np.bool_]) -> bool:
    joined = present | added
    return all(
        euler_characteristic(joined, connectivity) - euler_characteristic(present, connectivity) == change
        for connectivity in ("foreground", "background")
    )
