"""Betti matching with a foreground of 8 or 26 neighbours, against the authors' code on a doubled grid."""

from pathlib import Path

import numpy as np
import pytest

from nnunet_topo.homology import betti_matching

GOLDEN = sorted((Path(__file__).parent / "golden" / "betti_foreground").glob("f*.npz"))


def rows(*tables):
    values = np.stack([value for table in tables for value in (table.birth_value, table.death_value)], -1)
    return values[np.lexsort(values.T[::-1])]


def bars(*tables):
    """All rows, in an order that rounding does not change."""
    values = np.concatenate(tables)
    return values[np.lexsort(np.round(values, 5).T)]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_features_and_matches_are_those_of_the_official_code_on_the_doubled_grid(path):
    golden = np.load(path)
    matching = betti_matching(golden["prediction"], golden["target"])
    for k, d in enumerate(matching.dimensions):
        matched = golden[f"d{k}_matched"].reshape(-1, 4)
        for side, columns in (("prediction", matched[:, :2]), ("target", matched[:, 2:])):
            ours = rows(getattr(d, f"matched_{side}")), rows(getattr(d, f"unmatched_{side}"))
            theirs = columns, golden[f"d{k}_unmatched_{side}"].reshape(-1, 2)
            np.testing.assert_allclose(bars(*ours), bars(*theirs), atol=1e-6)
        assert d.counts == tuple(golden["counts"][k])
        np.testing.assert_allclose(bars(rows(d.matched_prediction, d.matched_target)), bars(matched), atol=1e-6)
