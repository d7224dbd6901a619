"""Time and memory of the soft skeleton, forward and backward, against the plain composition of pooling operations.

    python benchmarks/soft_skeleton.py [--sizes 512x512 64x64x64 128x128x128] [--iterations 3 10 25] [--device cpu]

Both run in turn in one process, on distinct random values (the dense worst case), the best of several runs counts. The
memory is what a run adds at its highest point: on the CPU resident memory, in a fresh process for each of the two
(Linux only), allocated memory on CUDA. The last columns are ratios, plain over ours, of a run forward and backward,
and of the closed form for masks forward only. The values are compared bit by bit on the way.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from nnunet_topo.skeletons import soft_skeleton, soft_skeleton_of_mask


def plain_skeleton(image: Tensor, iterations: int) -> Tensor:
    pool = F.max_pool2d if image.ndim == 4 else F.max_pool3d

    def erode(image: Tensor) -> Tensor:
        axes = image.ndim - 2
        minima = [-pool(-image, [3 if a == axis else 1 for a in range(axes)], 1, [int(a == axis) for a in range(axes)])
                  for axis in range(axes)]
        result = minima[0]
        for minimum in minima[1:]:
            result = torch.min(result, minimum)
        return result

    # as in the authors' code, each erosion is made twice: for the opening and for the next level
    skeleton = F.relu(image - pool(erode(image), 3, 1, 1))
    for _ in range(iterations):
        image = erode(image)
        difference = F.relu(image - pool(erode(image), 3, 1, 1))
        skeleton = skeleton + F.relu(difference - skeleton * difference)
    return skeleton


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["512x512", "64x64x64", "128x128x128"])
    parser.add_argument("--iterations", nargs="+", type=int, default=[3, 10, 25])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print("| size | iterations | plain s | ours s | plain MB | ours MB | faster | leaner | mask, closed form: faster |")
    print("|---" * 9 + "|")
    for size in arguments.sizes:
        shape = (1, 1, *map(int, size.split("x")))
        for iterations in arguments.iterations:
            print(row(size, shape, iterations, arguments.device, arguments.repeats), flush=True)


def row(size: str, shape: tuple[int, ...], iterations: int, device: str, repeats: int) -> str:
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(device)
    mask = image > 0.3
    functions: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: with_backward(soft_skeleton, image, iterations),
        "plain": lambda: with_backward(plain_skeleton, image, iterations),
        "mask": lambda: soft_skeleton_of_mask(mask, iterations)[0],
        "plain mask": lambda: plain_skeleton(mask.float(), iterations),
    }
    results = {name: function() for name, function in functions.items()}  # also compiles
    assert torch.equal(results["ours"], results["plain"]), "values differ"
    assert torch.equal(results["mask"], results["plain mask"].bool()), "masks differ"
    del results
    seconds = dict.fromkeys(functions, float("inf"))
    for _ in range(repeats):
        for name, function in functions.items():
            seconds[name] = min(seconds[name], time_of(function, device))
    megabytes = {name: memory_of(name, shape, iterations, device) for name in ("plain", "ours")}
    return (f"| {size} | {iterations} | {seconds['plain']:.3f} | {seconds['ours']:.3f} | {megabytes['plain']:.0f} | "
            f"{megabytes['ours']:.0f} | {seconds['plain'] / seconds['ours']:.1f} x | "
            f"{megabytes['plain'] / megabytes['ours']:.1f} x | {seconds['plain mask'] / seconds['mask']:.0f} x |")


def with_backward(skeleton: Callable[[Tensor, int], Tensor], image: Tensor, iterations: int) -> Tensor:
    free = image.detach().clone().requires_grad_()
    result = skeleton(free, iterations)
    result.sum().backward()
    return result.detach()


def time_of(function: Callable[[], Tensor], device: str) -> float:
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def memory_of(name: str, shape: tuple[int, ...], iterations: int, device: str) -> float:
    """MB that one run adds at its highest point."""
    if device == "cuda":
        image = torch.rand(shape, device=device)
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        with_backward(SKELETONS[name], image, iterations)
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(resident_memory_of, (name, shape, iterations, torch.get_num_threads()))


def resident_memory_of(name: str, shape: tuple[int, ...], iterations: int, threads: int) -> float:
    torch.set_num_threads(threads)
    image = torch.rand(shape)
    with_backward(SKELETONS[name], torch.rand(1, 1, *[4] * (len(shape) - 2)), iterations)  # loads what is loaded once
    Path("/proc/self/clear_refs").write_text("5")  # the highest point so far is forgotten
    before = resident("VmRSS")
    with_backward(SKELETONS[name], image, iterations)
    return (resident("VmHWM") - before) / 1e6


def resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


SKELETONS: dict[str, Callable[[Tensor, int], Tensor]] = {"plain": plain_skeleton, "ours": soft_skeleton}

if __name__ == "__main__":
    main()
