"""Time and memory of Betti matching, against the authors' C++ code if it is there.

    python benchmarks/betti_matching.py [--sizes 64x64 256x256 48x48x48 64x64x64] [--kinds vessel smooth] [--repeats 5]

"ours" has the foreground's connectivity (8 or 26), which the C++ code has not; "background" is ours with that of the
C++ code, whose pairs it is compared with.

The C++ core is that of the package topolosses (`pip install --no-deps --target FOLDER topolosses`, then FOLDER on
PYTHONPATH); without it, only our own figures are printed. Both run in turn in one process, on the same seeded pair, the
best of several runs counts, and pairs are compared as multisets of voxels on the way. The C++ code starts five
threads for a volume; pin the process to one core (`taskset -c 0`) for a comparison of the work. Memory is what a run
adds at its highest point, in a fresh process (Linux only). --batch times lists of four pairs on two threads. --masks
times the Betti matching error of pairs of masks, of sizes that are multiples of 128, for instance 128x128x128 and
512x512x512, in each form, and compares the published counts with those of the matching up to 128x128x128.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import multiprocessing
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from scipy.ndimage import binary_dilation, distance_transform_edt, gaussian_filter

from nnunet_topo.homology import BettiMatching, Connectivity, betti_matching, betti_matchings
from nnunet_topo.metrics import betti_matching_error
from nnunet_topo.synthetic import vessel_tree

Array = np.ndarray


def vessel(shape: tuple[int, ...], seed: int) -> tuple[Array, Array]:
    """Tubes along random walks, and a blurred, noisy prediction of them."""
    rng = np.random.default_rng(seed)
    outside = np.ones(shape, bool)
    for _ in range(max(4, min(shape) // 8)):
        position, direction = rng.random(len(shape)) * shape, rng.normal(size=len(shape))
        for _ in range(3 * max(shape) // 2):
            direction += 0.25 * rng.normal(size=len(shape))
            direction /= np.linalg.norm(direction)
            position += direction
            if (position < 0).any() or (position >= shape).any():
                break
            outside[tuple(position.astype(int))] = False
    label = distance_transform_edt(outside) <= 1.6
    logits = 8.8 * (gaussian_filter(label.astype(float), 1.0) - 0.45) + noise(rng, shape, 1.2)
    return sigmoid(logits), label.astype(np.float32)


def smooth(shape: tuple[int, ...], seed: int) -> tuple[Array, Array]:
    """Smooth noise, one part of it shared by prediction and label: many features of all sizes."""
    rng = np.random.default_rng(seed)
    shared, own = noise(rng, shape, 2.0), noise(rng, shape, 2.0)
    return sigmoid(1.6 * shared + 1.2 * own), (shared > 0.3).astype(np.float32)


def noise(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> Array:
    field = gaussian_filter(rng.normal(size=shape), sigma)
    return field / field.std()


def sigmoid(logits: Array) -> Array:
    return (1 / (1 + np.exp(-logits))).astype(np.float32)


def masks(shape: tuple[int, ...], seed: int) -> tuple[Array, Array]:
    """Vessel trees with eight loops in each tile of 128 voxels a side, and a prediction with gaps, blobs and swelling.

    The half in front is dilated by two voxels.
    """
    rng = np.random.default_rng(seed)
    trees = [vessel_tree((128,) * len(shape), seed=s, loops=8).label > 0 for s in range(4)]
    label = np.zeros(shape, bool)
    for corner in np.ndindex(*(size // 128 for size in shape)):
        flipped = np.flip(trees[rng.integers(4)], tuple(np.flatnonzero(rng.random(len(shape)) < 0.5)))
        label[tuple(slice(128 * c, 128 * c + 128) for c in corner)] = flipped
    prediction = label.copy()
    tiles, vessels = label.size // 128 ** len(shape), np.argwhere(label)
    for value, centres in (
        (False, rng.permutation(vessels)[: 20 * tiles]),
        (True, rng.random((10 * tiles, len(shape))) * shape),
    ):
        for centre in centres.astype(int):
            radius = rng.integers(1, 5)
            prediction[tuple(slice(max(c - radius, 0), c + radius) for c in centre)] = value
    front = prediction[: shape[0] // 2]
    front |= binary_dilation(front, iterations=2)
    return prediction, label


FORMS: dict[str, dict[str, Any]] = {
    "foreground": {},
    "background": {"connectivity": "background"},
    "published": {"connectivity": "background", "published": True},
}
KINDS = {"vessel": vessel, "smooth": smooth}


def official_code() -> ModuleType | None:
    """The C++ extension inside of topolosses, without importing the package itself, which needs more."""
    package = importlib.util.find_spec("topolosses")
    if package is None or not package.submodule_search_locations:
        return None
    for path in Path(package.submodule_search_locations[0]).rglob("betti_matching.*.so"):
        spec = importlib.util.spec_from_file_location("betti_matching", path)
        if spec is not None and spec.loader is not None:
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    return None


def official(module: ModuleType, prediction: Array, target: Array) -> Callable[[], object]:
    """A call of the C++ code; the conversion to its arguments is not timed."""
    first, second = (-image.astype(np.float64) for image in (prediction, target))
    return lambda: module.compute_matching(first, second)


def same(ours: BettiMatching, theirs: object) -> bool:
    tables = (
        ("matched_prediction", "input1_matched"),
        ("matched_target", "input2_matched"),
        ("unmatched_prediction", "input1_unmatched"),
        ("unmatched_target", "input2_unmatched"),
    )

    def rows(columns: list[Array]) -> list[list[int]]:
        return sorted(np.concatenate([np.reshape(c, (-1, len(ours.shape))) for c in columns], axis=1).tolist())

    def pair(number: int, k: int) -> tuple[list[Array], list[Array]]:
        own, name = getattr(ours[k], tables[number][0]), tables[number][1]
        return [own.birth, own.death], [getattr(theirs, f"{name}_{end}_coordinates")[k] for end in ("birth", "death")]

    for k in range(len(ours)):
        matched = [pair(0, k)[side] + pair(1, k)[side] for side in (0, 1)]
        for one, two in (matched, pair(2, k), pair(3, k)):
            if rows(one) != rows(two):
                return False
    return True


def best(functions: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Milliseconds of each function, the best of several turns; short ones run again and again in a turn."""
    result = dict.fromkeys(functions, float("inf"))
    for _ in range(repeats):
        for name, function in functions.items():
            deadline = time.perf_counter() + 0.05
            while (start := time.perf_counter()) < deadline:
                function()
                result[name] = min(result[name], 1e3 * (time.perf_counter() - start))
    return result


def mask_row(size: str) -> str:
    shape = tuple(map(int, size.split("x")))
    pair = masks(shape, 0)
    foreground = " and ".join(f"{100 * mask.mean():.1f} %" for mask in pair)
    rows = []
    for form, options in FORMS.items():
        start = time.perf_counter()
        error = betti_matching_error(*pair, **options)
        seconds = time.perf_counter() - start
        same = ""
        if pair[0].size <= 128**3 and form == "published":
            counts = [d.counts for d in betti_matching(*pair, "background").dimensions]
            same = "yes" if error == tuple(u + w for _, u, w in counts) else "NO"
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            megabytes = pool.apply(resident_memory, (form, "masks", shape))
        numbers = ", ".join(map(str, error))
        rows.append(f"| {size} | {form} | {foreground} | {seconds:.2f} | {megabytes:.0f} | {numbers} | {same} |")
    return "\n".join(rows)


def memory(name: str, kind: str, shape: tuple[int, ...]) -> float:
    """MB that one run adds at its highest point, over its inputs."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(resident_memory, (name, kind, shape))


def resident_memory(name: str, kind: str, shape: tuple[int, ...]) -> float:
    runs: list[Callable[[], object]]
    if kind == "masks":
        small, images = masks((128,) * len(shape), 1), masks(shape, 0)
        runs = [partial(betti_matching_error, *pair, **FORMS[name]) for pair in (small, images)]
    else:
        small, images = KINDS[kind]((8,) * len(shape), 0), KINDS[kind](shape, 0)
        module = official_code() if name == "C++" else None
        side: Connectivity = "background" if name == "background" else "foreground"
        pairs = (small, images)
        runs = [partial(betti_matching, *pair, side) if module is None else official(module, *pair) for pair in pairs]
    runs[0]()  # loads what is loaded once
    ctypes.CDLL(None).malloc_trim(0)  # gives back what making the images has left
    Path("/proc/self/clear_refs").write_text("5")  # the highest point so far is forgotten
    before = resident("VmRSS")
    runs[1]()
    return (resident("VmHWM") - before) / 1e6


def resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def row(size: str, kind: str, repeats: int, module: ModuleType | None) -> str:
    shape = tuple(map(int, size.split("x")))
    images = KINDS[kind](shape, 0)
    functions: dict[str, Callable[[], object]] = {
        "ours": lambda: betti_matching(*images),
        "background": lambda: betti_matching(*images, "background"),
    }
    identical = ""
    if module is not None:
        functions["C++"] = official(module, *images)
        identical = "yes" if same(betti_matching(*images, "background"), functions["C++"]()) else "NO"
    milliseconds = best(functions, repeats)
    megabytes = {name: memory(name, kind, shape) for name in functions}
    cells = [f"{kind} {size}", f"{milliseconds['ours']:.1f}", f"{megabytes['ours']:.0f}"]
    cells += [f"{milliseconds['background']:.1f}", f"{megabytes['background']:.0f}"]
    cells += [f"{milliseconds['ours'] / milliseconds['background']:.2f}"]
    if module is not None:
        cells += [f"{milliseconds['C++']:.1f}", f"{megabytes['C++']:.0f}"]
        cells += [f"{m['C++'] / m['ours']:.1f} x" for m in (milliseconds, megabytes)] + [identical]
    return "| " + " | ".join(cells) + " |"


def batch_row(size: str, kind: str, repeats: int, module: ModuleType | None) -> str:
    shape = tuple(map(int, size.split("x")))
    pairs = [KINDS[kind](shape, seed) for seed in range(4)]
    predictions, targets = zip(*pairs, strict=True)
    functions: dict[str, Callable[[], object]] = {"ours": lambda: betti_matchings(predictions, targets, threads=2)}
    if module is not None:
        lists = [[-image.astype(np.float64) for image in side] for side in (predictions, targets)]
        functions["C++"] = lambda: module.compute_matching(*lists)
    milliseconds = best(functions, repeats)
    figures = ", ".join(f"{name} {value:.1f} ms" for name, value in milliseconds.items())
    ratio = f": {milliseconds['C++'] / milliseconds['ours']:.1f} x" if module is not None else ""
    return f"four pairs, {kind} {size}, two threads: {figures}{ratio}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["64x64", "256x256", "48x48x48", "64x64x64"])
    parser.add_argument("--kinds", nargs="+", default=["vessel", "smooth"], choices=KINDS)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", action="store_true", help="lists of four pairs instead of single ones")
    parser.add_argument("--masks", action="store_true", help="the error of masks instead of the matching of images")
    arguments = parser.parse_args()
    if arguments.masks:
        for options in FORMS.values():
            betti_matching_error(*masks((128,) * (arguments.sizes[0].count("x") + 1), 1), **options)  # compiles
        print("| masks | form | foreground | s | MB | error | as by betti_matching |\n" + "|---" * 7 + "|")
        for size in arguments.sizes:
            print(mask_row(size), flush=True)
        return
    module = official_code()
    betti_matching(*vessel((16, 16), 0))  # compiles
    betti_matching(*vessel((8, 8, 8), 0))
    if not arguments.batch:
        titles = ["pair", "ours ms", "ours MB", "background ms", "background MB", "ours / background"]
        titles += [] if module is None else ["C++ ms", "C++ MB", "faster", "leaner", "identical"]
        print("| " + " | ".join(titles) + " |\n" + "|---" * len(titles) + "|")
    for size in arguments.sizes:
        for kind in arguments.kinds:
            print((batch_row if arguments.batch else row)(size, kind, arguments.repeats, module), flush=True)


if __name__ == "__main__":
    main()
