"""The search of settings: scores from tables of parts against measured ones, and the choice, also by other means."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from topology import seeds

from nnunet_topo.metrics import betti_error, betti_matching_error, cl_dice, dice
from nnunet_topo.postprocessing import Operations, close_gaps, drop_specks, fill_holes, keep_pieces
from nnunet_topo.postprocessing.candidates import RegionCase, Scores
from nnunet_topo.postprocessing.choice import Tolerances, best, choose, leave_one_out
from nnunet_topo.postprocessing.search import combinations, search


def likely_blobs(shape: tuple[int, ...], seed: int, smooth: float) -> np.ndarray:
    """Probabilities (*S) whose mask has pieces in holes, tunnels and cavities."""
    noise = np.random.default_rng(seed).normal(size=shape)
    smoothed = ndimage.gaussian_filter(noise, smooth)
    return np.clip(0.5 + 0.3 * smoothed / smoothed.std(), 0, 1).astype(np.float16)


def applied(mask, likely, spacing, allowed, chosen: Operations) -> np.ndarray:
    """One operation after the other."""
    specks = {"smaller_than": chosen.specks_smaller_than, "peak_below": chosen.specks_peak_below}
    if chosen.order == "specks_first":
        mask = drop_specks(mask, spacing, **specks, probabilities=likely)
    mask = close_gaps(mask, likely, spacing, tau=chosen.gaps_tau, allowed=allowed)
    if chosen.order == "gaps_first":
        mask = drop_specks(mask, spacing, **specks, probabilities=likely)
    mask = fill_holes(mask, spacing, smaller_than=chosen.holes_smaller_than,
                      tunnels_smaller_than=chosen.tunnels_smaller_than, allowed=allowed)
    return keep_pieces(mask, pieces=chosen.pieces)


some_operations = st.builds(
    Operations, st.sampled_from(["gaps_first", "specks_first"]), st.sampled_from([0.5, 0.45, 0.3]), st.just(False),
    st.sampled_from([0.0, 2.0, 5.0, 15.0]), st.sampled_from([0.0, 0.0, 0.6, 0.8]),
    st.sampled_from([0.0, 2.0, 4.0, 30.0]), st.just(0.0), st.sampled_from([None, None, 1, 2]))  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(st.lists(some_operations, min_size=6, max_size=12),
       st.sampled_from([(19, 24), (15, 1), (9, 10, 11), (1, 12, 9)]), st.sampled_from([0.5, 0.8]), st.booleans(),
       st.booleans(), seeds)
@example([Operations(holes_smaller_than=4.0), Operations()], (12, 12, 12), 0.5, False, False, 0)
def test_every_setting_scores_as_its_mask_does(candidates, shape, smooth, some_allowed, some_ignored, seed):
    rng = np.random.default_rng(seed)
    likely = likely_blobs(shape, seed, smooth)
    mask, reference = likely > 0.5, likely_blobs(shape, seed + 1, smooth) + likely > rng.uniform(0.8, 1.1)
    allowed = rng.random(shape) < 0.9 if some_allowed else None
    ignore = ndimage.uniform_filter(rng.random(shape), 3) < 0.4 if some_ignored else None
    spacing = (1.0, 0.5, 2.0)[: len(shape)]
    if len(shape) == 3:
        candidates = [*candidates, Operations(holes_smaller_than=2.0, tunnels_smaller_than=9.0)]
    case = RegionCase(mask, reference, spacing, probabilities=likely, allowed=allowed, ignore=ignore, lowest_tau=0.3)
    scored = np.ones(shape, np.bool_) if ignore is None else ~ignore
    for name, metric in (("betti_matching_error", betti_matching_error), ("betti_error", betti_error)):
        for chosen, scores in zip(candidates, case.all_scores(candidates, name), strict=True):
            result = applied(mask, likely, spacing, allowed, chosen)
            seen, truth = result & scored, reference & scored
            assert scores.errors == metric(seen, truth), chosen
            assert scores.dice == pytest.approx(dice(seen, truth), nan_ok=True)
            assert scores.cl_dice == pytest.approx(cl_dice(seen, truth), nan_ok=True)
            assert scores.changed == pytest.approx(np.count_nonzero(result ^ mask) / max(np.count_nonzero(mask), 1))


def test_loops_are_matched_and_cavities_with_pieces_in_them_filled_in_three_dimensions():
    """A ring of two halves beside a ball in a shell, both with specks, by hand."""
    reference = np.zeros((24, 24, 40), np.bool_)
    z, y, x = np.indices(reference.shape)
    ring = (np.abs(np.hypot(y - 11, x - 10) - 7) < 1.5) & (np.abs(z - 11) < 2)
    distance = np.sqrt((z - 11) ** 2 + (y - 11) ** 2 + (x - 29) ** 2)
    reference[ring | (distance < 8)] = True
    likely = np.where(reference, 0.9, 0.02).astype(np.float16)
    likely[:, :, 10][likely[:, :, 10] > 0.5] = 0.3  # the ring falls into two halves
    likely[(distance < 5) & (distance >= 2)] = 0.02
    likely[1, 1, 1] = likely[22, 22, 1] = 0.8
    case = RegionCase(likely > 0.5, reference, (1.0,) * 3, probabilities=likely, lowest_tau=0.05)
    assert betti_matching_error(likely > 0.5, reference) == (4, 1, 1)
    chosen = Operations(gaps_tau=0.2, specks_smaller_than=5.0, holes_smaller_than=1000.0)
    assert case.scores(chosen, "betti_matching_error").errors == (0, 0, 0)
    assert case.scores(Operations(gaps_tau=0.2), "betti_matching_error").errors == (3, 0, 1)
    assert case.scores(Operations(holes_smaller_than=1000.0), "betti_matching_error").errors[2] == 0


def test_the_search_finds_the_best_of_all_combinations():
    """Only one combination has no errors, and no small steps lead there."""
    wanted = Operations(gaps_tau=0.1, specks_smaller_than=50.0, holes_smaller_than=100.0)
    tried: list[Operations] = []

    def trial(candidates):
        tried.extend(candidates)
        return {each: [Scores((0 if each == wanted else 9,), 0.9, 0.9, float(each != Operations()))] * 4
                for each in [Operations(), *tried]}

    table = search(trial, axes=2, voxel=1.0, probabilities=True, pieces=2, tolerances=Tolerances())
    assert choose(table, Tolerances(), range(4)) == wanted
    assert any(each.pieces == 2 for each in tried) and any(each.specks_peak_below > 0 for each in tried)
    assert len(set(combinations(2, 0.25, True))) == len(combinations(2, 0.25, True))
    assert not any(each.needs_probabilities for each in combinations(3, 0.25, False))


def scored(errors: list[int], changed: float, dices: float = 0.8) -> list[Scores]:
    return [Scores((error,), dices, 0.8, changed) for error in errors]


def test_how_hard_images_are_does_not_make_a_worse_setting_as_good():
    """One standard error of the errors themselves is 15 here; that of the differences is 0.25."""
    raw, gentle, strong = (Operations(specks_smaller_than=size) for size in (0.0, 1.0, 2.0))
    table = {raw: scored([9, 20, 40, 90], 0.0), gentle: scored([2, 3, 12, 63], 0.1),
             strong: scored([0, 0, 10, 60], 0.2)}
    assert choose(table, Tolerances(), range(4)) == strong
    table[gentle] = scored([1, 0, 9, 61], 0.1)  # more by 0.25 +- 0.48
    assert choose(table, Tolerances(), range(4)) == gentle
    table[gentle] = scored([0, 0, 10, 69], 0.1)  # a single image is as much as chance
    assert choose(table, Tolerances(), range(4)) == gentle


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(1, 6), st.integers(2, 12))
def test_the_choice_is_that_of_its_definition(seed, images, count):
    rng = np.random.default_rng(seed)

    def random_scores(size: int) -> Scores:
        shares = [math.nan if rng.random() < 0.1 else float(value) for value in rng.uniform(0.78, 0.8, 2)]
        return Scores(tuple(rng.integers(5, size=2).tolist()), *shares, round(float(rng.random()), 1) * (size > 0))

    table = {Operations(specks_smaller_than=float(size)): [random_scores(size) for _ in range(images)]
             for size in range(count)}
    tolerances = Tolerances(0.005, 0.005)

    def defined(among: list[int]) -> Operations:
        def average(name, each):
            values = [getattr(table[each][image], name) for image in among]
            values = [value for value in values if not math.isnan(value)]
            return sum(values) / len(values) if values else math.nan

        allowed = [each for each in table if not any(
            average(name, Operations()) - average(name, each) > 0.005 + 1e-12 for name in ("dice", "cl_dice"))]
        first = min(allowed, key=lambda each: (average("error", each), average("changed", each)))
        good = []
        for each in allowed:
            more = [table[each][image].error - table[first][image].error for image in among]
            mean = sum(more) / len(more)
            variance = sum((value - mean) ** 2 for value in more) / (len(more) - 1) if len(more) > 1 else 0.0
            if mean <= math.sqrt(variance / len(more)) + 1e-12:
                good.append(each)
        return min(good, key=lambda each: (average("changed", each), average("error", each)))

    everything = list(range(images))
    assert choose(table, tolerances, everything) == defined(everything)
    others = [[other for other in everything if other != image] for image in everything]
    assert leave_one_out(table, tolerances) == [defined(rest) if rest else Operations() for rest in others]
    assert len(best(table, tolerances, 3)) <= 3
