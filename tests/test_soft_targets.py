"""Soft targets: nnU-Net's loss of probabilities, and their way through nnU-Net's loader and augmentation."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss, DC_and_topk_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss, SoftDiceLoss
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn

from nnunet_topo.losses import SCNPLoss
from nnunet_topo.nnunet import CompoundLoss, Term
from nnunet_topo.nnunet.distillation.soft_loss import SoftTargetLoss, with_soft_targets
from nnunet_topo.nnunet.distillation.soft_targets import (
    AppendSoftTargets,
    TakeSoftTargets,
    WithSoftTargets,
    every_head,
    in_thousandths,
    require_soft_targets,
    split_soft_targets,
    write_soft_targets,
)

SHAPES = [(9, 7), (5, 6, 7)]
DICE = [MemoryEfficientSoftDiceLoss, SoftDiceLoss]


def softmax_loss(dice=MemoryEfficientSoftDiceLoss, ignore_label=None, batch_dice=False, **cross_entropy) -> nn.Module:
    settings = {"batch_dice": batch_dice, "smooth": 1e-5, "do_bg": False, "ddp": False}
    return DC_and_CE_loss(settings, cross_entropy, weight_ce=0.7, weight_dice=1.5, ignore_label=ignore_label,
                          dice_class=dice)


def regions_loss(dice=MemoryEfficientSoftDiceLoss, ignore=False, batch_dice=False) -> nn.Module:
    settings = {"batch_dice": batch_dice, "do_bg": True, "smooth": 1e-5, "ddp": False}
    return DC_and_BCE_loss({}, settings, use_ignore_label=ignore, dice_class=dice)


def logits(*shape: int) -> torch.Tensor:
    return (2 * torch.randn(shape, generator=torch.Generator().manual_seed(1))).requires_grad_()


def labels(*shape: int, classes: int) -> torch.Tensor:
    return torch.randint(classes, shape, generator=torch.Generator().manual_seed(2)).to(torch.int16)


def one_hot(target: torch.Tensor, classes: int) -> torch.Tensor:
    return torch.cat([target == c for c in range(classes)], 1).float()


def assert_same(loss: nn.Module, output: torch.Tensor, target: torch.Tensor, soft: torch.Tensor) -> None:
    expected = loss(output, target)
    (gradient,) = torch.autograd.grad(expected, output)
    found = SoftTargetLoss(loss, "T")(output, target, soft)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, output)[0], gradient)
    assert torch.equal(SoftTargetLoss(loss, "T")(output, target), expected)


@pytest.mark.parametrize("space", SHAPES, ids=str)
@pytest.mark.parametrize("dice", DICE)
@pytest.mark.parametrize("batch_dice", [False, True])
@pytest.mark.parametrize("cross_entropy", [{}, {"label_smoothing": 0.1}, {"weight": torch.tensor([0.5, 1.0, 3.0])}],
                         ids=["plain", "smoothed", "weighted"])
@pytest.mark.parametrize("ignore_label", [None, 3])
def test_of_one_hot_probabilities_it_is_nnunets_loss(space, dice, batch_dice, cross_entropy, ignore_label):
    target = labels(2, 1, *space, classes=3 if ignore_label is None else 4)
    loss = softmax_loss(dice, ignore_label, batch_dice, **cross_entropy)
    assert_same(loss, logits(2, 3, *space), target, one_hot(target, 3))


@pytest.mark.parametrize("space", SHAPES, ids=str)
@pytest.mark.parametrize("dice", DICE)
@pytest.mark.parametrize("ignore", [False, True])
def test_of_hard_regions_it_is_nnunets_loss(space, dice, ignore):
    target = labels(2, 3 if ignore else 2, *space, classes=2).bool()
    assert_same(regions_loss(dice, ignore), logits(2, 2, *space), target, target[:, :2].float())


def test_exact_small_cases():
    """Two voxels with foreground probabilities 1/4 and 1/2; logits of 0, then those of 3/4 and 1/2."""
    soft = torch.tensor([[[[0.75, 0.5]], [[0.25, 0.5]]]])
    own = softmax_loss()
    own.dc.smooth = 0.0
    for odds, entropy, dice in ((1, np.log(2), 2 * (0.125 + 0.25) / (1 + 0.75)),
                                (3, (0.75 * np.log(4) + 0.25 * np.log(4 / 3) + np.log(2)) / 2,
                                 2 * (0.75 * 0.25 + 0.5 * 0.5) / (1.25 + 0.75))):
        output = torch.tensor([[[[0.0, 0.0]], [[np.log(odds), 0.0]]]], dtype=torch.float32)
        found = SoftTargetLoss(own, "T")(output, torch.zeros(1, 1, 1, 2), soft)
        assert float(found) == pytest.approx(0.7 * entropy - 1.5 * dice, rel=1e-5)


@pytest.mark.parametrize("space", SHAPES, ids=str)
@pytest.mark.parametrize("has_regions", [False, True])
def test_ignored_voxels_neither_count_nor_get_a_gradient(space, has_regions):
    output, soft = logits(2, 3, *space), torch.rand(2, 3, *space)
    if has_regions:
        target, loss = labels(2, 4, *space, classes=2).bool(), regions_loss(ignore=True)
        ignored = target[:, -1:]
    else:
        soft /= soft.sum(1, keepdim=True)
        target, loss = labels(2, 1, *space, classes=4), softmax_loss(ignore_label=3)
        ignored = target == 3
    found = SoftTargetLoss(loss, "T")(output, target, soft)
    (gradient,) = torch.autograd.grad(found, output)
    hidden = ignored.expand_as(gradient)
    assert (gradient[hidden] == 0).all() and (gradient[~hidden] != 0).all()
    other = torch.where(ignored, 1 - soft, soft)
    torch.testing.assert_close(SoftTargetLoss(loss, "T")(output, target, other), found)


def test_a_batch_of_ignored_voxels_alone_gives_a_finite_loss():
    target = torch.full((1, 1, 4, 4), 3)
    soft = torch.full((1, 3, 4, 4), 1 / 3)
    assert torch.isfinite(SoftTargetLoss(softmax_loss(ignore_label=3), "T")(logits(1, 3, 4, 4), target, soft))


def test_each_output_of_deep_supervision_has_its_soft_targets_and_its_weight():
    outputs = [logits(2, 3, 8, 8), logits(2, 3, 4, 4), logits(2, 3, 2, 2)]
    targets = [labels(2, 1, *output.shape[2:], classes=3) for output in outputs]
    soft = [torch.softmax(torch.randn(output.shape), 1) for output in outputs]
    weights = [0.75, 0.25, 0.0]
    hands = with_soft_targets(DeepSupervisionWrapper(softmax_loss(), weights), "T")
    assert torch.equal(hands(outputs, targets), DeepSupervisionWrapper(softmax_loss(), weights)(outputs, targets))
    hands.soft = soft
    single = [SoftTargetLoss(softmax_loss(), "T")(*level) for level in zip(outputs, targets, soft, strict=True)]
    torch.testing.assert_close(hands(outputs, targets), 0.75 * single[0] + 0.25 * single[1])


def test_a_transform_of_the_logits_sees_the_labels_and_its_loss_the_soft_targets():
    output, target = logits(1, 3, 8, 8), labels(1, 1, 8, 8, classes=3)
    soft = torch.softmax(torch.randn(output.shape), 1)
    loss = CompoundLoss(softmax_loss(), {"scnp": Term(SCNPLoss, weight=0.25)}, level_weights=[1.0], has_regions=False,
                        ignore_label=None)
    loss.base = hands = with_soft_targets(loss.base, "T")
    hands.soft = soft
    single = SoftTargetLoss(softmax_loss(), "T")
    transformed = SCNPLoss()(output, one_hot(target, 3).bool(), None)
    expected = 0.25 * single(transformed, target, soft) + 0.75 * single(output, target, soft)
    torch.testing.assert_close(loss(output, target), expected)


@pytest.mark.parametrize("loss", [
    DC_and_topk_loss({"batch_dice": False, "smooth": 1e-5, "do_bg": False, "ddp": False}, {"k": 10}),
    MemoryEfficientSoftDiceLoss(), nn.CrossEntropyLoss(),
], ids=["top-k", "Dice", "cross-entropy"])
def test_a_loss_that_does_not_take_probabilities_is_refused(loss):
    with pytest.raises(NotImplementedError, match=f"Mine: .* this trainer's loss is {type(loss).__name__}"):
        with_soft_targets(loss, "Mine")


def test_probabilities_survive_the_way_through_thousandths():
    probabilities = torch.softmax(3 * torch.randn(5, 20, 20, generator=torch.Generator().manual_seed(0)), 0)
    probabilities[:, 0, 0] = torch.tensor([0.0016, 0.2496, 0.2496, 0.2496, 0.2496])  # together 1000 when rounded
    probabilities[:, 0, 1] = torch.tensor([0.0, 0.3335, 0.3335, 0.333, 0.0])  # together 1001
    kept = in_thousandths(probabilities, has_regions=False)
    assert kept.dtype == torch.int16 and kept.shape == (4, 20, 20) and kept.sum(0).max() == 1000
    back = every_head(kept[None], has_regions=False)[0]
    assert torch.equal(back.sum(0), torch.ones(20, 20)) or (back.sum(0) - 1).abs().max() < 1e-6
    assert (back[1:] - probabilities[1:]).abs().max() <= 0.0015001 and (back[0] - probabilities[0]).abs().max() < 0.0025
    regions = torch.rand(3, 6, 6)
    back = every_head(in_thousandths(regions, has_regions=True)[None], has_regions=True)[0]
    assert (back - regions).abs().max() <= 0.000501


@pytest.mark.parametrize("ignore_label", [None, 3])
def test_files_keep_what_is_ignored_or_outside_and_are_read_in_place_of_the_label(tmp_path, ignore_label):
    original = labels(3, 6, 8, classes=5) - 1  # -1 to 3
    probabilities = torch.softmax(torch.randn(3, 3, 6, 8), 0)
    label = probabilities.argmax(0)
    write_soft_targets(tmp_path, "case", original, label, in_thousandths(probabilities, has_regions=False),
                       ignore_label=ignore_label, patch_size=(4, 4))

    class Dataset:
        identifiers = ["case"]

        def load_case(self, identifier):
            return "image", "label", "previous stage", {"of": identifier}

    dataset = WithSoftTargets(Dataset(), require_soft_targets(tmp_path, ["case"]))
    image, read, previous_stage, properties = dataset["case"]
    assert (image, previous_stage, properties) == ("image", "previous stage", {"of": "case"})
    channels = torch.from_numpy(read[:])
    kept = (original < 0) | (original == ignore_label if ignore_label is not None else torch.tensor(False))
    assert torch.equal(channels[0], torch.where(kept, original, label.to(torch.int16)))
    assert (channels[1:, original < 0] == 0).all()
    inside = original >= 0
    assert torch.equal(channels[1:, inside], in_thousandths(probabilities, has_regions=False)[:, inside])
    with pytest.raises(RuntimeError, match=r"lacks the soft targets of 1 training case\(s\), such as 'other'"):
        require_soft_targets(tmp_path, ["case", "other"])


def augmented(segmentation: torch.Tensor, patch: tuple[int, ...], channels: int, seed: int, **settings) -> dict:
    torch.manual_seed(seed)
    np.random.seed(seed)
    transforms = nnUNetTrainer.get_training_transforms(
        patch, (-0.5, 0.5), [[1.0] * len(patch), [0.5] * len(patch)], tuple(range(len(patch))),
        settings.pop("dummy_2d", False), use_mask_for_norm=[False], foreground_labels=[1, 2], **settings)
    sample = {"image": torch.zeros(1, *segmentation.shape[1:]), "segmentation": segmentation.clone()}
    for transform in (TakeSoftTargets(channels), transforms, AppendSoftTargets()):
        sample = transform(**sample)
    return sample


def blocks(*shape: int) -> torch.Tensor:
    """(1, *shape) int16: label 1 beside label 2, label 3 at an end, and -1, what the loader pads with, at the other."""
    result = torch.zeros(1, *shape, dtype=torch.int16)
    result[..., 6:20, 5:12] = 1
    result[..., 10:28, 12:18] = 2
    result[..., -6:, -6:] = 3
    result[..., :4] = -1
    return result


CASES = [((32, 24), {}), ((12, 32, 24), {}), ((12, 32, 24), {"dummy_2d": True})]


@pytest.mark.parametrize(("space", "settings"), CASES, ids=["2D", "3D", "dummy 2D"])
@pytest.mark.parametrize("kind", ["labels", "ignore", "regions", "cascade"])
def test_augmentation_moves_one_hot_soft_targets_as_it_moves_the_label(space, settings, kind):
    segmentation = blocks(*space)
    if kind != "ignore":
        segmentation[segmentation == 3] = 0
    settings = dict(settings)
    if kind == "regions":
        settings |= {"regions": [(1, 2), (2,)], "ignore_label": None}
        soft = torch.cat([torch.isin(segmentation, torch.tensor([1, 2])), segmentation == 2])
    else:
        soft = torch.cat([segmentation == 1, segmentation == 2])
    soft = torch.where(segmentation < 0, -1, 1000 * soft.to(torch.int16)).to(torch.int16)
    behind = []
    if kind == "cascade":
        settings |= {"is_cascaded": True}
        behind = [segmentation.flip(-1).clamp(0, 2)]
    exact = 0
    for seed in range(12):
        sample = augmented(torch.cat([segmentation, soft, *behind]), space, 2, seed, **copy.deepcopy(settings))
        assert len(sample["image"]) == (3 if kind == "cascade" else 1)
        fine, coarse = sample["segmentation"]
        assert len(fine) == len(coarse) == (4 if kind == "regions" else 3) and "regression_target" not in sample
        own, moved = split_soft_targets(fine[None], 2, has_regions=kind == "regions")
        own, heads = own[0], every_head(moved, has_regions=kind == "regions")[0]
        if kind == "regions":
            assert own.dtype == torch.bool
            differing = (heads > 0.5) != own
        else:
            assert (heads.sum(0) - 1).abs().max() < 1e-6
            differing = (heads.argmax(0) != own[0]) & (own[0] != 3)
        whole = torch.isin(moved, torch.tensor([0, 1000])).all()
        assert differing.float().mean() < 0.01  # ties of the label's interpolation; at three labels' corners
        if whole:  # mirrored alone
            exact += 1
            assert not differing.any()
        average = torch.nn.functional.avg_pool2d if len(space) == 2 else torch.nn.functional.avg_pool3d
        torch.testing.assert_close(coarse[-2:].float(), average(moved.float(), 2)[0], atol=1.01, rtol=0)
    assert 0 < exact < 12


def test_outside_of_the_image_is_background():
    segmentation = torch.cat([torch.ones(1, 8, 8), torch.full((1, 8, 8), 1000.0)]).to(torch.int16)
    padded = torch.nn.functional.pad(segmentation, (4, 4, 4, 4), value=-1)
    for seed in range(8):
        fine, _ = augmented(torch.cat([padded, padded[1:]]), (24, 24), 2, seed)["segmentation"]
        heads = every_head(fine[None, -2:], has_regions=False)[0]
        assert torch.equal(heads[0, :2], torch.ones(2, 24)) and heads[:, 12, 12].tolist() == [0, 0.5, 0.5]


def test_a_transform_that_loses_the_soft_targets_is_refused():
    with pytest.raises(RuntimeError, match="does not move soft targets as it moves the image"):
        AppendSoftTargets()(segmentation=torch.zeros(1, 4, 4), regression_target=torch.zeros(1, 5, 4))
