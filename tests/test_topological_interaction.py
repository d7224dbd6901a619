"""Contacts of labels and the loss of topological interactions: the authors' code, slow versions, and by hand."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from nnunet_topo.homology import (
    count_contacts,
    forbidden_contacts,
    half_offsets,
    offsets_within,
    touching_labels,
    without_surroundings,
)
from nnunet_topo.losses import TopologicalInteractionLoss
from nnunet_topo.losses.topological_interaction import forbidden_table

GOLDEN = Path(__file__).parent / "golden" / "interactions"
FILES = sorted(file.stem for file in GOLDEN.glob("*ti_*.npz"))


def as_apart(meta: dict, classes: int) -> list[tuple]:
    """The authors' rules, of classes or sets of classes, as pairs that must not touch."""
    reach = "faces" if meta["connectivity"] in (4, 6) else "corners"
    pairs = set()
    for one, other in meta["exclusion"]:
        pairs |= set(itertools.product(np.atleast_1d(one).tolist(), np.atleast_1d(other).tolist()))
    for inner, outer in meta["inclusion"]:
        inside = np.atleast_1d(inner).tolist()
        pairs |= set(itertools.product(inside, set(range(classes)) - {*inside, *np.atleast_1d(outer).tolist()}))
    return [(*pair, reach) for pair in pairs]


def golden(name: str):
    data = np.load(GOLDEN / f"{name}.npz")
    meta = json.loads(str(data["meta"]))
    return data, meta, as_apart(meta, data["logits"].shape[1])


@pytest.mark.parametrize("name", FILES)
def test_critical_voxels_are_the_authors(name):
    data, meta, apart = golden(name)
    labels = data["logits"].argmax(1).astype(np.uint16)
    distance = 1 if meta["connectivity"] in (4, 6) else meta["min_thick"]  # they ignore it across faces
    offsets = half_offsets(meta["dim"], distance)
    table = np.zeros((len(offsets), *[data["logits"].shape[1]] * 2), bool)
    for one, other, reach in apart:
        table[offsets_within(reach, meta["dim"], None, distance), [[one], [other]], [[other], [one]]] = True
    for image, critical in zip(labels, data["critical"], strict=True):
        assert np.array_equal(forbidden_contacts(image, offsets, table), critical)


@pytest.mark.parametrize("name", [name for name in FILES if name != "ti_3d_26_nested"])
def test_value_and_gradient_are_the_authors(name):
    data, meta, apart = golden(name)
    loss = TopologicalInteractionLoss.reference(apart=apart, distance=meta["min_thick"])
    logits = torch.from_numpy(data["logits"]).double().requires_grad_()  # background is what is left to 1
    target = torch.stack([torch.from_numpy(data["target"]) == label for label in range(1, logits.shape[1])], 1)
    value = loss(torch.softmax(logits, 1)[:, 1:], target)
    assert value.item() == pytest.approx(float(data["loss"]), rel=1e-5)
    if "grad_logits" in data:
        value.backward()
        np.testing.assert_allclose(logits.grad, data["grad_logits"], atol=1e-6)


def test_rules_of_the_authors_that_leave_a_class_nothing_to_touch_are_refused():
    _, _, apart = golden("ti_3d_26_nested")  # 3 in 2, and 2 in 1, where everything but 1 is outside of 2
    with pytest.raises(ValueError, match="together they forbid label 3 to touch any other"):
        TopologicalInteractionLoss.reference(apart=apart).table(4, 3)
    _, table = TopologicalInteractionLoss(enclosed=[(3, 2), (2, 1)]).table(4, 3)
    assert not table[:, 3, 2].any() and not table[:, 2, 1].any() and table[:, 3, [0, 1]].all() and table[:, 2, 0].all()


def slow_contacts(labels: np.ndarray, distance: int) -> dict[tuple[int, ...], np.ndarray]:
    """Each ordered pair of voxels, by its offset."""
    found: dict[tuple[int, ...], np.ndarray] = {}
    for here in np.ndindex(labels.shape):
        for there in np.ndindex(labels.shape):
            offset = tuple(np.subtract(there, here))
            one, other = sorted((labels[here], labels[there]))
            if 0 < max(map(abs, offset)) <= distance and one != other:
                found.setdefault(offset, np.zeros((5, 5), int))[one, other] += 1
    return found


@pytest.mark.parametrize(("shape", "distance"), [((5, 6), 1), ((5, 6), 2), ((3, 4, 3), 1), ((3, 3, 4), 2), ((1, 7), 1)])
def test_contacts_are_those_of_all_pairs_of_voxels(shape, distance):
    labels = np.random.default_rng(0).integers(0, 5, shape)
    expected, counts = slow_contacts(labels, distance), count_contacts(labels, 5, distance=distance)
    for offset, found in zip(half_offsets(len(shape), distance)[:, 3 - len(shape) :], counts, strict=True):
        assert np.array_equal(found, expected.get(tuple(offset), np.zeros((5, 5))))
    ignoring = count_contacts(np.where(labels == 4, 255, labels), 4, distance=distance, ignored=255)
    assert np.array_equal(ignoring, counts[:, :4, :4])
    marks = np.random.default_rng(1).random(shape) < 0.5
    among = np.random.default_rng(2).random(shape) < 0.1
    near = np.array([any(among[there] and np.abs(np.subtract(there, here)).max() <= 1 for there in np.ndindex(shape))
                     for here in np.ndindex(shape)]).reshape(shape)
    assert np.array_equal(without_surroundings(marks, among), marks & ~near)


def test_thick_slices_join_no_neighbours_across_them():
    across = half_offsets(3)[:, 0] != 0
    assert offsets_within("corners", 3, (1, 1, 1)).all() and offsets_within("corners", 2, (3, 1)).all()
    assert np.array_equal(offsets_within("corners", 3, (5, 1, 1)), ~across)
    straight = offsets_within("corners", 3, (2.5, 1, 1)) & across
    assert 0 < straight.sum() < across.sum()
    assert np.array_equal(offsets_within("slice", 3, (1.5, 1, 1)), ~across)
    assert offsets_within("faces", 3).sum() == 3 and offsets_within("faces", 2).sum() == 2


SCENE = np.zeros((9, 12), int)
SCENE[2:7, 1:6] = 1
SCENE[4, 3] = 2
SCENE[2:7, 8:11] = 3


def probabilities_of(labels: np.ndarray, classes: int = 4, certainty: float = 0.7) -> torch.Tensor:
    rest = (1 - certainty) / (classes - 1)
    return torch.stack([torch.where(torch.from_numpy(labels == c), certainty, rest) for c in range(1, classes)])[None]


def one_hot(labels: np.ndarray, classes: int = 4) -> torch.Tensor:
    return torch.stack([torch.from_numpy(labels == c) for c in range(1, classes)])[None]


def test_counts_by_hand():
    prediction = SCENE.copy()
    prediction[4, 6:8] = 1  # a bridge to 3
    critical = 1 + 3  # its end, and the voxels of 3 beside it
    apart = TopologicalInteractionLoss(apart=[(1, 3)], normalised=False)
    assert apart(probabilities_of(prediction), one_hot(SCENE)).item() == pytest.approx(
        -math.log(0.1) - 3 * math.log(0.7), rel=1e-5)  # the bridge lies in the background
    classes = (prediction == 1).sum() + (prediction == 3).sum() + (SCENE == 1).sum() + (SCENE == 3).sum()
    normalised = TopologicalInteractionLoss(apart=[(1, 3)])(probabilities_of(prediction), one_hot(SCENE))
    expected = (-math.log(0.1) - 3 * math.log(0.7)) / ((1 + critical) * (1 + classes)) ** 0.5
    assert normalised.item() == pytest.approx(expected, rel=1e-5)
    inside = TopologicalInteractionLoss(enclosed=[(2, 1)], normalised=False)
    assert inside(probabilities_of(prediction), one_hot(SCENE)).item() == 0
    open_wall = SCENE.copy()
    open_wall[4, 4:6] = 0  # 2 touches the background
    value = inside(probabilities_of(open_wall), one_hot(SCENE)).item()
    assert value == pytest.approx(-math.log(0.7) - math.log(0.1), rel=1e-5)


def test_where_the_target_breaks_a_rule_nothing_is_critical():
    touching = SCENE.copy()
    touching[:, 6:8] = np.where(touching[:, 5:6] == 1, 1, 0)
    for lenient in (True, False):
        loss = TopologicalInteractionLoss(apart=[(1, 3)], lenient=lenient)
        value = loss(probabilities_of(touching), one_hot(touching)).item()
        assert (value > 0) != lenient
        assert loss(probabilities_of(touching), one_hot(SCENE)).item() > 0
        assert loss(one_hot(touching).float(), one_hot(touching)).item() == 0


def test_without_a_critical_voxel_the_zero_stays_in_the_graph():
    probabilities = probabilities_of(SCENE).requires_grad_()
    value = TopologicalInteractionLoss(apart=[(1, 3)])(probabilities, one_hot(SCENE))
    value.backward()
    assert value.item() == 0 and (probabilities.grad == 0).all()


def test_gradient_norm_is_of_the_order_of_dices():
    labels = torch.from_numpy(np.kron(SCENE, np.ones((5, 5), int)))
    noise = torch.randn(1, 4, *labels.shape, generator=torch.Generator().manual_seed(0))
    logits = (2.0 * (labels == torch.arange(4).view(4, 1, 1)) + 0.8 * noise).requires_grad_()
    probabilities, target = torch.softmax(logits, 1)[:, 1:], one_hot(labels.numpy())
    dice = 1 - (2 * (probabilities * target).sum((2, 3)) / (probabilities.sum((2, 3)) + target.sum((2, 3)))).mean()
    value = TopologicalInteractionLoss(apart=[(1, 3)], enclosed=[(2, 1)], lenient=False)(probabilities, target)
    norms = [torch.autograd.grad(loss, logits, retain_graph=True)[0].norm().item() for loss in (dice, value)]
    assert 0.1 < norms[1] / norms[0] < 10


@pytest.mark.parametrize(("options", "sentence"), [
    ({"apart": [(2, 2)]}, r"The rule \[2, 2\] names one label twice"),
    ({"apart": [(1, 2, "edges")]}, "one of 'corners', 'slice', 'faces', not 'edges'"),
    ({"apart": [(2, 1)], "enclosed": [(1, 2)]}, "1 is enclosed by 2, so they touch, but they must not touch"),
    ({"enclosed": [(1, 2), (1, 3)]}, "1 is enclosed by 2 and by 3"),
    ({"enclosed": [(1, 2), (2, 1)]}, "1 is enclosed by 2, and 2 by 1|2 is enclosed by 1, and 1 by 2"),
    ({"enclosed": [(0, 2)]}, "2 encloses 0 cannot hold"),
    ({"distance": 0}, "distance must be at least 1"),
    ({"threads": 0}, "threads must be at least 1"),
])
def test_rules_that_contradict_each_other_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        TopologicalInteractionLoss(**options)


@pytest.mark.parametrize(("options", "sentence"), [
    ({}, "Topological interaction has no rules"),
    ({"apart": []}, "Topological interaction has no rules"),
    ({"apart": [(1, 4)]}, r"names label 4, but there are 0 \(background\) to 3"),
    ({"apart": [(1, 0), (1, 2), (3, 1)]}, "together they forbid label 1 to touch any other"),
    ({"apart": [(1, 3)], "spacing": (1, 1, 1)}, "is of 3 axes, but images have 2"),
])
def test_rules_that_do_not_fit_are_refused_at_the_first_call(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        TopologicalInteractionLoss(**options)(probabilities_of(SCENE), one_hot(SCENE))


def test_touching_labels_and_wrong_label_maps():
    touching = touching_labels(SCENE, 4)
    assert np.argwhere(touching).tolist() == [[0, 1], [0, 3], [1, 0], [1, 2], [2, 1], [3, 0]]
    with pytest.raises(ValueError, match="holds 3, but labels are 0 to 2"):
        touching_labels(SCENE, 3)
    with pytest.raises(ValueError, match="whole numbers and of two or three axes, not of float64"):
        touching_labels(SCENE.astype(float), 4)


def test_a_table_forbids_both_orders_of_a_pair():
    _, table = forbidden_table([(1, 2, "faces")], (), 3, 2, None, 1)
    assert table.shape == (2, 4, 4) and table[:, 1, 2].all() and table[:, 2, 1].all() and table.sum() == 4
