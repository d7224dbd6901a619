"""A picture of one case: where a prediction breaks, merges, misses and invents what the reference has."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from nnunet_topo.files import written_at_once
from nnunet_topo.homology.masks import extents
from nnunet_topo.metrics.masks import check_masks, check_spacing
from nnunet_topo.metrics.topology_errors import topology_errors
from nnunet_topo.report.error_painting import draw_errors, legend_handles, paint, palette

_WIDTH, _SPACE, _TITLE, _LEGEND, _BESIDE, _LEGEND_BESIDE = 11.0, 0.12, 0.3, 1.1, 3.6, 2.8  # inches
_TALLEST, _LOWEST, _DPI = 6.5, 0.4, 110
_NAMES = {3: ("z", "y", "x"), 2: ("y", "x")}  # of the axes, in the order of nnU-Net's arrays


def case_picture(
    prediction: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    path: str | os.PathLike[str],
    *,
    spacing: Sequence[float],
    image: NDArray[Any] | None = None,
) -> dict[str, int]:
    """Write a PNG with the topological errors of a prediction marked where they lie, and return their numbers.

    A volume is shown as maximum projections along its three axes, all of one scale, cut to what there is in either
    mask. Errors are those of :func:`nnunet_topo.metrics.topology_errors.topology_errors`.

    Args:
        prediction: boolean mask (*S), 2D or 3D.
        reference: boolean mask (*S).
        path: of the PNG, which appears only when it is complete.
        spacing: size of a voxel in mm along each axis.
        image: (*S), shown beneath, or None.

    Raises:
        ValueError: masks or image that differ in shape or are not masks, a spacing that does not fit.
    """
    check_masks(prediction, reference)
    check_spacing(spacing, reference)
    if image is not None and image.shape != reference.shape:
        raise ValueError(f"The image has the shape {image.shape} and the masks {reference.shape}; give one channel of "
                         "the image, on the grid of the masks.")
    box = _cut(prediction | reference)
    prediction, reference = prediction[box], reference[box]
    image = None if image is None else image[box]
    errors = topology_errors(prediction, reference)
    figure, panels, legend = _panels(reference.shape, spacing)
    for axis, panel in panels:
        picture = paint(prediction, reference, axis, image)
        panel.imshow(picture, aspect="auto", interpolation="nearest", origin="upper" if axis in (None, 0) else "lower")
        draw_errors(panel, errors, axis)
        panel.set_axis_off()
        if axis is not None:
            panel.set_title(f"seen along {_NAMES[3][axis]}", fontsize=9, loc="left", pad=4)
    figure.legend(handles=legend_handles(errors.counts), loc="upper left", bbox_to_anchor=legend, borderaxespad=0,
                  ncols=1 if reference.ndim == 2 else 3, fontsize=9, frameon=False, handlelength=1.5,
                  columnspacing=1.6, labelspacing=0.9 if reference.ndim == 2 else 0.5)
    _save(figure, path)
    return errors.counts


def _cut(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """The box around what there is with a margin; the whole of an image that is empty."""
    if not mask.any():
        return (slice(None),) * mask.ndim
    margins = [max(4, size // 20) for size in mask.shape]
    return tuple(slice(max(first - margin, 0) // 2 * 2, last + 1 + margin)
                 for (first, last), margin in zip(extents(mask), margins, strict=True))


def _panels(
    shape: tuple[int, ...], spacing: Sequence[float]
) -> tuple[Figure, list[tuple[int | None, Axes]], tuple[float, float]]:
    """Figure, a panel for each projection (axis, axes), and the corner of the legend: beside one, below several."""
    axes: list[int | None] = [None] if len(shape) == 2 else [0, 1, 2]
    extents = []
    for axis in axes:
        rows, columns = (k for k in range(len(shape)) if k != axis)
        extents.append((shape[rows] * spacing[rows], shape[columns] * spacing[columns]))
    beside = len(axes) == 1
    room = _WIDTH - _SPACE * (len(axes) + 1) - _BESIDE * beside
    scale = min(room / sum(width for _, width in extents), _TALLEST / max(height for height, _ in extents))
    sizes = [(max(height * scale, _LOWEST), max(width * scale, _LOWEST)) for height, width in extents]
    tallest = max(height for height, _ in sizes)
    title, below = (_SPACE, _SPACE) if beside else (_TITLE, _LEGEND)
    total = max(title + tallest + below, _LEGEND_BESIDE * beside)
    width_in_all = sizes[0][1] + 3 * _SPACE + _BESIDE if beside else _WIDTH
    figure = Figure(figsize=(width_in_all, total), facecolor="white")
    FigureCanvasAgg(figure)
    panels, left = [], _SPACE
    for axis, (height, width) in zip(axes, sizes, strict=True):
        place = left / width_in_all, (total - title - height) / total, width / width_in_all, height / total
        panels.append((axis, figure.add_axes(place)))
        left += width + _SPACE
    corner = (left + _SPACE, total - _SPACE) if beside else (_SPACE, below - _SPACE)
    return figure, panels, (corner[0] / width_in_all, corner[1] / total)


def _save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """As PNG with a palette: a third of the size, which counts when many stand in one page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    with Image.open(buffer) as opened, written_at_once(path) as temporary:
        picture = opened.convert("RGB")
        ours = palette()
        frequent = picture.quantize(256 - len(ours), dither=Image.Dither.NONE).getpalette() or []
        # A frequent colour next to one of ours would sometimes be taken in its stead.
        away = np.abs(np.reshape(frequent, (-1, 1, 3)) - np.array(ours)).max(-1).min(-1) > 6
        fixed = Image.new("P", (1, 1))
        fixed.putpalette([*np.ravel(ours).tolist(), *np.reshape(frequent, (-1, 3))[away].ravel().tolist()])
        picture.quantize(palette=fixed, dither=Image.Dither.NONE).save(temporary, format="PNG", optimize=True)
