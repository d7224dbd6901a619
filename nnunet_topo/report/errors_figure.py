"""A picture of a segmentation's topological errors, for people who look at vessels rather than at Betti numbers."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray
from scipy import ndimage

from nnunet_topo.files import written_at_once
from nnunet_topo.homology import betti_numbers
from nnunet_topo.homology.masks import connectivity_in_words
from nnunet_topo.metrics import betti_error, dice
from nnunet_topo.metrics.masks import check_masks
from nnunet_topo.metrics.topology_errors import TopologyErrors, topology_errors
from nnunet_topo.report.error_painting import BACKGROUND, BOTH, draw_errors, legend_handles, paint, project

_OUTLINE = "#35E0A1"
ADDED, REMOVED = "#35E0A1", "#FF5FC4"
_PANEL, _SPACE, _TITLE, _TEXT, _LINE = 3.8, 0.15, 0.35, 0.85, 0.2  # inches
_DIMENSIONS = (("piece", "pieces"), ("loop", "loops"), ("cavity", "cavities"))


def topology_figure(
    predictions: Mapping[str, NDArray[np.bool_]], reference: NDArray[np.bool_], path: str | os.PathLike[str], *,
    image: NDArray[Any], spacing: Sequence[float] | None = None,
) -> None:
    """Write a PNG of an image with its reference and, beside it, each prediction with its topological errors marked.

    The boolean masks ``predictions`` (name: (*S)) and ``reference`` (*S) and the ``image`` (*S) are 2D or 3D; 3D is
    shown as maximum projections along the axis across which the reference covers most. ``spacing`` in mm, in the order
    of the axes (1 when None), gives the pixels their proportions. Empty masks are drawn as such. The file appears only
    when it is complete. Raises ValueError when there is no prediction, for shapes that differ and for masks that are
    none.
    """
    _check(predictions, reference, image, spacing)
    axis, aspect, height_to_width = _view(reference, spacing)
    legend_columns = 3 if len(predictions) > 1 else 2
    legend_height = _LINE * (math.ceil((1 + len(legend_handles())) / legend_columns) + 2)
    figure, panels = _empty_panels(1 + len(predictions), height_to_width, legend_height)

    _draw_image(panels[0], project(image, axis), project(reference, axis), aspect)
    _write(panels[0], "Image with the reference", [f"Betti numbers: {_in_words(betti_numbers(reference))}"])
    for panel, (name, prediction) in zip(panels[1:], predictions.items(), strict=True):
        errors = topology_errors(prediction, reference)
        _draw_errors(panel, prediction, reference, errors, axis, aspect)
        _write(panel, name, _scores(prediction, reference, errors))
    handles = [Line2D([], [], color=_OUTLINE, label="outline of the reference in the image"), *legend_handles()]
    _draw_legend(figure, handles, legend_columns, legend_height, reference.ndim, axis)
    with written_at_once(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def postprocessing_figure(
    before: NDArray[np.bool_], after: NDArray[np.bool_], reference: NDArray[np.bool_],
    path: str | os.PathLike[str], *, spacing: Sequence[float] | None = None,
) -> None:
    """Write a PNG of a mask before and after post-processing with its topological errors, and of what has changed.

    The boolean masks (*S) are 2D or 3D and shown as :func:`topology_figure` does. What was added and what was removed
    have a colour each, and a ring is around each place where something was added, since bridges are thin.
    """
    masks = {"Predicted": before, "Post-processed": after}
    _check(masks, reference, reference, spacing)
    axis, aspect, height_to_width = _view(reference, spacing)
    handles = [Patch(color=ADDED, label="added"), Patch(color=REMOVED, label="removed"), *legend_handles()]
    legend_height = _LINE * (math.ceil(len(handles) / 3) + 2)
    figure, panels = _empty_panels(3, height_to_width, legend_height)
    for panel, (name, mask) in zip(panels, masks.items(), strict=False):
        errors = topology_errors(mask, reference)
        _draw_errors(panel, mask, reference, errors, axis, aspect)
        _write(panel, name, _scores(mask, reference, errors))
    _draw_changes(panels[2], before, after, axis, aspect)
    _draw_legend(figure, handles, 3, legend_height, reference.ndim, axis)
    with written_at_once(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _view(reference: NDArray[np.bool_], spacing: Sequence[float] | None) -> tuple[int | None, float, float]:
    """The axis of the projection, and the height of a pixel and of the picture to their widths."""
    sizes = np.ones(reference.ndim) if spacing is None else np.asarray(spacing, dtype=float)
    axis = _projection_axis(reference)
    rows, columns = (k for k in range(reference.ndim) if k != axis)
    aspect = float(sizes[rows] / sizes[columns])
    return axis, aspect, aspect * reference.shape[rows] / reference.shape[columns]


def _empty_panels(count: int, height_to_width: float, legend: float) -> tuple[Figure, list[Axes]]:
    """A row of panels with room above each for its name, below for its figures, and for a legend at the bottom."""
    height = _PANEL * float(np.clip(height_to_width, 0.3, 2.5))
    total = _SPACE + count * (_PANEL + _SPACE), _TITLE + height + _TEXT + legend
    figure = Figure(figsize=total, facecolor="white")
    FigureCanvasAgg(figure)
    panels = []
    for column in range(count):
        left, bottom = _SPACE + column * (_PANEL + _SPACE), _TEXT + legend
        panels.append(figure.add_axes((left / total[0], bottom / total[1], _PANEL / total[0], height / total[1])))
    return figure, panels


def _draw_image(panel: Axes, image: NDArray[Any], reference: NDArray[np.bool_], aspect: float) -> None:
    darkest, brightest = np.percentile(image, (1, 99.8))
    panel.imshow(image, cmap="gray", vmin=darkest, vmax=brightest, aspect=aspect, interpolation="nearest")
    if reference.any():
        # Framed, so that the outline closes where a vessel leaves the image.
        rows, columns = (np.arange(-1, size + 1) for size in reference.shape)
        panel.contour(columns, rows, np.pad(reference, 1), levels=[0.5], colors=_OUTLINE, linewidths=0.9)
    panel.set(xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))


def _draw_errors(
    panel: Axes, prediction: NDArray[np.bool_], reference: NDArray[np.bool_], errors: TopologyErrors,
    axis: int | None, aspect: float,
) -> None:
    panel.imshow(paint(prediction, reference, axis), aspect=aspect, interpolation="nearest")
    draw_errors(panel, errors, axis)


def _draw_changes(
    panel: Axes, before: NDArray[np.bool_], after: NDArray[np.bool_], axis: int | None, aspect: float
) -> None:
    changes = {"added": (after & ~before, ADDED), "removed": (before & ~after, REMOVED)}
    kept = project(before & after, axis)
    picture = np.full((*kept.shape, 3), to_rgb(BACKGROUND))
    picture[kept] = to_rgb(BOTH)
    lines = []
    for word, (mask, colour) in changes.items():
        picture[project(mask, axis)] = to_rgb(colour)
        places, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
        voxels = _counted(int(np.count_nonzero(mask)), *(("pixel", "pixels") if axis is None else ("voxel", "voxels")))
        lines.append(f"{voxels} {word}" + (f" in {_counted(count, 'place', 'places')}" if count else ""))
        if word == "added" and count:
            middles = np.array(ndimage.center_of_mass(mask, places, range(1, count + 1)))
            rows, columns = (middles if axis is None else np.delete(middles, axis, 1)).T
            panel.plot(columns, rows, "o", markersize=9, markerfacecolor="none", markeredgecolor=colour)
    panel.imshow(picture, aspect=aspect, interpolation="nearest")
    _write(panel, "What was changed", lines)


def _scores(prediction: NDArray[np.bool_], reference: NDArray[np.bool_], errors: TopologyErrors) -> list[str]:
    counts = errors.counts
    segments = _counted(counts["missed_segments"], "missed segment", "missed segments")
    breaks, pieces = _counted(counts["breaks"], "break", "breaks"), counts["false_pieces"]
    return [
        f"Dice {dice(prediction, reference):.3f}",
        f"{segments}, of these {breaks}; {_counted(pieces, 'false piece', 'false pieces')}",
        f"Betti numbers: {_in_words(betti_numbers(prediction))}",
        f"Betti error: {_in_words(betti_error(prediction, reference))}",
    ]


def _write(panel: Axes, name: str, lines: list[str]) -> None:
    """The panel's name above it and a few lines below."""
    panel.set_axis_off()
    panel.set_title(name, fontsize=11, fontweight="bold", pad=6, parse_math=False)
    panel.annotate(
        "\n".join(lines), (0, 0), xytext=(0, -5), xycoords="axes fraction", textcoords="offset points",
        fontsize=9, verticalalignment="top", linespacing=1.35,
    )


def _draw_legend(
    figure: Figure, handles: Sequence[Line2D | Patch], columns: int, top: float, dimensions: int, axis: int | None
) -> None:
    width, height = figure.get_size_inches()
    figure.legend(
        handles=list(handles), loc="upper left", bbox_to_anchor=(_SPACE / width, top / height), borderaxespad=0,
        ncols=columns, fontsize=9, frameon=False, handlelength=1.4, columnspacing=2.0,
    )
    names = "b0 pieces, b1 loops" + ", b2 cavities" * (dimensions == 3)
    note = f"Betti numbers ({names}): {connectivity_in_words(dimensions)}."
    if axis is not None:
        note += f" Maximum projections along axis {axis}."
    figure.text(_SPACE / width, 0.1 / height, note, fontsize=8, color="0.35")


def _in_words(numbers: tuple[int, ...]) -> str:
    return ", ".join(_counted(number, *words) for number, words in zip(numbers, _DIMENSIONS, strict=False))


def _counted(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


def _projection_axis(reference: NDArray[np.bool_]) -> int | None:
    """None in 2D; in 3D the axis across which the reference, or else the image, covers the most pixels."""
    if reference.ndim == 2:
        return None
    projections = [reference.any(axis=axis) for axis in range(3)]
    return max(range(3), key=lambda axis: (np.count_nonzero(projections[axis]), projections[axis].size))


def _check(
    predictions: Mapping[str, NDArray[np.bool_]], reference: NDArray[np.bool_], image: NDArray[Any],
    spacing: Sequence[float] | None,
) -> None:
    if not predictions:
        raise ValueError("There is nothing to compare: give at least one prediction by its name.")
    for prediction in predictions.values():
        check_masks(prediction, reference)
    if reference.ndim not in (2, 3) or reference.size == 0:
        raise ValueError(f"The figure is drawn in 2D or 3D and of at least one voxel, not of shape {reference.shape}.")
    if image.shape != reference.shape:
        raise ValueError(
            f"Image and reference must have the same shape, but the image has {image.shape} and the reference "
            f"{reference.shape}; give one channel of the image, on the grid of the reference."
        )
    if spacing is not None and (len(spacing) != reference.ndim or min(spacing) <= 0):
        raise ValueError(f"The spacing must be {reference.ndim} positive numbers in mm, not {tuple(spacing)}.")
