"""clDice and Betti errors equal those that TopCoW and TopoMortar define, where they define them.

TopCoW (K. Yang et al., 2023, the challenge's evaluation): Betti numbers of a 26-connected foreground by components and
the Euler characteristic; clDice on scikit-image's skeletons, 0 where a skeleton is empty. TopoMortar (J. M. Valverde et
al., BMVC 2025): Betti numbers by gudhi with pixels as top cells; clDice on scikit-image's skeletons, no number where
one is empty. Both count each dimension by itself. Ours takes skeletons that keep the topology exactly.
"""

from __future__ import annotations

import math

import gudhi
import numpy as np
import pytest
from skimage import measure
from skimage.morphology import skeletonize

from nnunet_topo.metrics import betti_error, cl_dice
from nnunet_topo.metrics.centreline_dice import cl_dice_of_skeletons
from nnunet_topo.synthetic import vessel_tree

SHAPES = {2: (96, 96), 3: (40, 44, 48)}


def pairs(dimensions: int, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Noise at several densities, and vessel trees that are shifted, cut and strewn with false pieces."""
    result = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        reference = vessel_tree(SHAPES[dimensions], seed=seed, loops=2).label > 0
        prediction = np.roll(reference, seed % 3, axis=-1) & (rng.random(reference.shape) < 0.97)
        prediction |= rng.random(reference.shape) < 0.003
        result.append((prediction, reference))
        result.append(tuple(rng.random((2, *SHAPES[dimensions])) < 0.1 + 0.8 * seed / count))
    return result


def betti_numbers_of_topcow(mask: np.ndarray) -> tuple[int, int, int]:
    framed = np.pad(mask, 1)
    components = measure.label(framed, return_num=True, connectivity=3)[1]
    cavities = measure.label(~framed, return_num=True, connectivity=1)[1] - 1
    return components, components + cavities - measure.euler_number(framed, connectivity=3), cavities


def betti_numbers_of_topomortar(mask: np.ndarray) -> tuple[int, ...]:
    complex_ = gudhi.CubicalComplex(top_dimensional_cells=1.0 - mask)
    complex_.compute_persistence()
    return tuple(complex_.persistent_betti_numbers(0, 0.5)[: mask.ndim])


def test_betti_errors_are_those_of_topcow():
    for prediction, reference in pairs(3, 6):
        theirs = zip(betti_numbers_of_topcow(prediction), betti_numbers_of_topcow(reference), strict=True)
        assert betti_error(prediction, reference) == tuple(abs(one - two) for one, two in theirs)


def test_betti_errors_are_those_of_topomortar():
    for prediction, reference in pairs(2, 6):
        theirs = zip(betti_numbers_of_topomortar(prediction), betti_numbers_of_topomortar(reference), strict=True)
        assert betti_error(prediction, reference) == tuple(abs(one - two) for one, two in theirs)


def cl_dice_of_both(prediction: np.ndarray, reference: np.ndarray) -> float:
    """The formula in which they agree; neither smooths."""
    shares = [np.sum(skeletonize(one) & two) / np.sum(skeletonize(one))
              for one, two in ((prediction, reference), (reference, prediction))]
    return 2 * shares[0] * shares[1] / sum(shares) if sum(shares) else 0.0


@pytest.mark.parametrize("dimensions", [2, 3])
def test_cl_dice_is_theirs_on_their_skeletons_and_near_it_on_ours(dimensions):
    for prediction, reference in pairs(dimensions, 4):
        skeletons = [skeletonize(mask).astype(bool) for mask in (prediction, reference)]
        theirs = cl_dice_of_both(prediction, reference)
        assert cl_dice_of_skeletons(prediction, reference, *skeletons).cl_dice == pytest.approx(theirs)
    differences = [abs(cl_dice(*pair) - cl_dice_of_both(*pair)) for pair in pairs(dimensions, 4)[::2]]
    assert max(differences) < 0.05


def test_empty_masks_have_the_values_of_topomortar_when_both_are_empty_and_of_topcow_when_one_is():
    mask = vessel_tree((64, 64), seed=0).label > 0
    empty = np.zeros_like(mask)
    assert math.isnan(cl_dice(empty, empty))
    assert cl_dice(empty, mask) == cl_dice(mask, empty) == 0
