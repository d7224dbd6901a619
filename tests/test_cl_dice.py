"""clDice against the official implementations' results; test_loss_contract.py has what all promise."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing

from nnunet_topo.losses import ClDiceLoss
from nnunet_topo.skeletons import soft_skeleton, soft_skeleton_of_mask, thin

GOLDEN = Path(__file__).parent / "golden"
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def golden(name: str):
    data = np.load(GOLDEN / name)
    logits = torch.from_numpy(data["logits"])
    target = torch.from_numpy(data["target"].astype(np.int64))
    one_hot = torch.cat([target == channel for channel in range(logits.shape[1])], 1)
    return data, logits, one_hot


def soft_dice(probabilities, target):
    return 1 - (2 * (probabilities * target).sum() + 1) / (probabilities.sum() + target.sum() + 1)


@pytest.mark.parametrize("file", sorted(file.name for file in GOLDEN.glob("cldice_*.npz")))
def test_reference_equals_the_authors_code_in_value_and_gradient(file):
    data, logits, one_hot = golden(file)
    for exclude, first in (("eb0", 0), ("eb1", 1)):
        probabilities = logits.softmax(1).requires_grad_()
        loss = ClDiceLoss.reference()(probabilities[:, first:], one_hot[:, first:])
        loss.backward()
        np.testing.assert_allclose(loss.item(), data[f"loss_cldice_{exclude}"], **CLOSE)
        np.testing.assert_allclose(probabilities.grad.numpy(), data[f"grad_prob_{exclude}"], rtol=0, atol=1e-6)
        total = 0.5 * soft_dice(probabilities[:, first:], one_hot[:, first:].float()) + 0.5 * loss
        np.testing.assert_allclose(total.item(), data[f"loss_dice_cldice_a0.5_{exclude}"], **CLOSE)
    logits = logits.requires_grad_()
    ClDiceLoss.reference()(logits.softmax(1)[:, 1:], one_hot[:, 1:]).backward()
    np.testing.assert_allclose(logits.grad.numpy(), data["grad_logits_softmax_eb1"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("file", sorted(file.name for file in GOLDEN.glob("cldice_*.npz")))
def test_skeletons_equal_the_authors_code(file):
    data, logits, one_hot = golden(file)
    skeleton, _ = soft_skeleton_of_mask(one_hot, 10)
    assert np.array_equal(skeleton.numpy(), data["skel_true"].astype(bool))
    for iterations in (3, 10):
        ours = soft_skeleton(logits.softmax(1)[:, 1:], iterations)
        np.testing.assert_allclose(ours.numpy(), data[f"skel_pred_fg_iter{iterations}"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("file", sorted(file.name for file in GOLDEN.glob("monai_cldice_*.npz")))
def test_monai_form_equals_monai_in_value_and_gradient(file):
    data, logits, one_hot = golden(file)
    for background, first in (("bg0", 1), ("bg1", 0)):
        for iterations in (3, 10):
            free = logits.clone().requires_grad_()
            loss = ClDiceLoss.monai(iterations)(free.softmax(1)[:, first:], one_hot[:, first:])
            np.testing.assert_allclose(loss.item(), data[f"loss_cldice_iter{iterations}_{background}"], **CLOSE)
            if iterations == 3:
                loss.backward()
                np.testing.assert_allclose(free.grad.numpy(), data[f"grad_logits_iter3_{background}"], rtol=0,
                                           atol=1e-6)


def tubes(*spatial: int) -> torch.Tensor:
    """(2, 2, *S): in each sample a straight tube of either class, of different places."""
    target = torch.zeros(2, 2, *spatial, dtype=torch.bool)
    for sample in range(2):
        for channel in range(2):
            start = 2 + 6 * channel + sample
            across = [slice(start, start + 3) if size > 5 else slice(None) for size in spatial[:-1]]
            target[(sample, channel, *across)] = True
    return target


SPACES = [(16, 20), (15, 16, 18), (1, 15, 15), (3, 20, 16)]
FORMS = {"default": {}, "batch": {"batch_wise": True}, "pooled": {"class_wise": False},
         "all classes": {"skip_absent": False}}


@pytest.mark.parametrize("spatial", SPACES, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_perfect_is_zero_and_worse_costs_more(form, spatial):
    loss, target = ClDiceLoss(iterations=4, **FORMS[form]), tubes(*spatial)
    perfect = loss(target.float(), target).item()
    broken = target.clone()
    broken[..., spatial[-1] // 2 : spatial[-1] // 2 + 3] = False
    assert perfect == pytest.approx(0, abs=1e-6)
    assert perfect < loss(broken.float(), target).item() < loss(torch.zeros(target.shape), target).item() <= 1


@pytest.mark.parametrize("form", FORMS)
def test_empty_targets_and_predictions_are_finite_and_connected(form):
    target = tubes(12, 14)
    nothing = torch.zeros_like(target)
    for prediction in (torch.zeros(target.shape), torch.rand(target.shape), torch.ones(target.shape)):
        for truth in (nothing, target, ~nothing):
            probabilities = prediction.clone().requires_grad_()
            loss = ClDiceLoss(iterations=3, **FORMS[form])(probabilities, truth)
            loss.backward()
            assert 0 <= loss.item() <= 1 and torch.isfinite(probabilities.grad).all()
    assert ClDiceLoss(iterations=3, **FORMS[form])(torch.zeros(target.shape), nothing).item() == 0


def test_value_written_out_by_hand():
    """A row of 9 pixels in a 9 x 9 image is its own skeleton; the prediction misses 3 of them and adds 2 others."""
    target = torch.zeros(1, 1, 9, 9, dtype=torch.bool)
    target[..., 4, :] = True
    prediction = target.float()
    prediction[..., 4, 3:6] = 0
    prediction[..., 0, 0] = prediction[..., 8, 8] = 1
    precision, sensitivity = (6 + 1) / (8 + 1), (6 + 1) / (9 + 1)
    expected = 1 - 2 * precision * sensitivity / (precision + sensitivity)
    assert ClDiceLoss(iterations=2)(prediction, target).item() == pytest.approx(expected, abs=1e-6)


def test_a_classes_absence_from_a_sample_does_not_dilute_the_others():
    target = tubes(16, 20)
    target[0, 1] = False
    probabilities = torch.rand(target.shape, generator=torch.Generator().manual_seed(0))
    loss = ClDiceLoss(iterations=3)
    by_hand = [loss(probabilities[b : b + 1, c : c + 1], target[b : b + 1, c : c + 1]).item()
               for b, c in ((0, 0), (1, 0), (1, 1))]
    whole = loss(probabilities, target).item()
    assert whole == pytest.approx((by_hand[0] + (by_hand[1] + by_hand[2]) / 2) / 2, rel=1e-5)


def test_a_samples_loss_does_not_depend_on_its_batch_nor_on_the_order_of_classes():
    target = tubes(16, 20)
    probabilities = torch.rand(target.shape, generator=torch.Generator().manual_seed(0))
    loss = ClDiceLoss(iterations=3)
    singles = [loss(probabilities[i : i + 1], target[i : i + 1]).item() for i in range(2)]
    assert loss(probabilities, target).item() == pytest.approx(sum(singles) / 2, rel=1e-6)
    assert loss(probabilities.flip(1), target.flip(1)).item() == pytest.approx(sum(singles) / 2, rel=1e-6)


def test_soft_targets_take_the_soft_path_and_binary_floats_the_closed_form():
    target = tubes(16, 20)
    probabilities = torch.rand(target.shape, generator=torch.Generator().manual_seed(0))
    loss = ClDiceLoss(iterations=3)
    assert loss(probabilities, target.float()).item() == loss(probabilities, target).item()
    smoothed = target.float() * (1 - 1e-4) + 5e-5
    assert loss(probabilities, smoothed).item() == pytest.approx(loss(probabilities, target).item(), abs=5e-3)


def test_too_few_iterations_are_noticed_once_a_look():
    target = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    target[..., 8:24, 8:24] = True  # needs 7
    enough, few = ClDiceLoss(iterations=7), ClDiceLoss(iterations=6)
    enough(target.float(), target)
    with pytest.warns(UserWarning, match="thicker than 6 iterations"):
        few(target.float(), target)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no second time
        few(target.float(), target)
    assert enough.notices() == []
    (sentence,) = few.notices()
    assert "thicker than 6 iterations can skeletonise" in sentence
    assert few.notices() == []


@pytest.mark.parametrize(("call", "error", "sentence"), [
    (lambda p, t: ClDiceLoss()(p, t), ValueError, "needs the number of skeleton iterations"),
    (lambda p, t: ClDiceLoss(iterations=-1), ValueError, "iterations must be at least 0"),
    (lambda p, t: ClDiceLoss(smooth=0), ValueError, "smooth must be greater than 0"),
])
def test_options_that_cannot_be_get_a_sentence(call, error, sentence):
    target = tubes(16, 20)
    with pytest.raises(error, match=sentence):
        call(torch.rand(target.shape), target)


def _one_process(rank: int, port: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    probabilities, target = _batch()
    probabilities = probabilities[rank : rank + 1].requires_grad_()
    loss = ClDiceLoss(iterations=3, batch_wise=True)(probabilities, target[rank : rank + 1])
    loss.backward()
    # DistributedDataParallel averages gradients over the processes
    torch.save((loss.detach(), probabilities.grad / 2), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def _batch():
    target = tubes(16, 20)
    return torch.rand(target.shape, generator=torch.Generator().manual_seed(0)), target


def test_batch_wise_sums_over_the_processes_of_a_distributed_training(tmp_path):
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_one_process, args=(port, str(tmp_path)), nprocs=2)
    probabilities, target = _batch()
    probabilities.requires_grad_()
    loss = ClDiceLoss(iterations=3, batch_wise=True)(probabilities, target)
    loss.backward()
    for rank in range(2):
        there, gradient = torch.load(tmp_path / f"{rank}.pt")
        assert there.item() == pytest.approx(loss.item(), rel=1e-6)
        torch.testing.assert_close(gradient[0], probabilities.grad[rank], rtol=1e-4, atol=1e-7)


def broken_tubes(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    target = tubes(*shape)
    probabilities = torch.where(target, 0.9, 0.1)
    probabilities[..., shape[-1] // 2] = 0.2
    return probabilities, target


@pytest.mark.parametrize("spatial", SPACES, ids=str)
def test_topological_form_is_the_formula_on_thinned_masks(spatial):
    probabilities, target = broken_tubes(*spatial)
    skeleton, true_skeleton = thin(probabilities > 0.5, border="anchored"), thin(target, border="anchored")
    expected = []
    for b, c in itertools.product(range(2), range(2)):
        s_p, s_l, p, v = skeleton[b, c], true_skeleton[b, c], probabilities[b, c], target[b, c]
        precision, sensitivity = ((s_p & v).sum() + 1) / (s_p.sum() + 1), (p[s_l].sum() + 1) / (s_l.sum() + 1)
        expected.append(float(1 - 2 * precision * sensitivity / (precision + sensitivity)))
    loss = ClDiceLoss(skeleton="topological", beta=0.0)
    assert loss(probabilities, target).item() == pytest.approx(sum(expected) / 4, rel=1e-5)
    assert loss(target.float(), target).item() == 0


@pytest.mark.parametrize("spatial", SPACES, ids=str)
def test_topological_form_pulls_a_missing_piece_of_the_skeleton_up_and_a_false_one_down(spatial):
    probabilities, target = broken_tubes(*spatial)
    false = torch.zeros_like(target)
    false[(0, 0, *[slice(0, 2)] * len(spatial))] = True
    false &= ~target
    probabilities = torch.where(false, 0.8, probabilities).requires_grad_()
    ClDiceLoss(skeleton="topological", beta=0.0)(probabilities, target).backward()
    gap = thin(target, border="anchored")[..., spatial[-1] // 2]
    assert (probabilities.grad[..., spatial[-1] // 2][gap] < 0).all()
    of_false = probabilities.grad[thin(false, border="anchored") & false]
    assert (of_false > 0).all() and len(of_false) > 0


def test_topological_form_draws_its_noise_from_torchs_generator():
    probabilities, target = broken_tubes(16, 20)
    loss = ClDiceLoss(skeleton="topological", samples=2)
    values = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        values.append(loss(probabilities * 0.6 + 0.2, target).item())
    assert values[0] == values[1] != values[2]


def test_only_the_soft_form_takes_its_iterations_from_the_labels():
    assert ClDiceLoss.from_labels({"skeleton": "soft"})["iterations"][1:] == (3, 25)
    assert ClDiceLoss.from_labels({"skeleton": "topological"}) == {}
    with pytest.raises(ValueError, match="skeleton must be 'soft' or 'topological', got 'thin'"):
        ClDiceLoss(skeleton="thin")
