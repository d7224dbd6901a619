"""Topology-preserving thinning of binary masks.

The parallel algorithm of M. Menten et al., "A skeletonization algorithm for gradient-based optimization", ICCV 2023,
which goes back to G. Bertrand and Z. Aktouf, "A three-dimensional thinning algorithm using subfields", 1994. In each
iteration the voxels of the eight subfields of a volume (four of an image), by the parity of their indices, are looked
at in turn. All simple points of a subfield that are not end points are deleted at once: two voxels of one subfield are
never neighbours, so that deleting both is as safe as deleting one after the other. End points, which have at most one
neighbour when an iteration starts, stay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnunet_topo.kernels.threads import over_threads
from nnunet_topo.skeletons import thinning_torch
from nnunet_topo.skeletons._device import thinning_backend
from nnunet_topo.skeletons.simple_points import RULES, simple_point_table

BORDERS = ("background", "anchored")
Mask = TypeVar("Mask", Tensor, NDArray[Any])


def thin(
    mask: Mask,
    iterations: int | None = None,
    simple_points: str = "topological",
    *,
    border: str = "background",
    anchors: Mask | None = None,
    keep_end_points: bool = True,
) -> Mask:
    """Thin a binary mask to its skeleton, keeping its topology.

    With ``simple_points="topological"`` the result has the Betti numbers of the mask, 26-connected foreground and
    6-connected background (8 and 4 in 2D); a hollow object becomes a closed surface. An empty mask stays empty, a full
    one becomes a voxel or a line. Voxels are neighbours whatever their spacing. A layer of about one and a half voxels
    goes in each iteration; fewer iterations than needed leave thick parts.

    Args:
        mask: (*S) array or (B, C, *S) tensor on any device, 2D or 3D; bool, or any number type with values 0 and 1.
        iterations: how many, as in the published algorithm, or None until nothing changes.
        simple_points: "topological", or "euler" for the published variant that does not preserve topology in 3D (in 2D
            they are the same); see :mod:`nnunet_topo.skeletons.simple_points`.
        border: "background" takes everything outside as background, so that an object that leaves the image is thinned
            from its cut end too, by about its radius. "anchored" keeps one voxel of each of an object's cut ends, the
            middle of what touches the border, so that the skeleton reaches it; thinned again, a skeleton may lose such
            an end, as its middle may be another. Both keep the topology.
        anchors: voxels that stay, of the mask's shape, kind and device; those outside of the mask count for nothing.
        keep_end_points: whether an end point, which has at most one neighbour when an iteration starts, stays. Without,
            nothing is left beside the anchors but voxels without which the topology would change: an object of no
            loop becomes a voxel, and anchors are joined by the thinnest lines.

    Returns:
        The skeleton, of the mask's shape, type and device, without gradient.

    Memory on the CPU: three bits a voxel beside input and output. On CUDA, with Triton, two bytes a voxel, on other
    devices eight, for the duration of the call, and a wait for the device in each iteration where ``iterations`` is
    None.

    Raises:
        TypeError: neither an array nor a tensor, or anchors of another kind.
        ValueError: wrong shape, values other than 0 and 1, an unknown option, or anchors of another shape or device.
    """
    check_options(iterations, simple_points, border)
    if isinstance(mask, np.ndarray):
        if mask.ndim not in (2, 3):
            raise ValueError(f"thin needs an array of two or three axes, got shape {mask.shape}; for batches and "
                             "channels use a tensor (B, C, *S).")
        kept = None if anchors is None else _checked_anchors(anchors, mask)
        thinned = thin_array(_as_bool(mask), iterations, simple_points, border, kept, keep_end_points)
        return thinned.astype(mask.dtype, copy=False)
    if not isinstance(mask, Tensor):
        raise TypeError(f"thin needs a numpy array (*S) or a torch tensor (B, C, *S), got {type(mask).__name__}.")
    if mask.ndim not in (4, 5):
        raise ValueError(f"thin needs a tensor (B, C, *S) with two or three spatial axes, got {tuple(mask.shape)}; for "
                         "a single mask add the two axes, mask[None, None], or pass a numpy array.")
    kept = None if anchors is None else _checked_anchors(anchors, mask)
    return thin_tensor(_as_bool(mask.detach()), iterations, simple_points, border, anchors=kept,
                       keep_end_points=keep_end_points).to(mask.dtype)


def _checked_anchors(anchors: Mask, mask: Mask) -> Mask:
    tensors = isinstance(mask, Tensor), isinstance(anchors, Tensor)
    if tensors[0] != tensors[1] or not isinstance(anchors, (Tensor, np.ndarray)):
        raise TypeError(f"anchors must be of the mask's kind, {type(mask).__name__}, not {type(anchors).__name__}.")
    if tuple(anchors.shape) != tuple(mask.shape):
        raise ValueError(f"anchors must have the mask's shape {tuple(mask.shape)}, not {tuple(anchors.shape)}.")
    if isinstance(anchors, Tensor) and isinstance(mask, Tensor) and anchors.device != mask.device:
        raise ValueError(f"anchors must lie on the mask's device {mask.device}, not on {anchors.device}.")
    return _as_bool(anchors)


def check_options(iterations: int | None, simple_points: str, border: str) -> None:
    if iterations is not None and (isinstance(iterations, bool) or not isinstance(iterations, (int, np.integer))
                                   or iterations < 0):
        raise ValueError(f"iterations must be an integer of at least 0, or None for convergence, got {iterations!r}.")
    if simple_points not in RULES:
        raise ValueError(f"simple_points must be one of {RULES}, got {simple_points!r}.")
    if border not in BORDERS:
        raise ValueError(f"border must be one of {BORDERS}, got {border!r}.")


def thin_array(
    image: NDArray[np.bool_],
    iterations: int | None,
    simple_points: str,
    border: str,
    anchors: NDArray[np.bool_] | None = None,
    keep_end_points: bool = True,
) -> NDArray[np.bool_]:
    """:func:`thin` for a bool array (*S)."""
    from nnunet_topo.skeletons import thinning_numba  # at the first call; see the package

    if image.size == 0:
        return image.copy()
    if border == "anchored":
        anchors = np.zeros(image.shape, np.bool_) if anchors is None else anchors.copy()
        table = simple_point_table(simple_points, 2)
        for face in _faces(image.shape):
            section = np.atleast_2d(image[face])
            anchors[face] |= thinning_numba.thin(section, table, None, None, False).reshape(image[face].shape)
    table = simple_point_table(simple_points, image.ndim)
    return thinning_numba.thin(image, table, iterations, anchors, keep_end_points)


def thin_tensor(
    images: Tensor,
    iterations: int | None,
    simple_points: str,
    border: str,
    observe: Callable[..., None] | None = None,
    anchors: Tensor | None = None,
    keep_end_points: bool = True,
) -> Tensor:
    """:func:`thin` for a bool tensor (B, C, *S); ``observe`` as in :func:`thinning_torch.thin`, which it asks for."""
    if images.numel() == 0:
        return images.clone()
    if images.device.type == "cpu" and observe is None:
        arrays = images.numpy().reshape(-1, *images.shape[2:])
        kept = [None] * len(arrays) if anchors is None else list(anchors.numpy().reshape(arrays.shape))
        thinned = over_threads(lambda pair: thin_array(pair[0], iterations, simple_points, border, pair[1],
                                                       keep_end_points), list(zip(arrays, kept, strict=True)))
        return torch.from_numpy(np.stack(thinned)).view(images.shape)
    flat = images.flatten(0, 1)
    stays = _anchors(flat, simple_points, border)
    if anchors is not None:
        stays = anchors.flatten(0, 1) if stays is None else stays | anchors.flatten(0, 1)
    if observe is not None:
        return thinning_torch.thin(flat, simple_points, iterations, stays, keep_end_points=keep_end_points,
                                   observe=observe).view(images.shape)
    thinned = thinning_backend(flat).thin(flat, simple_points, iterations, stays, keep_end_points=keep_end_points)
    return thinned.view(images.shape)



def _anchors(images: Tensor, simple_points: str, border: str) -> Tensor | None:
    if border == "background":
        return None
    anchors = torch.zeros_like(images)
    of_one_size: dict[torch.Size, list[tuple[slice | int, ...]]] = {}
    for face in _faces(tuple(images.shape[1:])):
        place = (slice(None), *face)
        of_one_size.setdefault(images[place].shape, []).append(place)
    for places in of_one_size.values():  # thinned together
        sections = torch.cat([images[place] if images.ndim == 4 else images[place][:, None] for place in places])
        thinned = thinning_backend(sections).thin(sections, simple_points, None, keep_end_points=False)
        for place, section in zip(places, thinned.split(len(images)), strict=True):
            anchors[place] |= section.view(images[place].shape)
    return anchors


def _faces(shape: tuple[int, ...]) -> list[tuple[slice | int, ...]]:
    """The faces of an image (the sides in 2D); an axis of one voxel has none."""
    return [(*[slice(None)] * axis, end) for axis, size in enumerate(shape) if size > 1 for end in (0, -1)]


def _as_bool(mask: Mask) -> Mask:
    if mask.dtype in (np.bool_, torch.bool):
        return mask
    binary = mask.astype(np.bool_) if isinstance(mask, np.ndarray) else mask.bool()
    if bool((binary != mask).any()):
        raise ValueError(f"thin needs a binary mask, got {mask.dtype} values other than 0 and 1 (or NaN). Compare with "
                         "a threshold first, probabilities > 0.5, or labels == label.")
    return binary
