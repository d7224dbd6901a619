"""How topological errors are painted and explained, the same in every picture.

Warm colours say that something is missing, cold ones that something is too much; brightness and the shape of a mark
tell the same without colours. The pairs are told apart with the common kinds of colour blindness.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from nnunet_topo.metrics.topology_errors import TopologyErrors

Mask = NDArray[np.bool_]

BACKGROUND, BOTH, NOT_FOUND, TOO_MUCH = "#101418", "#7C858E", "#8A3324", "#1F5C94"
SKELETON, MISSED, SPURIOUS = "#FFFFFF", "#FF7A45", "#5CC8FF"
_DARK = "#000000"


class Mark(NamedTuple):
    """How a place is marked: what it is called, why it matters, its colour and shape."""

    name: str
    meaning: str
    colour: str
    shape: str


MARKS = {
    "breaks": Mark("break", "goes on beyond the gap", "#FFE14D", "o"),
    "false_holes": Mark("false hole", "a gap within the structure", "#FFB000", "s"),
    "merges": Mark("false merge", "joins what is separate", "#9CF5FF", "D"),
    "filled_holes": Mark("filled hole", "a true opening is closed", "#B9A6FF", "^"),
}
SEGMENTS = {
    "missed_segments": ("missed segment", "not predicted", MISSED),
    "spurious_segments": ("spurious segment", "not in the reference", SPURIOUS),
}
PIECES = {"missed_pieces": "wholly missed", "false_pieces": "wholly false"}


def paint(
    prediction: Mask, reference: Mask, axis: int | None, image: NDArray[Any] | None = None
) -> NDArray[np.float64]:
    """An RGB picture (rows, columns, 3) of what two masks share and not, projected along an axis of three.

    ``image``, of the masks' shape, is seen through the areas.
    """
    picture = np.empty((*project(reference, axis).shape, 3))
    picture[:] = to_rgb(BACKGROUND)
    if image is not None:
        grey = project(np.asarray(image, dtype=np.float32), axis)
        low, high = np.percentile(grey, (1, 99.8))
        picture[:] = 0.75 * np.clip((grey - low) / max(high - low, 1e-9), 0, 1)[..., None]
    opacity = 1.0 if image is None else 0.55
    found = project(prediction & reference, axis)
    lost, extra = project(reference, axis) & ~found, project(prediction, axis) & ~found
    for mask, colour in ((lost & ~extra, NOT_FOUND), (extra, TOO_MUCH), (found, BOTH)):
        picture[mask] = opacity * np.array(to_rgb(colour)) + (1 - opacity) * picture[mask]
    return picture


def project(values: NDArray[Any], axis: int | None) -> NDArray[Any]:
    """Maximum along an axis, or the image itself."""
    return values if axis is None else values.max(axis=axis)


def draw_errors(panel: Axes, errors: TopologyErrors, axis: int | None, size: float = 8.0) -> None:
    """Draw the centrelines in their colours, and over them the shape of each place."""
    both = errors.skeleton & ~errors.missed_segments
    for mask, partner, colour, width in ((both, both, SKELETON, 1.0),
                                         (errors.spurious_segments, errors.spurious_segments, SPURIOUS, 1.8),
                                         (errors.missed_segments, errors.skeleton, MISSED, 1.8)):
        panel.add_collection(LineCollection(list(_edges(mask, partner, axis)), colors=colour, linewidths=width,
                                            capstyle="round", zorder=2), autolim=False)
    for kind, mark in MARKS.items():
        places = [np.delete(place.position, axis) if axis is not None else place.position
                  for place in getattr(errors, kind)]
        if places:
            rows, columns = np.array(places).T
            panel.plot(columns, rows, mark.shape, markersize=size, markerfacecolor="none", markeredgecolor=mark.colour,
                       markeredgewidth=1.5, linestyle="none", zorder=3,
                       path_effects=[withStroke(linewidth=3.2, foreground=_DARK)])


def _edges(mask: Mask, partner: Mask, axis: int | None) -> NDArray[np.int64]:
    """Lines (n, 2, 2), as (column, row), from the voxels of a mask to neighbours among others; dots where none are."""
    framed, others = np.pad(mask, 1), np.pad(partner, 1).ravel()
    voxels = np.flatnonzero(framed)
    steps = np.array(list(itertools.product((-1, 0, 1), repeat=mask.ndim))) @ np.array(framed.strides)
    ends = [(voxels[others[voxels + step]], step) for step in steps.tolist() if step]
    pairs = [np.stack([voxels, voxels], 1), *(np.stack([start, start + step], 1) for start, step in ends)]
    places = np.stack(np.unravel_index(np.concatenate(pairs), framed.shape), -1) - 1
    flat = places if axis is None else np.delete(places, axis, -1)
    return np.unique(flat[..., ::-1], axis=0)


def legend_handles(counts: dict[str, int] | None = None) -> list[Patch | Line2D]:
    """What each colour and shape means, with the numbers of this picture where they are given."""
    def text(kind: str, name: str, meaning: str) -> str:
        return f"{name}: {meaning}" if counts is None else f"{name} ({counts[kind]}): {meaning}"

    def pieces(kind: str, name: str) -> str:
        whole = "" if counts is None or not counts[kind] else f"; pieces {PIECES[kind]}: {counts[kind]}"
        return name + whole

    handles: list[Patch | Line2D] = [
        Patch(color=BOTH, label="correct: in reference and prediction"),
        Patch(color=NOT_FOUND, label=pieces("missed_pieces", "missing: only in the reference")),
        Patch(color=TOO_MUCH, label=pieces("false_pieces", "too much: only predicted")),
        _line(SKELETON, "true centreline"),
    ]
    handles += [_line(colour, text(kind, name, meaning)) for kind, (name, meaning, colour) in SEGMENTS.items()]
    handles += [
        Line2D([], [], color=mark.colour, marker=mark.shape, markersize=8, markeredgewidth=1.6, linestyle="none",
               markerfacecolor="none", label=text(kind, mark.name, mark.meaning),
               path_effects=[withStroke(linewidth=3.2, foreground=_DARK)])
        for kind, mark in MARKS.items()
    ]
    return handles


def _line(colour: str, label: str) -> Line2D:
    return Line2D([], [], color=colour, linewidth=2.4, label=label,
                  path_effects=[withStroke(linewidth=4, foreground=_DARK)])


def palette() -> list[tuple[int, ...]]:
    """All colours of these pictures, in bytes, for files with a palette."""
    colours = [BACKGROUND, BOTH, NOT_FOUND, TOO_MUCH, SKELETON, MISSED, SPURIOUS, _DARK]
    colours += [mark.colour for mark in MARKS.values()]
    return [tuple(round(255 * part) for part in to_rgb(colour)) for colour in colours]
