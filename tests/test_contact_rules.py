"""Rules learnt from training labels, what refuses to train without, and the metric of contacts that must not be."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from nnunet_topo.fingerprint import LabelFingerprint
from nnunet_topo.homology import touching_labels
from nnunet_topo.losses import ClDiceLoss, TopologicalInteractionLoss
from nnunet_topo.metrics import invalid_neighbours
from nnunet_topo.nnunet import Term
from nnunet_topo.nnunet.training import label_settings
from nnunet_topo.nnunet.training.checks import require_classes
from nnunet_topo.nnunet.training.contact_rules import ContactRule, contacts_of, described, learn_rules

GOLDEN = Path(__file__).parent / "golden" / "interactions"


def nested(seed: int) -> np.ndarray:
    """A tube (1) with a core (2), and a vein (3) beside it, a voxel away in one case."""
    labels = np.zeros((8, 16, 24), np.int16)
    shift = seed % 3
    labels[1:7, 3:10, 2 + shift : 10 + shift] = 1
    labels[3:5, 5:8, 4 + shift : 8 + shift] = 2
    labels[1:7, 3:10, 13:20] = 3
    return labels


def learn(maps: list[np.ndarray], min_cases: int = 4, **options):
    records = {f"case_{i}": contacts_of(labels, 4, ignored=9, in_slices=False) for i, labels in enumerate(maps)}
    present = {f"case_{i}": np.unique(labels).tolist() for i, labels in enumerate(maps)}
    return learn_rules(json.loads(json.dumps(records)), present, 4, **{"spacing": None, **options}, min_cases=min_cases)


def test_exclusions_and_an_enclosure_are_learnt_with_the_cases_that_support_them():
    rules, slips = learn([nested(seed) for seed in range(6)])
    assert rules == [ContactRule((0, 2), "corners", 6, 0), ContactRule((1, 3), "corners", 6, 2),
                     ContactRule((2, 3), "corners", 6, 0)]  # two of six are a voxel apart: tight
    assert not slips and learn([nested(0)] * 3) == ([], [])
    sentences = described(rules, 4)
    assert sentences[1] == "1 and 3 never touch (6 cases with both; tight: less than two voxels apart in 2)"
    assert sentences[-1] == "2 is enclosed by 1: it touches nothing else"
    loss = TopologicalInteractionLoss(apart=[(*rule.labels, rule.reach) for rule in rules])
    _, table = loss.table(4, 3)
    assert np.argwhere(table.all(0)).tolist() == [[0, 2], [1, 3], [2, 0], [2, 3], [3, 1], [3, 2]]


def test_contacts_at_corners_or_across_slices_leave_a_rule_about_the_rest():
    corner, across = nested(0), nested(0)
    corner[0, 2, 12] = 3
    corner[1, 3, 11] = 1
    assert ContactRule((1, 3), "faces", 6, 6) in learn([corner] * 6)[0]
    across[0, 3:5, 3:5] = 3  # above the tube, in the next slice
    assert not [rule for rule in learn([across] * 6)[0] if rule.labels == (1, 3)]
    assert ContactRule((1, 3), "slice", 6, 6) in learn([across] * 6, spacing=(2, 1, 1))[0]
    assert ContactRule((1, 3), "corners", 6, 6) in learn([across] * 6, spacing=(5, 1, 1))[0]


def test_a_slip_of_the_labels_is_named_and_makes_no_rule():
    slip = nested(0)
    slip[2, 4, 12] = 1
    slip[2, 4, 10:12] = 1
    rules, slips = learn([nested(0)] * 99 + [slip])
    assert (1, 3) not in [rule.labels for rule in rules]
    assert len(slips) == 1 and "Labels 1 and 3 touch in case_99 only, across 1 faces at most" in slips[0]


def test_ignored_voxels_and_what_lies_outside_of_nnunets_mask_touch_as_nothing_and_as_background():
    labels = nested(0)
    labels[:, :, 10:13] = 9
    labels[labels == 0] = -1
    found = contacts_of(labels, 4, ignored=9, in_slices=False)
    assert set(found) == {"0 1", "0 3", "1 2"}
    assert all(sum(counts[:13]) > 0 for counts in found.values())


def trainer_of(said: list[str], patch: tuple[int, ...] = (8, 8, 8)) -> SimpleNamespace:
    return SimpleNamespace(
        is_ddp=False, print_to_log_file=said.append,
        label_manager=SimpleNamespace(foreground_labels=[1, 2, 3], all_labels=[0, 1, 2, 3], ignore_label=None),
        configuration_manager=SimpleNamespace(patch_size=patch, spacing=(1.0, 1.0, 1.0)))


def filled(monkeypatch, options: dict, said: list[str]) -> Term:
    maps = {f"case_{i}": nested(i) for i in range(6)}

    def fingerprint(trainer, measures, of_maps):
        return LabelFingerprint(
            labels={case: [0, 1, 2, 3] for case in maps}, values={},
            of_maps={name: {case: measure(labels) for case, labels in maps.items()}
                     for name, measure in of_maps.items()})

    monkeypatch.setattr(label_settings, "_fingerprint", fingerprint)
    term = Term(TopologicalInteractionLoss, options=options)
    return label_settings.settings_from_labels(trainer_of(said), {"interaction": term})["interaction"]


def test_the_trainer_learns_rules_says_them_and_keeps_those_given_by_hand(monkeypatch):
    said: list[str] = []
    term = filled(monkeypatch, {"min_cases": 5}, said)
    assert term.options["apart"] == ((0, 2, "corners"), (1, 3, "corners"), (2, 3, "corners"))
    assert term.options["spacing"] == (1.0, 1.0, 1.0)
    assert "interaction: 2 is enclosed by 1: it touches nothing else." in said
    assert any('"apart": [[0, 2, "corners"], [1, 3, "corners"]' in sentence for sentence in said)
    assert filled(monkeypatch, {"apart": ((1, 3),)}, []).options["apart"] == ((1, 3),)
    with pytest.raises(RuntimeError, match="no two labels that occur together in 7 of them or more never touch"):
        filled(monkeypatch, {"min_cases": 7}, [])


def test_regions_and_a_single_class_are_refused():
    terms = {"interaction": Term(TopologicalInteractionLoss), "cl_dice": Term(ClDiceLoss)}
    require_classes(2, False, terms, "nnUNetTrainerX")
    with pytest.raises(ValueError, match=r"nnUNetTrainerX: .* this data set has regions, which overlap"):
        require_classes(2, True, terms, "nnUNetTrainerX")
    with pytest.raises(ValueError, match="this data set has 1 class beside the background, so that nothing interacts"):
        require_classes(1, False, terms, "nnUNetTrainerX")
    require_classes(1, True, {"interaction": Term(TopologicalInteractionLoss, weight=0.0)}, "nnUNetTrainerX")


@pytest.mark.parametrize("name", ["apart", "ct", "mr"])
def test_invalid_neighbours_are_those_of_topbrain(name):
    data = np.load(GOLDEN / f"invalid_neighbours_{name}.npz")
    found = invalid_neighbours(data["prediction"], data["valid_pairs"])
    assert list(found) == data["labels"].tolist() and list(found.values()) == data["invalid_per_label"].tolist()
    assert np.mean(list(found.values())) == pytest.approx(float(data["class_average"]))
    own = touching_labels(data["prediction"], len(data["valid_pairs"]))
    assert not any(invalid_neighbours(data["prediction"], own).values())


def test_a_table_that_is_none_gets_a_sentence():
    with pytest.raises(ValueError, match="square and symmetric table of bool"):
        invalid_neighbours(nested(0), np.triu(np.ones((4, 4), bool)))
    with pytest.raises(ValueError, match="holds 3, but labels are 0 to 2"):
        invalid_neighbours(nested(0), np.ones((3, 3), bool))
