"""A picture of a registration: before and after, the medial ridges over slices, and projections along three axes."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813  its customary name
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nnunet_topo.files import written_at_once
from nnunet_topo.registration import Registration
from nnunet_topo.registration.checks import both_labels, foreground_probability
from nnunet_topo.registration.cleaning import closed
from nnunet_topo.registration.labels import Label
from nnunet_topo.skeletons import thin

_FIXED, _MOVING = "#35E0A1", "#FF9F40"  # told apart with the common kinds of colour blindness
_NAMES = ("along z", "along y", "along x")
_STEP_MM = 1.0


def registration_figure(
    fixed: sitk.Image, moving: sitk.Image, result: Registration, path: str | os.PathLike[str], *,
    fixed_image: sitk.Image | None = None, label: Label | None = None, moving_label: Label | None = None,
    title: str = "",
) -> None:
    """Write a PNG with three rows: projections before, projections after, and slices after with both skeletons.

    Label maps or probability maps, and labels, as they were registered. Before, the moving one lies where its file puts
    it, on the fixed grid. Panels look along the axes nearest to those of the body, in the same way however the file is
    stored. Slices go through the middle of the fixed bone, over the fixed image where it is given. The file appears
    only when it is complete.
    """
    grid = _grid(fixed)
    label, moving_label = both_labels(label, moving_label)
    one, after = _mask(fixed, grid, label), _mask(result.moved_segmentation, grid, moving_label)
    before = _mask(moving, grid, moving_label)
    image = None if fixed_image is None else sitk.GetArrayFromImage(sitk.Resample(fixed_image, grid, sitk.Transform(),
                                                                                  sitk.sitkLinear))
    figure = Figure(figsize=(12, 11.4), facecolor="white")
    FigureCanvasAgg(figure)
    panels = figure.subplots(3, 3)
    skeletons = [thin(closed(mask)) if mask.any() else mask for mask in (one, after)]
    for axis in range(3):
        _projection(panels[0, axis], one, before, axis, f"before, {_NAMES[axis]}")
        _projection(panels[1, axis], one, after, axis, f"after, {_NAMES[axis]}")
        _slice(panels[2, axis], image, (one, after), skeletons, axis)
    figure.suptitle("\n".join([part for part in (title, _words(result)) if part]), fontsize=11)
    figure.text(0.5, 0.012, "green: fixed   orange: moving   bottom: outlines in a slice, skeletons within 4 mm of it",
                ha="center", fontsize=10)
    figure.subplots_adjust(left=0.03, right=0.97, bottom=0.045, top=0.9, hspace=0.16, wspace=0.06)
    with written_at_once(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)


def _words(result: Registration) -> str:
    quality = result.quality
    parts = ["sure" if result.sure else "NOT SURE: " + quality.warnings[0].split(". ")[0]]
    if quality.target_registration_error_mm is not None:
        parts.append(f"landmarks {quality.target_registration_error_mm:.2f} mm")
    parts += [f"surfaces {quality.surface_distance_mm:.2f} mm", f"ridges {quality.skeleton_distance_mm:.2f} mm"]
    if quality.thickness_offset_mm is not None:
        parts.append(f"moving thinner by {quality.thickness_offset_mm:.2f} mm")
    return ", ".join(parts)


def _grid(fixed: sitk.Image) -> sitk.Image:
    """The fixed image's space with equal steps, its axes turned to the left, to the back and upwards (LPS)."""
    turned = sitk.DICOMOrient(fixed, "LPS")
    spacing = np.array(turned.GetSpacing())
    size = np.maximum(np.ceil(np.array(turned.GetSize()) * spacing / _STEP_MM).astype(int), 2)
    grid = sitk.Image(size.tolist(), sitk.sitkUInt8)
    grid.SetSpacing([_STEP_MM] * 3)
    grid.SetOrigin(turned.GetOrigin())
    grid.SetDirection(turned.GetDirection())
    return grid


def _mask(segmentation: sitk.Image, grid: sitk.Image, label: Label | None) -> NDArray[np.bool_]:
    """The bone on that grid; a voxel of a label map counts as a whole."""
    soft = sitk.GetImageFromArray(foreground_probability(segmentation, "segmentation", label))
    soft.CopyInformation(segmentation)
    return sitk.GetArrayFromImage(sitk.Resample(soft, grid, sitk.Transform(), sitk.sitkLinear, 0.0)) > 0.5


def _projection(panel: Axes, one: NDArray[np.bool_], two: NDArray[np.bool_], axis: int, name: str) -> None:
    """How much bone lies behind each pixel, one colour for each of the two."""
    picture = np.ones((*np.delete(one.shape, axis), 3))
    for mask, colour in ((one, _FIXED), (two, _MOVING)):
        depth = mask.sum(axis)
        most = max(np.percentile(depth[depth > 0], 90), 1) if depth.any() else 1
        share = np.clip(depth / most, 0, 1) * 0.75
        tint = np.array([int(colour[k:k + 2], 16) / 255 for k in (1, 3, 5)])
        picture *= 1 - share[..., None] * (1 - tint)
    _show(panel, picture, axis, name)


def _slice(
    panel: Axes, image: NDArray[Any] | None, masks: tuple[NDArray[np.bool_], ...], skeletons: list[NDArray[np.bool_]],
    axis: int,
) -> None:
    places = np.nonzero(masks[0].any(tuple(k for k in range(3) if k != axis)))[0]
    middle = int(np.median(places)) if len(places) else masks[0].shape[axis] // 2
    if image is None:
        _show(panel, np.full((*np.delete(masks[0].shape, axis), 3), 0.12), axis, f"after, slice {_NAMES[axis]}")
    else:
        low, high = np.percentile(image, (1, 99.5))
        part = np.clip((image.take(middle, axis) - low) / max(high - low, 1e-6), 0, 1)
        _show(panel, np.repeat(part[..., None], 3, -1), axis, f"after, slice {_NAMES[axis]}")
    for mask, skeleton, colour in zip(masks, skeletons, (_FIXED, _MOVING), strict=True):
        part = mask.take(middle, axis)
        if part.any() and not part.all():
            panel.contour(part, levels=[0.5], colors=colour, linewidths=1)
        near = skeleton.take(np.arange(max(middle - 4, 0), min(middle + 5, mask.shape[axis])), axis).any(axis)
        rows, columns = np.nonzero(near)
        panel.scatter(columns, rows, s=3, color=colour, linewidths=0)


def _show(panel: Axes, picture: NDArray[np.floating], axis: int, name: str) -> None:
    panel.imshow(picture, origin="lower" if axis else "upper", interpolation="nearest")
    panel.set_title(name, fontsize=10)
    panel.set(xticks=[], yticks=[])
