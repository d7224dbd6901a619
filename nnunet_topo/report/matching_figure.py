"""A picture of Betti matchings: which features of a prediction lie where the target has them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from nnunet_topo.files import written_at_once
from nnunet_topo.homology import BettiMatching, Connectivity, Pairs, betti_matching
from nnunet_topo.homology.masks import neighbours

_MATCHED, _UNMATCHED, _WARNING, _NOTE, _DARK = "#35E0A1", "#FF3860", "#C8102E", "0.35", "#14171B"
_MARKERS = {"piece": "o", "loop": "s", "cavity": "D"}
_PLURALS = {"piece": "pieces", "loop": "loops", "cavity": "cavities"}
_PANEL, _SPACE, _TITLE, _TEXT, _LEGEND = 5.2, 0.2, 0.34, 0.62, 1.32  # inches


def betti_matching_figure(
    images: Mapping[str, tuple[NDArray[Any], NDArray[Any]]],
    path: str | os.PathLike[str],
    *,
    shortest: float = 0.25,
    projection_axis: int = 0,
    connectivity: Connectivity = "foreground",
) -> None:
    """Draw predictions beside their targets, each feature at the voxels at which it is born and dies, as a PNG.

    Args:
        images: name -> prediction in [0, 1] and target, arrays (*S) of the same two or three axes; a row of the figure
            each.
        path: of the PNG; written at once or not at all.
        shortest: unmatched features that live for less are left out; a noisy prediction has thousands.
        projection_axis: the axis along which volumes are projected to their maxima.
        connectivity: the side that is connected across corners, see :func:`nnunet_topo.homology.betti_matching`.
    """
    rows = [(name, *pair, betti_matching(*pair, connectivity)) for name, pair in images.items()]
    figure, panels = _empty_panels([_flat(prediction, projection_axis).shape for _, prediction, _, _ in rows])
    for name, prediction, target, matching in rows:
        for side, image in (("prediction", prediction), ("target", target)):
            _draw_side(next(panels), f"{name}: {side}", image, matching, side == "prediction", shortest,
                       projection_axis)
    _draw_legend(figure, {len(matching.shape) for _, _, _, matching in rows}, shortest, connectivity)
    with written_at_once(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _flat(image: NDArray[Any], axis: int) -> NDArray[Any]:
    return image if image.ndim == 2 else image.max(axis)


def _empty_panels(shapes: list[tuple[int, ...]]) -> tuple[Figure, Iterator[Axes]]:
    """Two panels in a row for each shape, with room above for a name and below for two lines."""
    heights = [_PANEL * shape[0] / shape[1] for shape in shapes]
    total = 3 * _SPACE + 2 * _PANEL, _LEGEND + sum(heights) + len(shapes) * (_TITLE + _TEXT)
    figure = Figure(figsize=total, facecolor="white")
    FigureCanvasAgg(figure)
    panels, top = [], total[1]
    for height in heights:
        top -= _TITLE + height
        for column in range(2):
            left = _SPACE + column * (_PANEL + _SPACE)
            place = left / total[0], top / total[1], _PANEL / total[0], height / total[1]
            panels.append(figure.add_axes(place))
        top -= _TEXT
    return figure, iter(panels)


def _draw_side(
    panel: Axes, title: str, image: NDArray[Any], matching: BettiMatching, of_prediction: bool, shortest: float,
    axis: int,
) -> None:
    """One image with its features, those that are matched with a number that the other image's partner has too."""
    panel.imshow(_flat(image, axis), cmap="gray", vmin=-0.12, vmax=1.25, interpolation="nearest")
    panel.set_axis_off()
    panel.set_title(title, fontsize=11, fontweight="bold", pad=5)
    number, found, alone = 0, [], []
    for name, features in zip(_names(image.ndim), matching.dimensions, strict=True):
        matched = features.matched_prediction if of_prediction else features.matched_target
        for row in range(len(matched)):
            number += 1
            _draw_feature(panel, matched, row, name, str(number), axis)
            found.append(f"{name} {number} from {matched.birth_value[row]:.2f} to {matched.death_value[row]:.2f}")
        unmatched = features.unmatched_prediction if of_prediction else features.unmatched_target
        rows = np.flatnonzero(unmatched.birth_value - unmatched.death_value >= shortest).tolist()
        for row in rows:
            _draw_feature(panel, unmatched, row, name, "", axis)
        if rows:
            alone.append(f"{len(rows)} {name if len(rows) == 1 else _PLURALS[name]}")
    text = (" and ".join(alone) or "nothing") + (" too many" if of_prediction else " missing")
    described = "matched: " + (", ".join(found[:4]) or "nothing") + (f" and {len(found) - 4} more" if found[4:] else "")
    lines = (text, _WARNING if alone else "black", "bold"), (described, _NOTE, "normal")
    for place, (line, colour, weight) in enumerate(lines):
        panel.annotate(line, (0, 0), xytext=(0, -5 - 15 * place), xycoords="axes fraction",
                       textcoords="offset points", fontsize=9.5, fontweight=weight, color=colour, va="top")


def _names(axes: int) -> tuple[str, ...]:
    return ("piece", "loop") if axes == 2 else ("piece", "loop", "cavity")


def _draw_feature(panel: Axes, pairs: Pairs, row: int, name: str, number: str, axis: int) -> None:
    """A filled marker at the birth, an open one at the death, a line between them, and the number of the match."""
    colour = _MATCHED if number else _UNMATCHED
    (y0, x0), (y1, x1) = (voxel if len(voxel) == 2 else np.delete(voxel, axis)
                          for voxel in (pairs.birth[row], pairs.death[row]))
    edge = [withStroke(linewidth=4, foreground=_DARK)]
    panel.plot([x0, x1], [y0, y1], color=colour, linewidth=1.6, path_effects=edge, zorder=2)
    panel.plot(x0, y0, _MARKERS[name], color=colour, markersize=9, markeredgecolor=_DARK, zorder=3)
    panel.plot(x1, y1, _MARKERS[name], color=_DARK, markersize=8, markeredgecolor=colour, markeredgewidth=2, zorder=3)
    away = 13 * np.array([x0 - x1, y1 - y0]) / max(np.hypot(x0 - x1, y1 - y0), 1e-9)
    panel.annotate(number, (x0, y0), xytext=away, textcoords="offset points", color=colour, fontsize=13, ha="center",
                   va="center", fontweight="bold", path_effects=edge, zorder=4)


def _draw_legend(figure: Figure, dimensions: set[int], shortest: float, side: Connectivity) -> None:
    entries = []
    for colour, state in ((_MATCHED, "matched, with its number"), (_UNMATCHED, "not matched")):
        entries.append(Line2D([], [], color=colour, linewidth=2.5, label=state))
    for name in _names(max(dimensions)):
        marker = _MARKERS[name]
        entries.append(Line2D([], [], color="0.3", marker=marker, markersize=8, linestyle="", label=f"{name} is born"))
        entries.append(Line2D([], [], color="white", marker=marker, markersize=8, markeredgecolor="0.3",
                              markeredgewidth=2, linestyle="", label=f"{name} dies"))
    width, height = figure.get_size_inches()
    figure.legend(handles=entries, ncols=len(entries), loc="upper left", frameon=False, fontsize=9.5, borderpad=0,
                  bbox_to_anchor=(_SPACE / width, (_LEGEND - 0.02) / height), borderaxespad=0, handletextpad=0.5,
                  columnspacing=1.8 if len(entries) < 8 else 0.7)
    connectivity = {axes: "{}-connected, their background {}-connected".format(*neighbours(axes, side))
                    for axes in dimensions}
    text = (
        "As the threshold on an image falls from 1 to 0, a piece is born at its brightest voxel and dies where it joins"
        " an older\npiece; a loop is born where it closes and dies where the last of its hole is filled. Matched (same"
        " number): both go on as\none feature of the union of the two images. Left out: unmatched features that live"
        f" for less than {shortest}, and the first\npiece of each image, which never dies. In a target all voxels are"
        " equal; which of them is marked follows from their order.\nPieces are "
        + "; ".join(connectivity[axes] + (" (2D)" if len(dimensions) > 1 and axes == 2 else "")
                    for axes in sorted(dimensions)) + "."
    )
    figure.text(_SPACE / width, 0.14 / height, text, fontsize=9.5, color=_NOTE, linespacing=1.35)
