"""What every loss of the package promises, one test a promise; a new loss adds its row to the table, nothing else."""

from __future__ import annotations

import inspect
import itertools
import sys
import threading

import pytest
import torch
from loss_table import ROWS, Row, batch, broken, certain, every, gradient, scene, uncertain
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import nn

from nnunet_topo import losses
from nnunet_topo.nnunet import CompoundLoss, Term
from nnunet_topo.skeletons import thin


@every(ROWS)
def test_a_perfect_prediction_costs_nothing_and_less_than_any_broken_one(row, axes):
    loss, target = row.build(), scene(axes)
    assert loss(certain(target), target).item() == pytest.approx(0, abs=1e-5)
    costs = {name: loss(certain(mask), target).item() for name, mask in broken(axes).items()}
    assert set(row.free) <= set(costs)
    assert {name for name, cost in costs.items() if cost <= 1e-3} == set(row.free), costs


@every(ROWS)
def test_a_prediction_that_is_uncertain_costs_something(row, axes):
    target = scene(axes)
    value, slope = gradient(row.build(), uncertain(target), target)
    assert value.item() > 1e-3 and torch.isfinite(slope).all() and (slope != 0).any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("has_regions", [False, True], ids=["classes", "regions"])
@every(ROWS)
def test_extreme_logits_under_autocast_have_a_finite_value_and_gradient(row, axes, has_regions, dtype):
    _, target, valid = batch(axes)
    if has_regions:
        labels = torch.cat([target, ~valid], 1)
    else:
        labels = torch.where(valid, target[:, :1] + 2 * target[:, 1:], 3)
    channels = 2 if has_regions else 3
    logits = 2e4 * torch.randn(2, channels, *target.shape[2:], generator=torch.Generator().manual_seed(2))
    logits = logits.clamp(-6e4, 6e4).to(dtype).requires_grad_()
    base = nnunets_loss(has_regions) if row.loss.transforms_logits else Nothing()
    compound = CompoundLoss(base, {"term": Term(row.loss, options=row.options)}, level_weights=[1.0],
                            has_regions=has_regions, ignore_label=3)
    with torch.autocast("cpu", dtype=dtype):
        value = compound(logits, labels)
    value.backward()
    assert value.dtype == torch.float32 and torch.isfinite(value) and compound.take_means()["term"] > 0
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[(~valid).expand_as(logits)] == 0).all()


class Nothing(nn.Module):
    def forward(self, output, target):
        return output.float().sum() * 0


def nnunets_loss(has_regions: bool) -> nn.Module:
    dice = {"batch_dice": True, "smooth": 1e-5, "ddp": False}
    if has_regions:
        return DC_and_BCE_loss({}, {**dice, "do_bg": True}, use_ignore_label=True,
                               dice_class=MemoryEfficientSoftDiceLoss)
    return DC_and_CE_loss({**dice, "do_bg": False}, {}, ignore_label=3, dice_class=MemoryEfficientSoftDiceLoss)


@every(ROWS)
def test_ignored_voxels_have_no_say_and_exactly_zero_gradient(row, axes):
    loss, (logits, target, valid) = row.build(), batch(axes)
    value, slope = gradient(loss, logits, target, valid)
    hidden = (~valid).expand_as(target)
    assert (slope[hidden] == 0).all() and (slope[~hidden] != 0).any()
    other = torch.where(hidden, uncertain(target, seed=3), logits)
    assert loss(other, torch.where(hidden, ~target, target), valid).item() == pytest.approx(value.item(), rel=1e-6)


@every(ROWS)
def test_a_patch_that_is_ignored_as_a_whole_is_finite_without_gradient(row, axes):
    logits, target, valid = batch(axes)
    value, slope = gradient(row.build(), logits, target, torch.zeros_like(valid))
    assert torch.isfinite(value) and (slope == 0).all()


@every(ROWS)
def test_absent_classes_are_finite_and_connected(row, axes):
    loss, (logits, target, _) = row.build(), batch(axes)
    target[0, 1] = False
    value, slope = gradient(loss, logits, target)
    assert torch.isfinite(value) and torch.isfinite(slope).all() and (slope[1] != 0).any()
    assert loss(certain(target), target).item() == pytest.approx(0, abs=1e-5)
    value, slope = gradient(loss, logits, torch.zeros_like(target))
    assert value.item() >= 0 and torch.isfinite(slope).all()


@every([row for row in ROWS if row.batch_is_mean])
def test_a_batch_is_the_mean_of_its_samples(row, axes):
    loss, (logits, target, valid) = row.build(), batch(axes)
    singles = [loss(logits[i : i + 1], target[i : i + 1], valid[i : i + 1]).item() for i in range(2)]
    assert singles[0] != pytest.approx(singles[1], rel=1e-4)
    assert loss(logits, target, valid).item() == pytest.approx(sum(singles) / 2, rel=1e-5)


@every([row for row in ROWS if "batch_wise" in inspect.signature(row.loss).parameters])
def test_batch_wise_sums_over_the_processes_of_a_distributed_training(row, axes, monkeypatch):
    loss, (logits, target, _) = row.build(batch_wise=True), batch(axes)
    logits[0] = certain(target[0])
    whole, alone, sums = loss(logits, target), loss(logits[:1], target[:1]), []

    def all_reduce(parts: torch.Tensor) -> torch.Tensor:
        """The second process comes first, so that the first one, whose sum this is, knows what it has."""
        sums.append(parts)
        return parts + sums[0]

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr("torch.distributed.nn.functional.all_reduce", all_reduce)
    loss(logits[1:], target[1:])
    assert not torch.allclose(alone, whole, rtol=0.1)
    assert torch.allclose(loss(logits[:1], target[:1]), whole, rtol=1e-5)


@every([row for row in ROWS if row.loss.start is not losses.TopologyLoss.start])
def test_what_looks_at_single_images_works_in_the_background(row, axes, monkeypatch):
    loss, (logits, target, _) = row.build().loss, batch(axes)
    module, go_on = sys.modules[row.loss.start.__module__], threading.Event()
    in_background = module.in_background

    def waiting(function, *arguments, **options):
        def work():
            assert go_on.wait(5), "nothing goes on meanwhile"
            return function(*arguments, **options)

        return in_background(work)

    monkeypatch.setattr(module, "in_background", waiting)
    torch.manual_seed(0)
    end = loss.start(logits.sigmoid(), target)
    go_on.set()
    torch.manual_seed(0)
    assert torch.equal(end(), loss(logits.sigmoid(), target))


@every([row for row in ROWS if not row.asymmetric])
def test_permuting_the_axes_permutes_the_gradient(row, axes):
    loss, (logits, target, _) = row.build(), batch(axes)
    value, slope = gradient(loss, logits, target)
    for order in itertools.permutations(range(2, 2 + axes)):
        permuted = [tensor.permute(0, 1, *order) for tensor in (logits, target)]
        value_there, slope_there = gradient(loss, *permuted)
        assert value_there.item() == pytest.approx(value.item(), rel=1e-5)
        torch.testing.assert_close(slope_there, slope.permute(0, 1, *order), rtol=1e-4, atol=1e-7)


@every([row for row in ROWS if not isinstance(row.gradcheck, str)])
def test_the_gradient_is_the_derivative(row, axes):
    shape = (5, 6) if axes == 2 else (3, 4, 4)
    generator = torch.Generator().manual_seed(4)
    target = torch.rand(1, 2, *shape, generator=generator) > 0.5
    logits = torch.randn(target.shape, generator=generator, dtype=torch.float64, requires_grad=True)
    loss = row.build(**row.gradcheck)
    assert torch.autograd.gradcheck(lambda z: loss(z, target), logits)


@every(ROWS)
def test_half_precision_is_raised_and_the_value_is_float32_under_autocast(row, axes):
    loss, (logits, target, valid) = row.build().loss, batch(axes)
    for dtype in (torch.bfloat16, torch.float16):
        handed = (logits if takes_logits(row) else logits.sigmoid()).to(dtype)
        with torch.autocast("cpu", dtype=dtype):
            result = loss(handed, target, valid)
        assert result.dtype == torch.float32
        assert torch.equal(result, loss(handed.float(), target, valid))


@every(ROWS)
def test_integers_and_masks_are_taken_as_numbers(row, axes):
    loss, target = row.build().loss, scene(axes)
    for prediction in (broken(axes)["cut"].long(), broken(axes)["cut"]):
        assert torch.equal(loss(prediction, target), loss(prediction.float(), target))
    logits = uncertain(target)
    handed = logits if takes_logits(row) else logits.sigmoid()
    assert torch.allclose(loss(handed, target.float()), loss(handed, target))


@every(ROWS)
def test_wrong_shapes_get_a_sentence(row, axes):
    loss, (logits, target, valid) = row.build().loss, batch(axes)
    what = "logits" if takes_logits(row) else "probabilities"
    handed = logits if takes_logits(row) else logits.sigmoid()
    for arguments, sentence in (
        ((handed[0, 0], target[0, 0]), rf"needs {what} of shape \(B, C, \*S\)"),
        ((handed, target[:, :1]), f"needs a target of the {what}' shape"),
        ((handed, target, valid[:1]), "needs valid as a bool mask of shape"),
        ((handed, target, valid.float()), "needs valid as a bool mask of shape"),
    ):
        with pytest.raises(ValueError, match=sentence):
            loss(*arguments)


@every(ROWS)
def test_values_that_are_no_probabilities_get_a_sentence_and_what_is_ignored_may_be_anything(row, axes):
    loss, (logits, target, valid) = row.build().loss, batch(axes)
    handed = logits if takes_logits(row) else logits.sigmoid()
    nothing, somewhere = torch.tensor(torch.nan), torch.zeros_like(target)
    somewhere[0, 1].view(-1)[17] = True
    labels = target.long() * torch.tensor([1, 2]).view(1, 2, *[1] * axes)
    bad = {
        "targets in \\[0, 1\\], got values from 0 to 255. Each": (handed, 255 * target.to(torch.uint8)),
        "targets in \\[0, 1\\], got values from 0 to 255.": (handed, 255 * target.float()),
        "targets in \\[0, 1\\], got values from 0 to 2.": (handed, labels),
        "targets in \\[0, 1\\], got values from -1 to 1.": (handed, target.float().masked_fill(~valid, -1)),
        "targets in \\[0, 1\\], but some are NaN.": (handed, target.float().where(~somewhere, nothing)),
        "but some are NaN.": (handed.where(~somewhere, nothing), target),
    }
    if not takes_logits(row):
        bad["probabilities in \\[0, 1\\], got values from -.* Apply softmax or sigmoid"] = logits, target
        bad["probabilities in \\[0, 1\\], got values from 0 to 255"] = 255 * target, target
    for sentence, arguments in bad.items():
        with pytest.raises(ValueError, match=sentence):
            loss(*arguments)
    expected = loss(handed, target, valid)
    assert torch.equal(loss(handed, target.float().where(valid, -1), valid), expected)
    assert torch.equal(loss(handed, target.float().where(valid, nothing), valid), expected)
    if expected.ndim == 0:
        given = handed.where(valid, nothing).requires_grad_()
        value = loss(given, target, valid)
        value.backward()
        assert torch.equal(value, expected) and (given.grad[(~valid).expand_as(given)] == 0).all()


def test_every_exported_loss_stands_in_the_table_and_every_function_refuses_what_is_no_mask():
    exported = {name: getattr(losses, name) for name in losses.__all__}
    classes = {loss for loss in exported.values() if isinstance(loss, type)} - {losses.TopologyLoss}
    assert classes == {row.loss for row in ROWS}
    assert len({loss.name for loss in classes}) == len(classes) and all(loss.name.isidentifier() for loss in classes)
    target, functions = scene(3), {name: loss for name, loss in exported.items() if not isinstance(loss, type)}
    assert len(functions) >= 6
    for name, function in functions.items():
        skeletons = [target] * ("true_skeleton" in inspect.signature(function).parameters) * 2
        with pytest.raises(ValueError, match=r"needs targets in \[0, 1\], got values from 0 to 255"):
            function(target.float(), 255 * target.float(), *skeletons)
        if name not in ("cl_ce_loss", "scnp_logits"):
            with pytest.raises(ValueError, match=r"needs probabilities in \[0, 1\], got values from 0 to 255"):
                function(255 * target.float(), target, *skeletons)


@every([row for row in ROWS if row.loss.prepare is not losses.TopologyLoss.prepare])
def test_a_prepared_target_of_another_kind_gets_a_sentence(row, axes):
    loss, (logits, target, _) = row.build().loss, batch(axes)
    handed = logits if takes_logits(row) else logits.sigmoid()
    for prepared in (target.float(), target[:, :1]):
        with pytest.raises(ValueError, match="needs prepared as a bool mask of shape"):
            loss(handed, target, None, prepared)


def takes_logits(row: Row) -> bool:
    return row.loss.takes_logits or row.loss.transforms_logits


@every(ROWS)
def test_reference_is_one_rule_in_which_any_option_takes_the_place_of_the_authors(row, axes):
    defaults = {name: parameter.default for name, parameter in inspect.signature(row.loss).parameters.items()}
    assert str(inspect.signature(row.loss.reference)).startswith("(**options")
    assert repr(row.loss.reference(**defaults)) == repr(row.loss())
    assert repr(row.loss.reference()) != repr(row.loss()) or row.loss is losses.SCNPLoss


def test_a_loss_shows_no_skeleton_that_it_does_not_use():
    assert "Topological" not in repr(losses.ClDiceLoss())
    assert "Topological" in repr(losses.ClDiceLoss(skeleton="topological"))


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize(("function", "loss"), [
    (losses.cl_dice_loss, losses.ClDiceLoss(skeleton="topological", beta=0.0)),
    (losses.cb_dice_loss, losses.CbDiceLoss()),
])
def test_functions_leave_out_what_is_not_valid_as_the_modules_do(function, loss, axes):
    logits, target, valid = batch(axes)
    probabilities = logits.sigmoid()
    kept, true = probabilities.where(valid, 0), target & valid
    skeletons = [thin(mask, border="anchored") for mask in (kept > 0.5, true)]
    expected = loss(probabilities, target, valid)
    assert function(probabilities, target, *skeletons, valid).item() == pytest.approx(expected.item(), rel=1e-6)
    whole = [skeleton | ~valid for skeleton in skeletons]  # what lies outside has no say
    assert function(probabilities, target, *whole, valid).item() == pytest.approx(expected.item(), rel=1e-6)
