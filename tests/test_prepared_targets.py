"""What the data loader makes for the terms, and how it reaches them through nnU-Net."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn

from nnunet_topo.losses import ClDiceLoss, SkeletonRecallLoss
from nnunet_topo.nnunet import CompoundLoss, Term
from nnunet_topo.nnunet.training.prepared_targets import PreparedTargets, split_target
from nnunet_topo.skeletons import tubed_skeleton

TERMS = {
    "cl_dice": Term(ClDiceLoss, options={"iterations": 3}),  # prepares nothing
    "skeleton_recall": Term(SkeletonRecallLoss, levels=2),
    "topological": Term(ClDiceLoss, options={"skeleton": "topological", "beta": 0.0}),
}


def labels(*shape: int) -> torch.Tensor:
    """(1, *shape) int16: a bar of label 1, one of label 2, and a block of label 3."""
    result = torch.zeros(1, *shape, dtype=torch.int16)
    result[..., 2:9, 3:8] = 1
    result[..., 12:15, 2:-2] = 2
    result[..., -3:, -3:] = 3
    return result


def in_regions(labels: torch.Tensor, *regions: tuple[int, ...]) -> torch.Tensor:
    return torch.cat([torch.isin(labels, torch.tensor(region)) for region in regions])


class Nothing(nn.Module):
    def forward(self, output, target):
        return output[0].sum() * 0 if isinstance(output, list) else output.sum() * 0


@pytest.mark.parametrize("shape", [(24, 20), (10, 24, 20)], ids=str)
def test_label_maps_get_a_channel_a_term_at_the_levels_that_it_asks_for(shape):
    full, half = labels(*shape), labels(*shape)[..., ::2, ::2]
    transform = PreparedTargets(TERMS, ignore_label=3, region_channels=None)
    levels = transform(image=torch.zeros(1), segmentation=[full, half, half[..., ::2, ::2]])["segmentation"]
    assert [len(level) for level in levels] == [3, 2, 1]
    own, made = split_target(levels[0][None], 1, ["skeleton_recall", "topological"])
    assert torch.equal(own[0], full) and own.dtype == torch.int16
    assert torch.equal(made["skeleton_recall"], tubed_skeleton(full[None], ignore_label=3))
    assert torch.equal(made["topological"], tubed_skeleton(full[None], 0, ignore_label=3))
    own, made = split_target(levels[1][None], 1, ["skeleton_recall"])
    assert torch.equal(own[0], half)
    assert torch.equal(made["skeleton_recall"], tubed_skeleton(half[None], ignore_label=3))


def test_regions_get_a_channel_a_region_and_term_behind_the_ignored_voxels():
    regions = in_regions(labels(24, 20), (1, 2), (2,), (3,))
    transform = PreparedTargets(TERMS, ignore_label=None, region_channels=2)
    (level,) = transform(image=torch.zeros(1), segmentation=[regions])["segmentation"]
    assert level.dtype == torch.bool and len(level) == 3 + 2 + 2
    own, made = split_target(level[None], 3, ["skeleton_recall", "topological"])
    assert torch.equal(own[0], regions)
    assert torch.equal(made["skeleton_recall"], tubed_skeleton(regions[None, :2]))


def test_a_term_of_all_levels_is_prepared_for_at_every_one_of_them():
    terms = {"skeleton_recall": Term(SkeletonRecallLoss, levels=None)}
    full = labels(24, 20)
    transform = PreparedTargets(terms, ignore_label=3, region_channels=None)
    levels = transform(image=torch.zeros(1), segmentation=[full, full[..., ::2, ::2], full[..., ::4, ::4]])
    assert [len(level) for level in levels["segmentation"]] == [2, 2, 2]
    loss = CompoundLoss(Nothing(), terms, level_weights=[2 / 3, 1 / 3, 0.0], has_regions=False, ignore_label=3)
    assert all(loss.preparing(level) == ["skeleton_recall"] for level in range(3))
    assert loss.level_weights["skeleton_recall"] == [2 / 3, 1 / 3]


def test_without_deep_supervision_the_target_is_one_tensor():
    transform = PreparedTargets(TERMS, ignore_label=None, region_channels=None)
    assert transform(image=torch.zeros(1), segmentation=labels(24, 20))["segmentation"].shape == (3, 24, 20)


def test_a_term_of_weight_zero_costs_the_loader_nothing():
    terms = {"skeleton_recall": Term(SkeletonRecallLoss, weight=0.0)}
    assert not PreparedTargets(terms, ignore_label=None, region_channels=None).terms


@pytest.mark.parametrize("has_regions", [False, True])
@pytest.mark.parametrize("shape", [(24, 20), (10, 24, 20)], ids=str)
def test_the_loss_is_the_same_with_and_without_the_loaders_work(shape, has_regions):
    ignore_label = 3
    full = labels(*shape)
    if has_regions:
        full = in_regions(full, (1, 2), (2,), (3,))
    batch = [torch.stack([full, full.flip(-1)]), torch.stack([full, full.flip(-1)])[..., ::2, ::2]]
    generator = torch.Generator().manual_seed(0)
    logits = [torch.randn(2, 2 if has_regions else 3, *level.shape[2:], generator=generator) for level in batch]
    loss = CompoundLoss(Nothing(), TERMS, level_weights=[0.8, 0.2], has_regions=has_regions, ignore_label=ignore_label)
    alone = loss(logits, batch).item()

    transform = PreparedTargets(TERMS, ignore_label=None if has_regions else ignore_label,
                                region_channels=2 if has_regions else None)
    samples = [transform(image=torch.zeros(1), segmentation=[level[i] for level in batch])["segmentation"]
               for i in range(2)]
    collated = [torch.stack([sample[level] for sample in samples]) for level in range(2)]
    pairs = [split_target(level, 3 if has_regions else 1, loss.preparing(i)) for i, level in enumerate(collated)]
    loss.prepared = [made for _, made in pairs]
    assert [sorted(made) for _, made in pairs] == [["skeleton_recall", "topological"], ["skeleton_recall"]]
    assert loss(logits, [own for own, _ in pairs]).item() == pytest.approx(alone, rel=1e-6)
    assert loss.prepared == []  # used once


def test_can_be_sent_to_a_worker_process():
    transform = PreparedTargets(TERMS, ignore_label=None, region_channels=None)
    transform.compile(2)
    there = pickle.loads(pickle.dumps(transform))
    once, again = (t(image=torch.zeros(1), segmentation=labels(24, 20))["segmentation"] for t in (transform, there))
    assert torch.equal(once, again)


def test_foreign_channels_get_a_sentence():
    with pytest.raises(RuntimeError, match="Another transform appends channels"):
        split_target(torch.zeros(1, 4, 8, 8), 1, ["a", "b"])


def test_a_target_without_prepared_channels_is_left_alone():
    target = torch.zeros(1, 1, 8, 8)
    assert split_target(target, 1, ["a"]) == (target, {})
