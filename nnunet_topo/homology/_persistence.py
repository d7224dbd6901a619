"""Persistence pairs of one padded image, as voxels: the steps that Betti matching takes for either of its images."""

from __future__ import annotations

import numpy as np

from nnunet_topo.homology._cavities import cavity_pairs
from nnunet_topo.homology._cells import ABSENT, image_of, keys_of, sorted_edges
from nnunet_topo.homology._components import component_pairs
from nnunet_topo.homology._loop_matching import loop_pairs
from nnunet_topo.homology._preparation import prepare
from nnunet_topo.homology._voxels import voxels_of
from nnunet_topo.kernels.jit import jit


@jit
def pairs_of(values, shape, strides, closed):  # type: ignore[no-untyped-def]
    """Voxels of births and of deaths, for each dimension, of an image given as its float32 values in a row.

    The shape has 0 in front in 2D. Tells first whether the image is finite; if it is not, there are no pairs.
    """
    ndim = len(strides)
    none = np.empty(0, np.int32)
    keys, finite, _, _ = keys_of(values, shape)
    if not finite:  # nothing of this will be looked at
        keys[:] = ABSENT
    image = image_of(keys, strides, closed)
    edges, walls, parent, top, top_parent = prepare(image, image, strides)
    births_n, deaths_n, rest = cavity_pairs(image, strides, top, top_parent, walls, top, none)
    order = rest if ndim == 2 else sorted_edges(image, strides, edges)
    births_0, deaths_0 = component_pairs(image, strides, parent, order, edges)
    components = voxels_of(births_0, 0, image, shape, strides), voxels_of(deaths_0, 1, image, shape, strides)
    cavities = voxels_of(births_n, ndim - 1, image, shape, strides), voxels_of(deaths_n, ndim, image, shape, strides)
    if len(strides) == 2:
        return finite, (components, cavities)
    else:
        births_1, deaths_1, _ = loop_pairs(image, strides, edges, rest, edges[:0], False)
        loops = voxels_of(births_1, 1, image, shape, strides), voxels_of(deaths_1, 2, image, shape, strides)
        return finite, (components, loops, cavities)
