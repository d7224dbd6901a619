"""Whatever runs on a GPU runs on a device that is not the CPU, with the CPU's results, and without needless waits.

Where there is a GPU it is such a device, and so is one that the tests make up (``other_device.py``) everywhere.
"""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext

import pytest
import torch
from loss_table import ROWS, batch, every, gradient
from other_device import DEVICE, OtherDevice
from test_soft_skeleton import plain_skeleton, with_gradient

from nnunet_topo.losses import MIPLoss
from nnunet_topo.skeletons import TopologicalSkeleton, soft_skeleton, soft_skeleton_of_mask, thin, tubed_skeleton
from nnunet_topo.skeletons._device import why_not_triton
from nnunet_topo.synthetic import vessel_tree

SIZES = [(2, 2, 15, 18), (2, 1, 9, 10, 11)]
IDS = ["2d", "3d"]
NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


@pytest.fixture(params=[DEVICE, pytest.param("cuda", marks=NEEDS_CUDA)])
def device(request):
    with OtherDevice() if request.param == DEVICE else nullcontext():
        yield request.param


@every(ROWS)
def test_losses_and_their_gradients_are_those_of_the_cpu(row, axes, device):
    logits, target, valid = batch(axes)
    for arguments in ((target,), (target, valid)):
        torch.manual_seed(0)
        value, slope = gradient(row.build(), logits, *arguments)
        torch.manual_seed(0)
        there = gradient(row.build(), logits.to(device), *(tensor.to(device) for tensor in arguments))
        torch.testing.assert_close(there[0].cpu(), value, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(there[1].cpu(), slope, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", SIZES, ids=IDS)
def test_skeletons_are_those_of_the_cpu(size, device):
    p = torch.rand(size, generator=torch.Generator().manual_seed(0))

    def skeletons(p):
        mask, labels = p > 0.4, (3 * p).long()
        return [soft_skeleton(p, 3), soft_skeleton_of_mask(mask, 3)[0], thin(mask), thin(mask, 2, border="anchored"),
                thin(mask, 3, "euler"), tubed_skeleton(labels), tubed_skeleton(labels, union=True, ignore_label=2)]

    for here, there in zip(skeletons(p), skeletons(p.to(device)), strict=True):
        assert there.device.type == device and torch.equal(there.cpu(), here)


@pytest.mark.parametrize("kind", ["distinct", "tied", "binary"])
@pytest.mark.parametrize("size", SIZES, ids=IDS)
def test_gradients_of_the_soft_skeleton_are_those_of_the_cpu_and_the_same_in_every_run(size, kind, device):
    p = torch.rand(size, generator=torch.Generator().manual_seed(0))
    p = {"distinct": p, "tied": (3 * p).round() / 3, "binary": p.round()}[kind]
    weight = torch.randn(size, generator=torch.Generator().manual_seed(1))
    here = with_gradient(soft_skeleton, p, 3, weight)
    first, second = (with_gradient(soft_skeleton, p.to(device), 3, weight.to(device)) for _ in range(2))
    assert torch.equal(first[0].cpu(), here[0])
    torch.testing.assert_close(first[1].cpu(), here[1], rtol=1e-5, atol=1e-6)
    assert torch.equal(first[1].cpu(), second[1].cpu())


@pytest.mark.parametrize("options", [{}, {"gradient": "reference", "border": "background"}, {"samples": 2}])
@pytest.mark.parametrize("size", SIZES, ids=IDS)
def test_topological_skeletons_and_their_gradients_are_those_of_the_cpu(size, options, device):
    p = torch.rand(size, generator=torch.Generator().manual_seed(0))
    noise = torch.rand((options.get("samples", 1), *size), generator=torch.Generator().manual_seed(1)).logit()
    module = TopologicalSkeleton(4, **options)
    here = with_gradient(module, p, noise, 1)
    there = with_gradient(module, p.to(device), noise.to(device), 1)
    assert torch.equal(there[0].cpu(), here[0])
    torch.testing.assert_close(there[1].cpu(), here[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", SIZES, ids=IDS)
def test_nothing_waits_for_the_device_where_the_number_of_iterations_is_given(size):
    p = torch.rand(size, generator=torch.Generator().manual_seed(0))
    with OtherDevice() as made_up:
        p = p.to(DEVICE)
        made_up.forget()
        soft_skeleton(p, 3)
        soft_skeleton_of_mask(p > 0.5, 3)
        thin(p > 0.5, 2)
        assert made_up.waits == 0


def test_the_first_calls_of_a_loss_look_at_the_values_and_later_ones_do_not_wait_for_the_device(monkeypatch):
    monkeypatch.setattr("nnunet_topo.losses._common._calls", Counter())
    target = torch.rand(1, 2, 6, 7, 8, generator=torch.Generator().manual_seed(0)) > 0.5
    with OtherDevice() as made_up:
        target = target.to(DEVICE)
        for wrong in (255 * target.float(), -target.float()):
            with pytest.raises(ValueError, match=r"The MIP loss needs probabilities in \[0, 1\], got values from -?\d"):
                MIPLoss()(wrong, target)
            with pytest.raises(ValueError, match=r"The MIP loss needs targets in \[0, 1\], got values from -?\d"):
                MIPLoss()(target.float(), wrong)
        for _ in range(8):
            MIPLoss()(target.float(), target)
        made_up.forget()
        MIPLoss()(target.float(), target)
        assert made_up.waits == 0


@pytest.mark.parametrize("size", [(1, 1, 64, 64), (1, 1, 24, 24, 24)], ids=IDS)
def test_soft_skeleton_adds_nothing_up_in_random_order_and_takes_a_fifth_of_the_memory_of_its_composition(size):
    """On CUDA, pooling adds its gradients atomically. Memory is that of ten iterations, forward and backward."""
    image = torch.rand(size, generator=torch.Generator().manual_seed(0))
    with OtherDevice() as made_up:
        image = image.to(DEVICE)
        most = {}
        for function in (plain_skeleton, soft_skeleton):
            before = made_up.bytes
            made_up.forget()
            with_gradient(function, image, 10, 1)
            most[function] = made_up.most_bytes - before
        assert not [name for name in made_up.operations if "pool" in name or "index" in name or "scatter" in name]
    assert 5 * most[soft_skeleton] <= most[plain_skeleton]


@NEEDS_CUDA
def test_on_cuda_the_kernels_run_and_take_a_fifth_of_the_memory_of_the_composition():
    assert why_not_triton(torch.device("cuda", torch.cuda.current_device())) == ""
    image = torch.rand(2, 1, 128, 128, 128, device="cuda")
    most = {}
    for function in (plain_skeleton, soft_skeleton):
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        with_gradient(function, image, 10, 1)
        most[function] = torch.cuda.max_memory_allocated() - before
    assert 5 * most[soft_skeleton] <= most[plain_skeleton]


@NEEDS_CUDA
def test_large_images_on_cuda_are_thinned_as_on_the_cpu():
    tree = torch.from_numpy(vessel_tree((128,) * 3, seed=0).label > 0)
    noise = torch.rand(128, 128, 128, generator=torch.Generator().manual_seed(0)) > 0.5
    masks = torch.stack([tree, noise])[:, None]
    for border in ("background", "anchored"):
        assert torch.equal(thin(masks.cuda(), border=border).cpu(), thin(masks, border=border))


def test_the_made_up_device_refuses_tensors_of_the_cpu_and_counts_what_is_alive():
    with OtherDevice() as made_up:
        there = torch.ones(10, 10).to(DEVICE)
        assert there.device.type == DEVICE and made_up.bytes == 400
        with pytest.raises(RuntimeError, match="same device"):
            there + torch.ones(10, 10)
        (there + there).sum().item()
        assert made_up.bytes == 400 and made_up.most_bytes == 804 and made_up.waits == 1
        view = there[2:]
        del there
        assert made_up.bytes == 400
        del view
        assert made_up.bytes == 0
