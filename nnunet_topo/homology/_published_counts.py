"""Numbers of matches of two masks as the authors' code has them, whose order of cells decides between equal values.

Foreground is 4- or 6-connected, background 8- or 26-connected. The matches of dimension k are the cells, one dimension
higher and outside the union of the masks, that end a class of both masks when they are added to the union in their
order (x, y, z, type). What has been added up to some cell is without homology of its own, so the classes that are ended
by then are those that can be pushed into it within the union, and no cell outside the union needs to be looked at:

* dimension 0: the cells join everything that they have reached to one piece, and components of the union end when
  they are reached. Each that holds voxels of both masks is a match, but the first if nothing of both was there before;
  it then is the one that never dies. Counting that one as matched too, as here, adds 1.
* top dimension, by duality: a bounded component of the background of a mask ends with its last voxel outside the
  union. A match is a voxel that is the last one for both masks.
* dimension 1 of a volume: classes of loops of the union, in the order in which its edges are reached; a match is one
  that leads a combination of loops of either mask.
"""

from __future__ import annotations

import cc3d
import numpy as np
from numpy.typing import NDArray

from nnunet_topo.homology._mask_pieces import last_voxels, shared_pieces

Mask = NDArray[np.bool_]


def matched_components(prediction: Mask, reference: Mask) -> int:
    """Matches of dimension 0 of two masks that are not empty, the component that never dies among them."""
    # The frame keeps cc3d from failing on isolated voxels of an axis of size 1 or 3.
    framed, count = cc3d.connected_components(
        np.pad(prediction | reference, 1),
        connectivity=4 if prediction.ndim == 2 else 6,
        return_N=True,
        out_dtype=np.uint32,
    )
    pieces = framed[(slice(1, -1),) * prediction.ndim]
    shape = (1,) * (3 - prediction.ndim) + prediction.shape
    shared, first = shared_pieces(pieces.ravel(), prediction.ravel(), reference.ravel(), shape, count)
    return int(shared) + int(max(first[0], first[1]) < first[2])


def matched_cavities(prediction: Mask, reference: Mask) -> int:
    """Matches of the top dimension: holes in 2D, cavities in 3D."""
    outside = np.pad(~(prediction | reference), 1, constant_values=True).ravel()
    ends = []
    for mask in (prediction, reference):
        background, count = cc3d.connected_components(
            ~np.pad(mask, 1), connectivity=8 if mask.ndim == 2 else 26, return_N=True, out_dtype=np.uint32
        )
        if count == 1:
            return 0
        last = last_voxels(background.ravel(), outside, count)
        last[background.flat[0]] = -1  # not bounded
        ends.append(last[last >= 0])
    return len(np.intersect1d(*ends))
