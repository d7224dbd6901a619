"""Is one method better than another on the same images? Paired sign-flip tests, corrected for their number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import permutation_test

RESAMPLES = 99_999  # exact up to 16 images, of which there are 65,536 ways to flip


class PairedTest(NamedTuple):
    """Result of a paired test.

    Attributes:
        images: how many have both values.
        difference: mean of the second method minus the first.
        p: two-sided p value; not a number where there is nothing to test.
        exact: whether all ways to flip were counted instead of a random sample of them.
        infinite: in how many images either value is infinite; there is no test then.
    """

    images: int
    difference: float
    p: float
    exact: bool
    infinite: int


def paired_test(first: Sequence[float], second: Sequence[float], *, seed: int = 0) -> PairedTest:
    """Sign-flip permutation test of the mean difference of two methods, with images as units.

    If both methods were the same, each image's difference would be as likely with the other sign. The p value is the
    share of all ways to choose the signs in which the mean is at least as far from 0 as the observed one: all ways are
    counted where these are at most 99,999, otherwise so many are drawn, and the observed one is counted too. Pairs in
    which a value is not a number are left out. R. A. Fisher, "The Design of Experiments", 1935, section 21; B. Phipson
    and G. Smyth, "Permutation p-values should never be zero", SAGMB 9, 2010.
    """
    if len(first) != len(second):
        raise ValueError(f"A paired test needs two values for each image, not {len(first)} and {len(second)}.")
    one, two = np.asarray(first, float), np.asarray(second, float)
    known = ~(np.isnan(one) | np.isnan(two))
    one, two = one[known], two[known]
    infinite = int(np.count_nonzero(np.isinf(one) | np.isinf(two)))
    exact = 2 ** len(one) <= RESAMPLES
    if infinite or not len(one):
        return PairedTest(len(one), math.nan, math.nan, exact, infinite)
    differences = two - one
    if len(differences) == 1:  # of two ways, both are as far from 0
        return PairedTest(1, float(differences[0]), 1.0, True, 0)
    result = permutation_test((differences,), _mean, permutation_type="samples", n_resamples=RESAMPLES, batch=5000,
                              vectorized=True, random_state=np.random.default_rng(seed))
    return PairedTest(len(differences), float(differences.mean()), float(result.pvalue), exact, 0)


def _mean(differences: np.ndarray, axis: int) -> np.ndarray:
    return differences.mean(axis)


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected for their number, so that the chance of any false positive among all stays below the level.

    Those that are not a number stay so and do not count. S. Holm, "A simple sequentially rejective multiple test
    procedure", Scandinavian Journal of Statistics 6, 1979.
    """
    order = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    corrected, largest = [math.nan] * len(p_values), 0.0
    for rank, (p, place) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        corrected[place] = largest
    return corrected
