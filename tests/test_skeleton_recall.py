"""Skeleton Recall against the authors' results and exact small cases; test_loss_contract.py has what all promise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

from nnunet_topo.losses import SkeletonRecallLoss, skeleton_recall_loss
from nnunet_topo.nnunet import CompoundLoss, Term
from nnunet_topo.skeletons import tubed_skeleton

GOLDEN = sorted((Path(__file__).parent / "golden").glob("skelrecall_*.npz"))


def channels(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """(B, 1, *S) or (B, *S) label maps as (B, classes, *S) bool."""
    one_a_class = torch.arange(1, classes + 1).view(1, -1, *[1] * (labels.ndim - 2))
    return labels == one_a_class


def maps(array: np.ndarray, logits: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(array).long().view(len(logits), 1, *logits.shape[2:])


def bars(*shape: int) -> torch.Tensor:
    """(2, 2, *shape): two bars, along the last axis and along the first."""
    target = torch.zeros(2, 2, *shape, dtype=torch.bool)
    target[:, 0, ..., 3:8, :] = True
    target[:, 1, :, ..., -6:-1] = True
    return target


def test_golden_files_are_there():
    assert len(GOLDEN) == 4


@pytest.mark.parametrize("batch_wise", [False, True])
@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_reference_equals_the_authors_in_value_and_gradient(path, batch_wise):
    golden = np.load(path)
    logits = torch.from_numpy(golden["logits"]).float().requires_grad_()
    classes = logits.shape[1] - 1
    tubes, target = (channels(maps(golden[name], logits), classes) for name in ("skel", "target"))
    loss = SkeletonRecallLoss.reference(batch_wise=batch_wise)(logits.softmax(1)[:, 1:], target, None, tubes)
    loss.backward()
    # theirs is -1 for a perfect prediction, ours 0
    np.testing.assert_allclose(loss.item() - 1, golden[f"loss_srec_bd{int(batch_wise)}"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(logits.grad, golden[f"grad_logits_bd{int(batch_wise)}"], atol=1e-6)


@pytest.mark.parametrize("ignore", [False, True])
@pytest.mark.parametrize("batch_wise", [False, True])
@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_beside_nnunets_loss_it_equals_the_authors_compound_loss(path, batch_wise, ignore):
    golden = np.load(path)
    logits = torch.from_numpy(golden["logits"]).float().requires_grad_()
    ignore_label = json.loads(str(golden["meta"]))["ignore_label"] if ignore else None
    suffix = "_ignore" if ignore else ""
    base = DC_and_CE_loss({"batch_dice": batch_wise, "smooth": 1e-5, "do_bg": False, "ddp": False}, {},
                          ignore_label=ignore_label, dice_class=MemoryEfficientSoftDiceLoss)
    term = Term(SkeletonRecallLoss, options={"union": True, "batch_wise": batch_wise, "skip_absent": False})
    loss = CompoundLoss(base, {"skeleton_recall": term}, level_weights=[1.0], has_regions=False,
                        ignore_label=ignore_label)
    loss.prepared = [{"skeleton_recall": maps(golden[f"skel{suffix}"], logits)}]
    total = loss(logits, maps(golden[f"target{suffix}"], logits))
    total.backward()
    expected = golden[f"loss_dc_ce_srec{suffix}_bd{int(batch_wise)}"]
    np.testing.assert_allclose(total.item() - 1, expected, rtol=1e-5, atol=1e-6)
    if ignore and batch_wise:
        np.testing.assert_allclose(logits.grad, golden["grad_logits_dc_ce_srec_ignore_bd1"], atol=1e-6)


def test_counts_the_covered_part_of_the_tube():
    target = torch.zeros(1, 1, 9, 12, dtype=torch.bool)
    target[..., 4, :] = True  # its own tube: 12 voxels
    prediction = target.float()
    prediction[..., 4, 3:6] = 0
    prediction[..., 0, :] = 1  # of no consequence
    assert SkeletonRecallLoss()(prediction, target).item() == pytest.approx(3 / 12, abs=1e-5)


@pytest.mark.parametrize("shape", [(24, 20), (10, 17, 20)], ids=str)
@pytest.mark.parametrize("batch_wise", [False, True])
def test_a_perfect_prediction_costs_nothing_and_an_empty_one_all(shape, batch_wise):
    target = bars(*shape)
    loss = SkeletonRecallLoss(batch_wise=batch_wise)
    assert loss(target.float(), target).item() == 0
    assert loss(torch.zeros(target.shape), target).item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("union", [False, True])
def test_without_prepared_tubes_it_makes_them_from_the_target(union):
    target = bars(10, 17, 20)
    target[:, 0] &= ~target[:, 1]
    probabilities = torch.rand(target.shape, generator=torch.Generator().manual_seed(0))
    loss = SkeletonRecallLoss(radius=1, union=union)
    labels = (target * torch.tensor([1, 2]).view(1, 2, 1, 1, 1)).sum(1, keepdim=True)
    tubes = tubed_skeleton(labels, 1, union=union)
    assert torch.equal(loss.prepare(labels), tubes)
    assert torch.equal(loss.prepare(target), channels(tubes, 2))
    assert loss(probabilities, target).item() == loss(probabilities, target, None, channels(tubes, 2)).item()
    assert loss(probabilities, target.float()).item() == loss(probabilities, target).item()


def test_overlapping_regions_have_a_skeleton_each():
    target = bars(24, 20)
    target[:, 1] |= target[:, 0]
    probabilities = torch.rand(target.shape, generator=torch.Generator().manual_seed(0))
    each = [skeleton_recall_loss(probabilities[:, c : c + 1], tubed_skeleton(target[:, c : c + 1])).item()
            for c in range(2)]
    assert SkeletonRecallLoss()(probabilities, target).item() == pytest.approx(sum(each) / 2, rel=1e-6)


@pytest.mark.parametrize("batch_wise", [False, True])
def test_absent_classes_are_left_out_and_empty_targets_cost_nothing(batch_wise):
    target = bars(24, 20)
    probabilities = torch.rand(target.shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = SkeletonRecallLoss(batch_wise=batch_wise)
    alone = loss(probabilities[:, :1], target[:, :1]).item()
    target[:, 1] = False
    assert loss(probabilities, target).item() == pytest.approx(alone, rel=1e-6)
    empty = loss(probabilities, torch.zeros_like(target))
    empty.backward()
    assert empty.item() == 0 and torch.equal(probabilities.grad, torch.zeros(target.shape))


@pytest.mark.parametrize(("call", "sentence"), [
    (lambda p, t: SkeletonRecallLoss(radius=-1), "radius must be at least 0 voxels"),
    (lambda p, t: SkeletonRecallLoss(smooth=0), "smooth must be greater than 0"),
])
def test_options_that_cannot_be_get_a_sentence(call, sentence):
    target = bars(24, 20)
    with pytest.raises(ValueError, match=sentence):
        call(torch.rand(target.shape), target)
