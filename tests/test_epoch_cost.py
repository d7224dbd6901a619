"""What the benchmarks of training measure has its terms in it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from scipy.stats import binomtest

from nnunet_topo.losses import TopoLoss
from nnunet_topo.nnunet import Term


@pytest.fixture
def epoch_cost(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import epoch_cost

    yield epoch_cost
    sys.modules.pop("epoch_cost")


def test_terms_that_would_wait_for_longer_than_a_short_training_begin_in_it(epoch_cost):
    names = ["nnUNetTrainer", "nnUNetTrainerTopoLoss", "nnUNetTrainerWarping", "nnUNetTrainerClDice"]
    later = {"start_epoch": 6, "ramp_epochs": 2}
    assert epoch_cost.schedule(names, 16) == {"topo": later, "warping": later}
    assert [*epoch_cost.terms_of("nnUNetTrainerClDiceSkeletonRecall")] == ["cl_dice", "skeleton_recall"]


@pytest.mark.parametrize(("weight", "value"), [(0.0, 0.3), (0.5, 0.3), (1.0, float("nan"))])
def test_an_epoch_without_a_term_is_not_measured(epoch_cost, weight, value):
    log = {"topology/weight/topo": [1.0], "topology/train/topo": [0.3], "topology/validation/topo": [0.2]}
    logger = SimpleNamespace(local_logger=SimpleNamespace(my_fantastic_logging=log))
    trainer = SimpleNamespace(terms={"topo": Term(TopoLoss)}, logger=logger)
    epoch_cost.require_terms(trainer)
    log["topology/weight/topo"].append(weight)
    log["topology/train/topo"].append(value)
    with pytest.raises(RuntimeError, match="is measured with topo, which had the weight"):
        epoch_cost.require_terms(trainer)


@pytest.mark.parametrize(("longer", "rounds", "open_question"), [
    (5, 5, False), (4, 5, True), (8, 9, False), (7, 9, True), (3, 3, True), (0, 9, True)])
def test_what_is_not_longer_in_nearly_every_round_is_within_noise(epoch_cost, longer, rounds, open_question):
    assert epoch_cost.within_noise([1.1] * longer + [0.99] * (rounds - longer)) is open_question
    assert bool(binomtest(longer, rounds, alternative="greater").pvalue > 0.05) is open_question
