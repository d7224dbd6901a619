"""Thin tunnels of a volume, closed by a plug of few voxels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import find_objects

from nnunet_topo.homology.betti import euler_characteristic
from nnunet_topo.postprocessing.components import Mask, components, enclosed_components, smaller, voxel_counts
from nnunet_topo.skeletons import thin


def plugs(mask: Mask, size: float, spacing: Sequence[float], allowed: Mask | None = None) -> Mask:
    """The voxels that close tunnels of a mask (Z, Y, X), each plug smaller than a size in mm3.

    The box around a component, thinned with the component's voxels as anchors, is the component with every tunnel
    closed by a surface of one voxel and every cavity filled (Z. Aktouf, G. Bertrand and L. Perroton, "A
    three-dimensional holes closing algorithm", Pattern Recognition Letters 23, 2002). Of these surfaces the small ones
    that lie in no cavity, touch no other component and close at least one tunnel are taken. They change no other Betti
    number: they join nothing, and what they could cut off from the outside would be a cavity already.
    """
    result = np.zeros(mask.shape, np.bool_)
    outside = enclosed_components(mask)[0] == 0  # cavities are not tunnels
    allowed = outside if allowed is None else outside & allowed
    labels, count = components(mask)
    for label, place in enumerate(find_objects(labels.astype(np.int32, copy=False), count), start=1):
        piece = labels[place] == label
        if (min(piece.shape) == 1 and sorted(piece.shape)[1] < 3) or piece.all():
            continue  # too small for a tunnel
        hull = thin(np.ones(piece.shape, np.bool_), anchors=piece, keep_end_points=False)
        candidates, number = components(hull & ~piece)
        small = smaller(voxel_counts(candidates, number), size, spacing)
        corner = [side.start for side in place]
        for plug, within in enumerate(find_objects(candidates.astype(np.int32, copy=False), number), start=1):
            if not small[plug]:
                continue
            whole = tuple(slice(start + side.start, start + side.stop)
                          for start, side in zip(corner, within, strict=True))
            around = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in whole)
            added = np.zeros(mask[around].shape, np.bool_)
            inner = tuple(slice(side.start - outer.start, side.stop - outer.start)
                          for side, outer in zip(whole, around, strict=True))
            added[inner] = candidates[within] == plug
            if _closes_tunnels_only(mask[around], labels[around], label, added, allowed[around]):
                result[around] |= added
    return result


def _closes_tunnels_only(mask, labels, label, added, allowed) -> bool:  # type: ignore[no-untyped-def]
    if not allowed[added].all():
        return False
    near = np.zeros(added.shape, np.bool_)
    for voxel in np.argwhere(added):
        near[tuple(slice(max(at - 1, 0), at + 2) for at in voxel)] = True
    if ((labels != label) & mask & near).any():
        return False
    return euler_characteristic(mask | added) > euler_characteristic(mask)
