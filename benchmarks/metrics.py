"""Time and memory of all metrics of one case, beside the libraries that users combine for them today. Linux.

    OMP_NUM_THREADS=1 python benchmarks/metrics.py [--shape 512 512 300] [--others] [--parts]

The case is vessel-like: synthetic vessel trees side by side that fill the shape, and a prediction that is shifted by a
voxel in half of the image, has lost what lies in random balls, and has false pieces. Spacing is 0.5 mm in plane and
0.6 mm between slices. Each measurement runs in a process of its own, on one thread. Its peak memory is the largest
resident memory of that process, with the interpreter, libraries and both masks, which are given beside it.

--others: the same by scikit-image (skeletonize for clDice), DeepMind's surface-distance (NSD, HD, HD95, ASSD; if
installed), gudhi (Betti numbers; only if the shape is small, since it takes about a kilobyte a voxel) and scipy
(components). --parts: each metric of ours by itself, and the picture that the report has of a case.
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from nnunet_topo import metrics
from nnunet_topo.homology import betti_numbers
from nnunet_topo.report import case_picture
from nnunet_topo.skeletons import thin
from nnunet_topo.synthetic import vessel_tree

SPACING = (0.5, 0.5, 0.6)
TILE = (128, 128, 100)
LARGEST_FOR_GUDHI = 4e6  # voxels
Mask = NDArray[np.bool_]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 300))
    parser.add_argument("--others", action="store_true")
    parser.add_argument("--parts", action="store_true")
    options = parser.parse_args()
    parts: dict[str, Callable[[Mask, Mask], Any]] = {"all metrics": all_metrics}
    if options.parts:
        parts |= {"surface distances": surface_distances, "two skeletons": skeletons, "Betti numbers": betti,
                  "Betti matching error": metrics.betti_matching_error, "components": components,
                  "picture of the errors": picture}
    if options.others:
        parts["scikit-image: two skeletons"] = skimage_skeletons
        if importlib.util.find_spec("surface_distance"):
            parts["surface-distance: NSD, HD, HD95, ASSD"] = deepmind_surface_distances
        parts["scipy: components"] = scipy_components
        if np.prod(options.shape) <= LARGEST_FOR_GUDHI:
            parts["gudhi: Betti numbers"] = gudhi_betti_numbers
    with TemporaryDirectory() as folder:
        file = Path(folder) / "masks.npz"
        prediction, reference = case(tuple(options.shape))
        np.savez(file, prediction=prediction, reference=reference)
        print(f"{tuple(options.shape)}, {reference.sum()} reference voxels, {prediction.sum()} predicted\n\n"
              "| | s | peak memory GB | of it before |\n|---|---|---|---|")
        del prediction, reference
        for name, function in parts.items():
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                seconds, peak, before, result = pool.submit(measure, function, file).result()
            print(f"| {name} | {seconds:.1f} | {peak:.2f} | {before:.2f} |", flush=True)
            if function is all_metrics:
                values = result
    print("\n" + "\n".join(f"{name} {value:.6g}" for name, value in values.items()))


def case(shape: tuple[int, ...]) -> tuple[Mask, Mask]:
    """Prediction and reference."""
    rng = np.random.default_rng(0)
    reference = np.zeros(shape, bool)
    for seed, tile in enumerate(np.ndindex(*[-(-size // step) for size, step in zip(shape, TILE, strict=True)])):
        place = tuple(slice(i * step, (i + 1) * step) for i, step in zip(tile, TILE, strict=True))
        tree = vessel_tree(TILE, seed=seed, trees=2, loops=2).label > 0
        reference[place] = tree[tuple(slice(size) for size in reference[place].shape)]
    prediction = reference.copy()
    half = shape[0] // 2
    prediction[half:] = np.roll(reference[half:], 1, 1)
    for centre, value in [*((c, False) for c in _spots(reference, 200, rng)),
                          *((c, True) for c in rng.integers(0, shape, (100, 3)))]:
        radius = int(rng.integers(2, 6))
        place = tuple(slice(max(c - radius, 0), min(c + radius + 1, size))
                      for c, size in zip(centre, shape, strict=True))
        grid = np.ogrid[place]
        prediction[place][sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) <= radius**2] = value
    return prediction, reference


def _spots(mask: Mask, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    voxels = np.flatnonzero(mask)
    return np.stack(np.unravel_index(rng.choice(voxels, count, replace=False), mask.shape), 1)


def measure(function: Callable[[Mask, Mask], Any], file: Path) -> tuple[float, float, float, Any]:
    """Seconds, peak memory and memory before in GB, and what the function returns; kernels are compiled before."""
    torch.set_num_threads(1)
    tiny = np.zeros((8, 8, 8), bool)
    tiny[1:7, 1:4, 1:4] = True
    function(tiny, np.roll(tiny, 2, 1))
    masks = np.load(file)
    prediction, reference = masks["prediction"], masks["reference"]
    before = _peak_gb()
    start = time.perf_counter()
    result = function(prediction, reference)
    return time.perf_counter() - start, _peak_gb(), before, result


def _peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def all_metrics(prediction: Mask, reference: Mask) -> dict[str, float | int]:
    return metrics.all_metrics(prediction, reference, SPACING)


def surface_distances(prediction: Mask, reference: Mask) -> None:
    distances = metrics.surface_distances(prediction, reference, SPACING)
    distances.normalised_surface_dice(1), distances.hausdorff_mm(95), distances.average_symmetric_mm()


def skeletons(prediction: Mask, reference: Mask) -> None:
    thin(prediction), thin(reference)


def betti(prediction: Mask, reference: Mask) -> None:
    betti_numbers(prediction), betti_numbers(reference)


def components(prediction: Mask, reference: Mask) -> None:
    metrics.component_errors(prediction, reference, SPACING)


def picture(prediction: Mask, reference: Mask) -> None:
    with TemporaryDirectory() as folder:
        case_picture(prediction, reference, Path(folder) / "case.png", spacing=SPACING)


def skimage_skeletons(prediction: Mask, reference: Mask) -> None:
    from skimage.morphology import skeletonize

    skeletonize(prediction), skeletonize(reference)


def deepmind_surface_distances(prediction: Mask, reference: Mask) -> None:
    import surface_distance

    distances = surface_distance.compute_surface_distances(reference, prediction, SPACING)
    surface_distance.compute_surface_dice_at_tolerance(distances, 1)
    for percentile in (95, 100):
        surface_distance.compute_robust_hausdorff(distances, percentile)
    surface_distance.compute_average_surface_distance(distances)


def scipy_components(prediction: Mask, reference: Mask) -> None:
    for mask in (prediction, reference):
        ndimage.label(mask, np.ones((3, 3, 3)))


def gudhi_betti_numbers(prediction: Mask, reference: Mask) -> None:
    import gudhi

    for mask in (prediction, reference):
        complex_ = gudhi.CubicalComplex(top_dimensional_cells=np.where(mask, 0.0, 1.0))
        complex_.compute_persistence()
        complex_.persistent_betti_numbers(0.5, 0.5)


if __name__ == "__main__":
    main()
