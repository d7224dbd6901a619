"""Time and memory of the skeletons that keep topology, against the published algorithm and scikit-image.

    python benchmarks/skeletons.py [--device cpu] [--iterations 5] [--threads 1] [--repeats 5]

The published algorithm is ``published_skeleton.py`` beside this file, plain torch written for this comparison; it is no
slower than the authors' own code. All run in turn in one process, the best of several runs counts (one run of the
published algorithm where it takes over a second). Results are compared voxel by voxel on the way.

The first table is thinning alone, with a given number of iterations; scikit-image's skeletonize runs to convergence and
so does "ours" beside it. The second is the differentiable form with noise, forward and backward; its memory is what is
kept for the backward pass, in multiples of the input. The third is Skeleton Recall's target.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from published_skeleton import published_probabilistic_skeleton, published_skeleton
from skimage.morphology import dilation, skeletonize
from torch import Tensor

from nnunet_topo.homology import betti_numbers
from nnunet_topo.skeletons import TopologicalSkeleton, thin, tubed_skeleton
from nnunet_topo.synthetic import vessel_tree


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--gigavoxel", action="store_true", help="only a mask of 1000^3 (4 GB of memory; Linux)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.gigavoxel:
        gigavoxel()
        return
    cases = {
        "tree 512 x 512": vessel_tree((512, 512), seed=0).label > 0,
        "tree 64^3": vessel_tree((64,) * 3, seed=0).label > 0,
        "tree 128^3": vessel_tree((128,) * 3, seed=0).label > 0,
        "solid ball 96^3": ball(96, 40),
        "50 % noise 96^3": np.random.default_rng(0).random((96,) * 3) < 0.5,
    }
    thinning(cases, options)
    differentiable({name: cases[name] for name in ("tree 512 x 512", "tree 64^3", "tree 128^3")}, options)
    if options.device == "cpu":
        tubes(cases["tree 128^3"], options.repeats)


def ball(size: int, radius: float) -> NDArray[np.bool_]:
    return ((np.indices((size,) * 3) - (size - 1) / 2) ** 2).sum(0) < radius**2


def thinning(cases: dict[str, NDArray[np.bool_]], options: argparse.Namespace) -> None:
    print(f"\nThinning, {options.iterations} iterations, {options.device}, {options.threads} thread(s)\n\n"
          "| mask | foreground | published s | ours ms | faster | skeletonize ms | ours to convergence ms | faster |\n"
          + "|---" * 8 + "|")
    for name, mask in cases.items():
        tensor = torch.from_numpy(mask)[None, None].to(options.device)
        floats = tensor.float()
        published = best(lambda x=floats: published_skeleton(x, iterations=options.iterations), options.repeats)
        ours = best(lambda x=tensor: thin(x, options.iterations), options.repeats)
        assert torch.equal(published[1].bool(), ours[1]), f"{name}: not the published result"
        lee = best(lambda mask=mask: skeletonize(mask), options.repeats)[0]
        converged = best(lambda x=tensor: thin(x), options.repeats)[0]
        print(f"| {name} | {mask.sum()} | {published[0]:.2f} | {1e3 * ours[0]:.2f} | {published[0] / ours[0]:.0f} x | "
              f"{1e3 * lee:.1f} | {1e3 * converged:.2f} | {lee / converged:.1f} x |", flush=True)


def differentiable(cases: dict[str, NDArray[np.bool_]], options: argparse.Namespace) -> None:
    print("\nWith noise, forward and backward; ours to convergence, specks suppressed, anchored\n\n"
          "| probabilities | published s | ours ms | faster | published keeps | ours keeps |\n" + "|---" * 6 + "|")
    for name, mask in cases.items():
        p = torch.from_numpy(np.where(mask, 0.9, 0.05).astype(np.float32))[None, None].to(options.device)
        forms = {"ours": TopologicalSkeleton(),
                 "published": lambda x: published_probabilistic_skeleton(x, iterations=options.iterations)}
        if mask.size > 64**3:
            del forms["published"]  # tens of gigabytes
        seconds = {key: best(lambda form=form, p=p: with_backward(form, p), options.repeats)[0]
                   for key, form in forms.items()}
        kept = {key: kept_for_backward(form, p) for key, form in forms.items()}
        there = "published" in forms
        print(f"| {name} | " + (f"{seconds['published']:.2f}" if there else "-") + f" | {1e3 * seconds['ours']:.1f} | "
              + (f"{seconds['published'] / seconds['ours']:.0f} x" if there else "-") + " | "
              + (f"{kept['published']:.0f} x" if there else "-") + f" | {kept['ours']:.1f} x |", flush=True)
    p = torch.cat([p, p])
    seconds_of_two = best(lambda: with_backward(TopologicalSkeleton(), p), options.repeats)[0]
    print(f"\nbatch 2 x 128^3: {1e3 * seconds_of_two:.1f} ms")


def tubes(mask: NDArray[np.bool_], repeats: int) -> None:
    labels = mask.astype(np.int16)
    ours = best(lambda: tubed_skeleton(labels), repeats)[0]
    theirs = best(lambda: dilation(dilation(skeletonize(labels > 0))) * labels, repeats)[0]
    print(f"\nTubed skeleton of a label patch of 128^3: skeletonize and two dilations {1e3 * theirs:.1f} ms, ours "
          f"{1e3 * ours:.1f} ms, {theirs / ours:.1f} x")


def gigavoxel() -> None:
    """400 bars of 9 x 9 voxels through 1000^3, about 3 % of it."""
    mask, rng = np.zeros((1000,) * 3, np.bool_), np.random.default_rng(0)
    for _ in range(400):
        place = [slice(start, start + 9) for start in rng.integers(0, 980, 3)]
        place[rng.integers(3)] = slice(None)
        mask[tuple(place)] = True
    thin(mask[:8, :8, :8].copy())  # compiles
    tubed_skeleton(mask[:8, :8, :8].astype(np.uint8))
    labels = mask.view(np.uint8)
    for name, function in (("betti_numbers", lambda: betti_numbers(mask)), ("thin", lambda: thin(mask)),
                           ("tubed_skeleton", lambda: tubed_skeleton(labels))):
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
        function()
        added = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e6
        print(f"{name}, 1000^3 voxels: {time.perf_counter() - start:.1f} s, at most {added:.1f} GB more")


def with_backward(skeleton: Callable[[Tensor], Tensor], probabilities: Tensor) -> None:
    skeleton(probabilities.clone().requires_grad_()).sum().backward()


def kept_for_backward(skeleton: Callable[[Tensor], Tensor], probabilities: Tensor) -> float:
    """Bytes of distinct tensors saved for the backward pass, over the input's."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = skeleton(probabilities.clone().requires_grad_())
    bytes_kept = sum(kept.values())
    del result
    return bytes_kept / (probabilities.numel() * probabilities.element_size())


def best(function: Callable[[], object], repeats: int) -> tuple[float, Tensor]:
    """Shortest time in seconds, CPU time where all work is the CPU's, and the last result."""
    times: list[float] = []
    while len(times) < repeats + 1:  # the first one compiles
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        start = (time.process_time(), time.perf_counter())
        result = function()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        passed = time.process_time() - start[0], time.perf_counter() - start[1]
        times.append(passed[1] if torch.cuda.is_available() or torch.get_num_threads() > 1 else passed[0])
        if times[-1] > 1 and len(times) > 1:
            break
    return min(times[1:]), result  # type: ignore[return-value]


if __name__ == "__main__":
    main()
