"""clDice on the skeletons that it can be asked for; values of the TopCoW challenge's own code in tests/golden."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nnunet_topo.metrics import cl_dice
from nnunet_topo.synthetic import vessel_tree

OFFICIAL = sorted((Path(__file__).parent / "golden").glob("topcow_*.npz"))


@pytest.mark.parametrize("file", OFFICIAL, ids=lambda file: file.stem)
def test_lee_gives_the_official_values(file):
    data = np.load(file)
    masks = data["prediction"] > 0, data["reference"] > 0
    official = json.loads(str(data["official"]))["clDice"]
    assert cl_dice(*masks, skeleton="lee") == pytest.approx(official, rel=1e-9)


def test_there_are_official_values():
    assert len(OFFICIAL) == 3


def test_on_centred_skeletons_it_does_not_change_when_both_masks_move():
    reference = vessel_tree((40, 40, 40), seed=2).label > 0
    prediction = np.roll(reference, 1, 0)
    prediction[18:21] = False

    def moved(step):
        pair = (np.pad(mask, ((step, 2), (1, step), (2, 2))) for mask in (prediction, reference))
        return cl_dice(*pair, skeleton="centred", spacing=(1, 1, 2))

    assert moved(0) == moved(1) == moved(2) and 0.3 < moved(0) < 1


def test_centred_needs_the_spacing_and_names_are_checked():
    mask = np.ones((3, 3), bool)
    with pytest.raises(ValueError, match="needs the spacing"):
        cl_dice(mask, mask, skeleton="centred")
    with pytest.raises(ValueError, match="thin, centred, lee, not 'soft'"):
        cl_dice(mask, mask, skeleton="soft")
