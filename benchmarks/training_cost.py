"""Time of a training step with nnU-Net's own loss and with a topology term beside it.

    python benchmarks/training_cost.py [--patch 64 64 64] [--batch 2] [--features 16 32 64] [--iterations 10]

A plain U-Net with deep supervision, random images and a target of tubes; the two losses take turns in one process and
the median step counts. The cost relative to the network falls with the size of the network.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import Tensor, nn

from nnunet_topo.losses import ClDiceLoss
from nnunet_topo.nnunet import CompoundLoss, Term


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patch", type=int, nargs="+", default=[64, 64, 64])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--features", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--iterations", type=int, default=10, help="of the soft skeleton")
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()

    device, axes, stages = torch.device(arguments.device), len(arguments.patch), len(arguments.features)
    conv, norm = (nn.Conv2d, nn.InstanceNorm2d) if axes == 2 else (nn.Conv3d, nn.InstanceNorm3d)
    network = PlainConvUNet(1, stages, arguments.features, conv, 3, [1] + [2] * (stages - 1), 2, 2, 2,
                            conv_bias=True, norm_op=norm, nonlin=nn.LeakyReLU, deep_supervision=True).to(device)
    images = torch.randn(arguments.batch, 1, *arguments.patch, device=device)
    target = torch.zeros(arguments.batch, 1, *arguments.patch, device=device)
    target[..., 20:28, :] = target[..., 40:44] = 1
    weights = torch.tensor([0.5**i for i in range(stages - 2)] + [0.0])
    base = DeepSupervisionWrapper(
        DC_and_CE_loss({"batch_dice": False, "smooth": 1e-5, "do_bg": False, "ddp": False}, {},
                       dice_class=MemoryEfficientSoftDiceLoss), (weights / weights.sum()).tolist())
    losses: dict[str, nn.Module] = {
        "nnU-Net": base,
        "with clDice": CompoundLoss(base, {"cl_dice": Term(ClDiceLoss, options={"iterations": arguments.iterations})},
                                    level_weights=base.weight_factors, has_regions=False, ignore_label=None),
    }
    seconds: dict[str, list[float]] = {name: [] for name in losses}
    for step in range(arguments.steps + 1):
        for name, loss in losses.items():
            spent = one_step(network, loss, images, target)
            if step > 0:  # the first compiles
                seconds[name].append(spent)
    assert isinstance(losses["with clDice"], CompoundLoss) and losses["with clDice"].take_means()["cl_dice"] > 0
    plain, ours = (median(seconds[name]) for name in losses)
    print(f"{arguments.batch} x {arguments.patch}, features {arguments.features}, {arguments.iterations} iterations, "
          f"{device}: {plain:.3f} s a step, with clDice {ours:.3f} s, {100 * (ours / plain - 1):+.0f} %")


def one_step(network: nn.Module, loss: nn.Module, images: Tensor, target: Tensor) -> float:
    synchronize = torch.cuda.synchronize if images.device.type == "cuda" else lambda: None
    synchronize()
    start = time.perf_counter()
    outputs = network(images)
    scaled = [nn.functional.interpolate(target, output.shape[2:], mode="nearest") for output in outputs]
    loss(outputs, scaled).backward()
    network.zero_grad()
    synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
