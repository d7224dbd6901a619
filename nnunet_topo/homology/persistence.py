"""Persistence of one image: where its components, loops and cavities are born and where they die, exactly.

H. Edelsbrunner, D. Letscher, A. Zomorodian, "Topological persistence and simplification", Discrete & Computational
Geometry 28, 2002. The image is filtered by falling value, in the complex of either connectivity, as in
:func:`nnunet_topo.homology.betti_matching`, of whose steps these are some.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnunet_topo.homology.image_matching import Image, Pairs, as_float32, make_pairs
from nnunet_topo.homology.masks import Connectivity, check_connectivity


@dataclass(frozen=True)
class Persistence:
    """Features of an image by dimension, all of which are of positive length.

    ``essential`` is the index, in the flattened image, of the voxel at which the component that never dies is born; it
    is not among the pairs.
    """

    shape: tuple[int, ...]
    dimensions: tuple[Pairs, ...]
    essential: int

    def __getitem__(self, dimension: int) -> Pairs:
        return self.dimensions[dimension]

    def __len__(self) -> int:
        return len(self.dimensions)


def persistence_pairs(image: Image, connectivity: Connectivity = "foreground") -> Persistence:
    """Persistence of an image, a numpy array or tensor (*S) of two or three axes.

    Values are foreground probabilities or any other finite numbers, ordered as they are in float32; a mask may be
    boolean or hold the integers 0 and 1. ``connectivity`` names the side that is connected across corners. There are
    components (0) and holes (1) in 2D; components, loops (1) and cavities (2) in 3D. The first call on a machine
    compiles for some seconds; the result is kept on disk. No gradient runs through it: gather the image at the voxels
    that it names. Raises ValueError for other numbers of axes, no voxel at all, integers other than 0 and 1, NaN and
    infinity; TypeError for anything else than real numbers.
    """
    check_connectivity(connectivity)
    values = as_float32(image, "image of a persistence diagram")
    from nnunet_topo.homology._cells import CLOSED  # numba is only needed from here on
    from nnunet_topo.homology._persistence import pairs_of

    shape = (*(0,) * (3 - values.ndim), *values.shape)
    padded = [size + 2 for size in values.shape]
    strides = tuple(int(np.prod(padded[axis + 1 :])) for axis in range(values.ndim))
    finite, dimensions = pairs_of(values.ravel(), shape, strides, CLOSED[connectivity])
    if not finite:
        count = np.count_nonzero(~np.isfinite(values))
        raise ValueError(f"The image of a persistence diagram must be finite; {count} of its voxels are not.")
    return Persistence(
        values.shape,
        tuple(make_pairs(values, births, deaths) for births, deaths in dimensions),
        int(values.argmax()),
    )
