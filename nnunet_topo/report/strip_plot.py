"""Distributions as small vector drawings inside of a page: a dot for each case, the middle half and the median."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.ticker import MaxNLocator

_WIDTH, _LEFT, _RIGHT, _ROW, _TOP, _BOTTOM = 580, 176, 34, 24, 6, 22  # pixels


class Dot(NamedTuple):
    """Where a case is drawn; ``text`` appears when it is pointed at, ``target`` is where it leads, "" for nowhere."""

    x: float
    y: float
    target: str
    text: str


class Row(NamedTuple):
    """One distribution; ``box`` has lower quartile, median and upper quartile, None for fewer than three values."""

    name: str
    y: float
    colour: str
    dots: list[Dot]
    box: tuple[float, float, float] | None
    note: str


class StripPlot(NamedTuple):
    """All that the template draws."""

    width: int
    height: int
    left: int
    right: int
    bottom: int
    ticks: list[tuple[float, str]]  # also one for infinity where there are such values
    zero: float | None  # where 0 is, if values lie on both sides of it
    rows: list[Row]


def strip_plot(series: Sequence[tuple[str, str, Sequence[tuple[float, str, str]]]], *, share: bool) -> StripPlot | None:
    """Lay out series (name, colour, [(value, target, text)]) on one axis; None where there is no finite value.

    Infinite values stand at the right edge; what is not a number is left out and counted beside.
    """
    finite = [value for _, _, points in series for value, _, _ in points if math.isfinite(value)]
    if not finite:
        return None
    low, high = min(finite), max(finite)
    low, high = (low, 1.0) if share else (min(0.0, low), max(0.0, high))
    if high - low < 1e-9:
        low, high = (0.0, 1.0) if share else (low, low + 1.0)
    ticks = [float(tick) for tick in MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]
    low, high = min(low, ticks[0]), max(high, ticks[-1])
    if share:
        low, high, ticks = max(low, 0.0), 1.0, [tick for tick in ticks if max(low, 0) <= tick <= 1 + 1e-9]

    def at(value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (value - low) / (high - low)

    rows = []
    for number, (name, colour, points) in enumerate(series):
        middle = _TOP + _ROW * (number + 0.5)
        dots = [Dot(round(_WIDTH - _RIGHT / 2 if math.isinf(value) else at(value), 1), round(middle + _jitter(k), 1),
                    target, text)
                for k, (value, target, text) in enumerate(points) if not math.isnan(value)]
        numbers = [value for value, _, _ in points if math.isfinite(value)]
        quartiles = [round(at(float(q)), 1) for q in np.percentile(numbers, (25, 50, 75))] if len(numbers) > 2 else None
        infinite = sum(math.isinf(value) for value, _, _ in points)
        missing = sum(math.isnan(value) for value, _, _ in points)
        note = ", ".join([f"{len(points)} cases", *[f"{infinite} infinite"] * bool(infinite),
                          *[f"{missing} without value"] * bool(missing)])
        box = None if quartiles is None else (quartiles[0], quartiles[1], quartiles[2])
        rows.append(Row(name, middle, colour, dots, box, note))
    height = _TOP + _ROW * len(series) + _BOTTOM
    marks = [(round(at(tick), 1), f"{tick:g}") for tick in ticks]
    if any(math.isinf(value) for _, _, points in series for value, _, _ in points):
        marks.append((_WIDTH - _RIGHT / 2, "∞"))
    zero = round(at(0.0), 1) if low < 0 < high else None
    return StripPlot(_WIDTH, height, _LEFT, _RIGHT, height - _BOTTOM, marks, zero, rows)


def _jitter(number: int) -> float:
    """Spread over the row, the same in every report."""
    return 14 * ((number * 0.618034 + 0.5) % 1 - 0.5)
