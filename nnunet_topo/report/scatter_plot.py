"""Two values against each other as a small vector drawing inside of a page: a dot for each run, one for the mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.ticker import MaxNLocator

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 580, 330, 68, 18, 10, 40  # pixels

Points = Sequence[tuple[float, float, str]]


class Dot(NamedTuple):
    """Where a value is drawn; ``text`` appears when it is pointed at."""

    x: float
    y: float
    text: str


class Mark(NamedTuple):
    """One method: a dot for each of its runs, and their mean, None where it is not finite."""

    name: str
    colour: str
    dots: list[Dot]
    mean: Dot | None


class ScatterPlot(NamedTuple):
    """All that the template draws; ``across`` and ``up`` are the ticks of the two axes."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    across: list[tuple[float, str]]
    up: list[tuple[float, str]]
    marks: list[Mark]


def scatter_plot(series: Sequence[tuple[str, str, Points]]) -> ScatterPlot | None:
    """Lay out series (name, colour, [(x, y, text)]); None where there is no point with two finite values.

    The mean of a series is that of its points with two finite values; other points are left out.
    """
    finite = [(name, colour, [point for point in points if math.isfinite(point[0]) and math.isfinite(point[1])])
              for name, colour, points in series]
    everything = [point for _, _, points in finite for point in points]
    if not everything:
        return None
    across = _axis([x for x, _, _ in everything], _LEFT, _WIDTH - _RIGHT)
    up = _axis([y for _, y, _ in everything], _HEIGHT - _BOTTOM, _TOP)
    marks = []
    for name, colour, points in finite:
        dots = [Dot(across.at(x), up.at(y), text) for x, y, text in points]
        mean = None
        if points:
            x, y = (sum(point[axis] for point in points) / len(points) for axis in (0, 1))  # type: ignore[misc]
            mean = Dot(across.at(x), up.at(y), name)
        marks.append(Mark(name, colour, dots, mean))
    return ScatterPlot(_WIDTH, _HEIGHT, _LEFT, _WIDTH - _RIGHT, _TOP, _HEIGHT - _BOTTOM, across.ticks, up.ticks, marks)


class _Axis(NamedTuple):
    low: float
    high: float
    start: float
    end: float
    ticks: list[tuple[float, str]]

    def at(self, value: float) -> float:
        return round(self.start + (self.end - self.start) * (value - self.low) / (self.high - self.low), 1)


def _axis(values: Sequence[float], start: float, end: float) -> _Axis:
    """From tick to tick, with all values between."""
    low, high = min(values), max(values)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    ticks = [float(tick) for tick in MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]
    axis = _Axis(min(low, ticks[0]), max(high, ticks[-1]), start, end, [])
    return axis._replace(ticks=[(axis.at(tick), f"{tick:g}") for tick in ticks])
