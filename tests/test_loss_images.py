"""Crops for the losses that look at single images."""

from __future__ import annotations

import pytest
import torch

from nnunet_topo.losses._images import crops, random_place

SIDE = 8


def places_of(target: torch.Tensor, count: int = 60) -> list[tuple[int, ...]]:
    torch.manual_seed(0)
    places = [random_place(target, SIDE) for _ in range(count)]
    assert all(place.stop - place.start == SIDE for crop in places for place in crop)
    starts = [tuple(place.start for place in crop) for crop in places]
    assert all(0 <= start <= size - SIDE for crop in starts for start, size in zip(crop, target.shape[1:], strict=True))
    return starts


@pytest.mark.parametrize("shape", [(30, 40), (12, 30, 40)], ids=str)
@pytest.mark.parametrize("dtype", [torch.bool, torch.float32])
def test_crops_are_around_any_voxel_of_any_class(shape, dtype):
    target = torch.zeros(2, *shape, dtype=dtype)
    voxels = {(0, *[2] * len(shape)), (0, *(size - 9 for size in shape)), (1, *(size // 2 for size in shape))}
    for voxel in voxels:
        target[voxel] = 1
    expected = {tuple(min(max(at - SIDE // 2, 0), size - SIDE) for at, size in zip(voxel[1:], shape, strict=True))
                for voxel in voxels}
    assert set(places_of(target)) == expected and len(expected) == 3


@pytest.mark.parametrize("shape", [(30, 40), (12, 30, 40)], ids=str)
def test_without_foreground_crops_lie_anywhere(shape):
    starts = torch.tensor(places_of(torch.zeros(1, *shape, dtype=torch.bool)))
    for axis, size in enumerate(shape):
        assert starts[:, axis].min() == 0 and starts[:, axis].max() == size - SIDE
        assert starts[:, axis].unique().numel() > 2


def test_probabilities_and_target_are_cropped_alike_and_small_images_are_whole():
    target = torch.rand(3, 2, 30, 6) > 0.9
    probabilities = target.float()
    ours, theirs = crops(probabilities, target, SIDE)
    assert ours.shape == (3, 2, SIDE, 6) and torch.equal(ours, theirs.float())
    assert crops(probabilities, target, 30) == (probabilities, target)
