"""Speed of Topograph, critical components and topological interactions, on one core.

    taskset -c 0 python benchmarks/interactions_and_regions.py [--repeats 7]

Vessel-like random masks with errors of two kinds: late, where the threshold of a smooth field is disturbed a little,
and early, where one voxel in six is wrong at random. Times are the least of the repeats, of the processor, of the
search alone (what torch adds, a gather, is small), and for interactions also of cross-entropy, forward and backward,
on the same tensor.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional as F

from nnunet_topo.homology import critical_components, critical_regions
from nnunet_topo.losses import TopologicalInteractionLoss


def seconds(function: Callable[[], object], repeats: int) -> float:
    function()
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        spent.append(time.process_time() - start)
    return min(spent)


def masks(shape: tuple[int, ...], early: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    field, errors = (ndimage.gaussian_filter(rng.normal(size=shape), sigma) for sigma in (3, 2))
    field, errors = field / field.std(), errors / errors.std()
    target = field > 0.8
    return (target ^ (rng.random(shape) < 0.155) if early else field + 0.01 * errors > 0.8), target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    for shape in ((512, 512), (64, 64, 64), (128, 128, 128)):
        for early in (False, True):
            prediction, target = masks(shape, early)
            for function in (critical_regions, critical_components):
                found = function(prediction, target)
                spent = seconds(lambda function=function, pair=(prediction, target): function(*pair), repeats)
                print(f"{shape}, {'early' if early else 'late'} ({(prediction ^ target).mean():.2%} wrong), "
                      f"{function.__name__}: {1000 * spent:.1f} ms, {found.critical.sum()} of {len(found.critical)} "
                      "regions are critical", flush=True)
    classes, shape = 13, (128, 128, 128)
    labels = torch.from_numpy(np.random.default_rng(0).integers(0, classes, (8, 8, 8)).repeat(16, 0).repeat(16, 1)
                              .repeat(16, 2))[None]
    logits = 4.0 * F.one_hot(labels, classes).movedim(-1, 1) + torch.randn(1, classes, *shape)
    target = F.one_hot(labels.roll(1, 1), classes).movedim(-1, 1)[:, 1:].bool()
    pairs = [(one, other) for one in range(1, classes) for other in range(one + 1, classes)]
    loss = TopologicalInteractionLoss(apart=pairs, lenient=False, threads=1)
    probabilities = torch.softmax(logits, 1)[:, 1:]
    predicted = probabilities.max(1)
    predicted = torch.where(predicted[0] > 1 - probabilities.sum(1), predicted[1] + 1, 0).numpy().astype(np.uint16)[0]
    offsets, table = loss.table(classes, 3)
    critical = loss._voxels(predicted, predicted, offsets, table)
    spent = seconds(lambda: loss._voxels(predicted, predicted, offsets, table), repeats)
    print(f"128^3, {classes} classes, {len(pairs)} pairs, interaction: search {spent:.3f} s, {len(critical)} critical")

    def with_gradient(value: Callable[[torch.Tensor], torch.Tensor]) -> None:
        value(logits.clone().requires_grad_()).backward()

    whole = seconds(lambda: with_gradient(lambda z: loss(torch.softmax(z, 1)[:, 1:], target)), repeats)
    softmax = seconds(lambda: with_gradient(lambda z: torch.softmax(z, 1)[:, 1:].amax()), repeats)
    cross_entropy = seconds(lambda: with_gradient(lambda z: F.cross_entropy(z, labels)), repeats)
    print(f"the loss with softmax, forward and backward {whole:.3f} s, softmax alone {softmax:.3f} s, cross-entropy "
          f"{cross_entropy:.3f} s")


if __name__ == "__main__":
    main()
