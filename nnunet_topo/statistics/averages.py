"""Means and spreads over images, runs or labels; what is not a number does not count."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def mean(values: Sequence[float]) -> float:
    """Mean of the numbers among the values, infinite if one of them is; not a number where there is none."""
    numbers = _numbers(values)
    return float(numbers.mean()) if len(numbers) else math.nan


def spread(values: Sequence[float]) -> float:
    """Standard deviation (n - 1 in the denominator); not a number below two numbers or where one is infinite."""
    numbers = _numbers(values)
    return float(numbers.std(ddof=1)) if len(numbers) > 1 and np.isfinite(numbers).all() else math.nan


def count(values: Sequence[float]) -> int:
    """How many of the values are numbers."""
    return len(_numbers(values))


def _numbers(values: Sequence[float]) -> np.ndarray:
    array = np.array(values, dtype=float)
    return array[~np.isnan(array)]
