"""Persistence pairs of one padded image, as voxels: the steps that Betti matching takes for either of its images."""

from __future__ import annotations

import numpy as np

from nnunet_topo.homology._cavities import cavity_pairs
from nnunet_topo.homology._cells import ABSENT, keys_of, sorted_edges
from nnunet_topo.homology._components import component_pairs
from nnunet_topo.homology._loop_matching import loop_pairs
from nnunet_topo.homology._preparation import prepare
from nnunet_topo.homology._voxels import voxels_of
from nnunet_topo.skeletons._jit import jit


@jit
def pairs_of(image, shape, strides):  # type: ignore[no-untyped-def]
    """Voxels of births and of deaths, for each dimension, of an image given as its float32 values in a row.

    The shape has 0 in front in 2D. Tells first whether the image is finite; if it is not, there are no pairs.
    """
    ndim = len(strides)
    none = np.empty(0, np.int32)
    keys, finite, _, _ = keys_of(image, shape)
    if not finite:  # nothing of this will be looked at
        keys[:] = ABSENT
    edges, walls, parent, top, top_parent = prepare(keys, keys, strides)
    births_n, deaths_n, rest = cavity_pairs(keys, strides, top, top_parent, walls, top, none)
    order = rest if ndim == 2 else sorted_edges(keys, strides, edges)
    births_0, deaths_0 = component_pairs(keys, strides, parent, order, edges)
    components = voxels_of(births_0, 0, keys, shape, strides), voxels_of(deaths_0, 1, keys, shape, strides)
    cavities = voxels_of(births_n, ndim - 1, keys, shape, strides), voxels_of(deaths_n, ndim, keys, shape, strides)
    if len(strides) == 2:
        return finite, (components, cavities)
    else:
        births_1, deaths_1, _ = loop_pairs(keys, strides, edges, rest, edges[:0], False)
        loops = voxels_of(births_1, 1, keys, shape, strides), voxels_of(deaths_1, 2, keys, shape, strides)
        return finite, (components, loops, cavities)
