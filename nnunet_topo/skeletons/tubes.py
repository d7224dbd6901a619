"""Tubed skeletons: the skeleton of a label map, thickened, clipped to the labels.

The target of Skeleton Recall: Y. Kirchhoff et al., "Skeleton Recall Loss for Connectivity Conserving and Resource
Efficient Segmentation of Thin Tubular Structures", ECCV 2024, section 3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnunet_topo.kernels.threads import over_threads
from nnunet_topo.skeletons.thinning import Mask, check_options, thin_array, thin_tensor

Skeletonize = Callable[[NDArray[np.bool_]], NDArray[Any]]
_LARGEST = np.iinfo(np.int16).max


def tubed_skeleton(
    labels: Mask,
    radius: int = 2,
    *,
    union: bool = False,
    ignore_label: int | None = None,
    iterations: int | None = None,
    border: str = "anchored",
    skeletonize: Skeletonize | None = None,
) -> Mask:
    """Skeleton of each label, thickened by ``radius`` voxels and clipped to the label.

    Each label's skeleton has the topology of the label (:func:`nnunet_topo.skeletons.thin`). It is dilated ``radius``
    times by the cross of radius 1, to a city-block ball around each of its voxels, whatever the spacing. Where an
    object is narrower than that, its tube is the whole object.

    Args:
        labels: (*S) array, or (B, C, *S) tensor on any device, of which every channel is a label map by itself; 2D or
            3D, integers or bool. Values of at most 0 are background.
        radius: in voxels; 0 is the bare skeleton.
        union: skeletonise the union of all labels, as the authors' code does, and give each voxel of the tube its
            label. Touching labels then share one skeleton, which may miss the smaller one.
        ignore_label: label without skeleton, background in the result.
        iterations: as in :func:`nnunet_topo.skeletons.thin`.
        border: as in :func:`nnunet_topo.skeletons.thin`; "anchored" lets the tube of an object that leaves the patch
            reach the patch's border.
        skeletonize: another skeletonisation on the CPU, called with a bool array (*S) in place of ``thin``; the authors
            use ``skimage.morphology.skeletonize``.

    Returns:
        The label map of the tubes, of the same shape, type and device; all background for empty labels.

    Raises:
        TypeError: labels that are neither integers nor bool, neither array nor tensor.
        ValueError: wrong shape, a label above 32767 (on the CPU), a negative radius, or an unknown border.
    """
    check_options(iterations, "topological", border)
    if isinstance(radius, bool) or not isinstance(radius, int) or radius < 0:
        raise ValueError(f"radius must be an integer of at least 0 voxels, got {radius!r}.")
    options = (radius, union, ignore_label, iterations, border)
    if isinstance(labels, np.ndarray):
        if labels.ndim not in (2, 3):
            raise ValueError(f"tubed_skeleton needs an array of two or three axes, got shape {labels.shape}; for "
                             "batches use a tensor (B, C, *S).")
        if not np.issubdtype(labels.dtype, np.integer) and labels.dtype != np.bool_:
            raise TypeError(f"tubed_skeleton needs integer labels or a bool mask, got {labels.dtype}.")
        return _tubes(labels, *options, skeletonize)
    if not isinstance(labels, Tensor):
        raise TypeError(f"tubed_skeleton needs a numpy array (*S) or a torch tensor (B, C, *S), got "
                        f"{type(labels).__name__}.")
    if labels.ndim not in (4, 5):
        raise ValueError(f"tubed_skeleton needs a tensor (B, C, *S) with two or three spatial axes, got "
                         f"{tuple(labels.shape)}; for a single label map add the two axes, labels[None, None], or "
                         "pass a numpy array.")
    if labels.is_floating_point() or labels.is_complex():
        raise TypeError(f"tubed_skeleton needs integer labels or a bool mask, got {labels.dtype}.")
    if labels.device.type == "cpu":
        if labels.numel() == 0:
            return labels.clone()
        arrays = labels.numpy().reshape(-1, *labels.shape[2:])
        tubes = over_threads(lambda array: _tubes(array, *options, skeletonize), arrays)
        return torch.from_numpy(np.stack(tubes)).view(labels.shape)
    if skeletonize is not None:
        raise ValueError(f"skeletonize works on arrays, but the labels are on {labels.device}. Move them to the CPU.")
    return _tubes_on_device(labels, *options)


def _tubes(
    labels: NDArray[Any],
    radius: int,
    union: bool,
    ignore_label: int | None,
    iterations: int | None,
    border: str,
    skeletonize: Skeletonize | None,
) -> NDArray[Any]:
    from nnunet_topo.skeletons import tubes_numba  # at the first call; see the package

    if labels.size == 0:
        return labels.copy()
    if labels.max() > _LARGEST:
        raise ValueError(f"tubed_skeleton takes labels up to {_LARGEST}, got {labels.max()}.")
    # the two types that the kernels are compiled for; large images usually have one of them and are not copied
    values = labels.view(np.uint8) if labels.dtype == np.bool_ else labels
    values = values if values.dtype == np.uint8 else values.astype(np.int16, copy=False)
    result = np.zeros_like(values)

    def draw(mask: NDArray[np.bool_], box: tuple[slice, ...]) -> None:
        skeleton = thin_array(mask, iterations, "topological", border) if skeletonize is None \
            else np.asarray(skeletonize(mask), np.bool_)
        tubes_numba.thicken(skeleton, mask, values[box], radius, result[box])

    if union:
        draw((values > 0) if ignore_label is None else (values > 0) & (values != ignore_label), ())
    else:
        for label, box in tubes_numba.boxes(values):
            if label != ignore_label:
                draw(values[box] == label, box)
    return result.astype(labels.dtype, copy=False) if labels.dtype != np.bool_ else result.view(np.bool_)


def _tubes_on_device(
    labels: Tensor, radius: int, union: bool, ignore_label: int | None, iterations: int | None, border: str
) -> Tensor:
    kept = labels > 0
    if ignore_label is not None:
        kept &= labels != ignore_label
    if union or labels.dtype == torch.bool:
        masks = [kept]
    else:  # waits for the device
        masks = [labels == label for label in labels[kept].unique()]
    result = torch.zeros_like(labels)
    for mask in masks:
        tube = thin_tensor(mask, iterations, "topological", border)
        for _ in range(radius):
            tube = dilated_by_cross(tube)
        result = torch.where(tube & mask, labels, result)
    return result


def dilated_by_cross(mask: Tensor) -> Tensor:
    """Dilation by the cross of radius 1."""
    result = mask.clone()
    for axis in range(2, mask.ndim):
        length = mask.shape[axis] - 1
        for there, here in ((0, 1), (1, 0)):
            result.narrow(axis, there, length).logical_or_(mask.narrow(axis, here, length))
    return result
