"""Whatever runs on a GPU runs on a device that is not the CPU, with the CPU's results, and without needless waits."""

from __future__ import annotations

import pytest
import torch
from other_device import DEVICE, OtherDevice
from test_loss_contract import ROWS, batch, every, gradient
from test_soft_skeleton import plain_skeleton, with_gradient

from nnunet_topo.skeletons import TopologicalSkeleton, soft_skeleton, soft_skeleton_of_mask, thin, tubed_skeleton

SIZES = [(2, 2, 15, 18), (2, 1, 9, 10, 11)]
IDS = ["2d", "3d"]


@every(ROWS)
def test_losses_and_their_gradients_are_those_of_the_cpu(row, axes):
    logits, target, valid = batch(axes)
    for arguments in ((target,), (target, valid)):
        torch.manual_seed(0)
        value, slope = gradient(row.build(), logits, *arguments)
        torch.manual_seed(0)
        with OtherDevice():
            there = gradient(row.build(), logits.to(DEVICE), *(tensor.to(DEVICE) for tensor in arguments))
            there = [tensor.cpu() for tensor in there]
        torch.testing.assert_close(there[0], value, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(there[1], slope, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", SIZES, ids=IDS)
def test_skeletons_are_those_of_the_cpu(size):
    p = torch.rand(size, generator=torch.Generator().manual_seed(0))
    mask, labels = p > 0.4, (3 * p).long()
    skeletons = [soft_skeleton(p, 3), soft_skeleton_of_mask(mask, 3)[0], thin(mask), thin(mask, 2, border="anchored"),
                 tubed_skeleton(labels), tubed_skeleton(labels, union=True, ignore_label=2)]
    with OtherDevice() as device:
        p, mask, labels = (tensor.to(DEVICE) for tensor in (p, mask, labels))
        there = [soft_skeleton(p, 3), soft_skeleton_of_mask(mask, 3)[0], thin(mask), thin(mask, 2, border="anchored"),
                 tubed_skeleton(labels), tubed_skeleton(labels, union=True, ignore_label=2)]
        there = [tensor.cpu() for tensor in there]
        assert all(map(torch.equal, there, skeletons))
        device.forget()
        soft_skeleton(p, 3), soft_skeleton_of_mask(mask, 3), thin(mask, 2)
        assert device.waits == 0


@pytest.mark.parametrize("options", [{}, {"gradient": "reference", "border": "background"}, {"samples": 2}])
@pytest.mark.parametrize("size", SIZES, ids=IDS)
def test_topological_skeletons_and_their_gradients_are_those_of_the_cpu(size, options):
    p = torch.rand(size, generator=torch.Generator().manual_seed(0))
    noise = torch.rand((options.get("samples", 1), *size), generator=torch.Generator().manual_seed(1)).logit()
    module = TopologicalSkeleton(4, **options)
    skeleton, slope = with_gradient(module, p, noise, 1)
    with OtherDevice():
        there = [tensor.cpu() for tensor in with_gradient(module, p.to(DEVICE), noise.to(DEVICE), 1)]
    assert torch.equal(there[0], skeleton)
    torch.testing.assert_close(there[1], slope, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1, 64, 64), (1, 1, 24, 24, 24)], ids=IDS)
def test_soft_skeleton_adds_nothing_up_in_random_order_and_takes_a_fifth_of_the_memory_of_its_composition(size):
    """On CUDA, pooling adds its gradients atomically. Memory is that of ten iterations, forward and backward."""
    image = torch.rand(size, generator=torch.Generator().manual_seed(0))
    with OtherDevice() as device:
        image = image.to(DEVICE)
        most = {}
        for function in (plain_skeleton, soft_skeleton):
            before = device.bytes
            device.forget()
            with_gradient(function, image, 10, 1)
            most[function] = device.most_bytes - before
        assert not [name for name in device.operations if "pool" in name or "index" in name or "scatter" in name]
    assert 5 * most[soft_skeleton] <= most[plain_skeleton]


def test_the_device_refuses_tensors_of_the_cpu_and_counts_what_is_alive():
    with OtherDevice() as device:
        there = torch.ones(10, 10).to(DEVICE)
        assert there.device.type == DEVICE and device.bytes == 400
        with pytest.raises(RuntimeError, match="same device"):
            there + torch.ones(10, 10)
        (there + there).sum().item()
        assert device.bytes == 400 and device.most_bytes == 804 and device.waits == 1
        view = there[2:]
        del there
        assert device.bytes == 400
        del view
        assert device.bytes == 0
