"""Persistence pairs of one padded image, as voxels: the steps that Betti matching takes for either of its images."""

from __future__ import annotations

import numpy as np

from nnunet_topo.homology._cavities import cavity_pairs
from nnunet_topo.homology._cells import ABSENT, fill_keys
from nnunet_topo.homology._components import component_pairs
from nnunet_topo.homology._loop_matching import loop_pairs
from nnunet_topo.homology._matching import prepare
from nnunet_topo.homology._voxels import voxels_of
from nnunet_topo.skeletons._jit import jit


@jit
def pairs_of(bits, shape, strides):  # type: ignore[no-untyped-def]
    """Voxels of births and of deaths, for each dimension, of an image given as bit patterns of float32.

    The shape has 0 in front in 2D. Tells first whether the image is finite; if it is not, there are no pairs.
    """
    size = (shape[0] + 2 if shape[0] > 0 else 1) * (shape[1] + 2) * (shape[2] + 2)
    ndim = len(strides)
    none = np.empty(0, np.int32)
    keys = np.empty(size, np.int32)
    finite, _, _ = fill_keys(bits, shape, keys)
    if not finite:  # nothing of this will be looked at
        keys[:] = ABSENT
    edges, walls, parent, top, top_parent = prepare(keys, strides)
    births_0, deaths_0 = component_pairs(keys, strides, parent, edges)
    births_n, deaths_n = cavity_pairs(keys, strides, top, top_parent, walls, top, none)
    components = voxels_of(births_0, 0, keys, shape, strides), voxels_of(deaths_0, 1, keys, shape, strides)
    cavities = voxels_of(births_n, ndim - 1, keys, shape, strides), voxels_of(deaths_n, ndim, keys, shape, strides)
    if len(strides) == 2:
        return finite, (components, cavities)
    else:
        births_1, deaths_1, _ = loop_pairs(keys, strides, edges, walls, edges[:0], False)
        loops = voxels_of(births_1, 1, keys, shape, strides), voxels_of(deaths_1, 2, keys, shape, strides)
        return finite, (components, loops, cavities)
