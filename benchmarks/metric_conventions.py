"""How far metrics move by conventions alone: surface metrics beside two libraries, centreline metrics under a shift.

    OMP_NUM_THREADS=1 python benchmarks/metric_conventions.py [--cases 8]

Pairs of masks are synthetic: vessel trees, with radii of 1.2 to 3.6 voxels (thin) or 3 to 6 (thick), and blobs. A
prediction is its reference blurred, with smooth noise, cut at one half.

Surfaces: the differences of ours to DeepMind's surface-distance and to MONAI 1.6, each only where it is installed.
Shift: both masks are moved by 0 or 1 voxel along each axis, with background around them, which leaves every voxel's
neighbours as they were. Given is the range over these 4 (2D) or 8 (3D) places, for each case.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

from nnunet_topo.metrics.collection import all_metrics
from nnunet_topo.metrics.surfaces import surface_distances
from nnunet_topo.synthetic import vessel_tree

Mask = NDArray[np.bool_]
KINDS = ("thin vessels", "thick vessels", "blobs")
SHAPES = {2: (160, 160), 3: (80, 80, 80)}
SPACINGS = {"isotropic": (1.0, 1.0, 1.0), "anisotropic": (2.5, 0.7, 0.7)}
TOLERANCE = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=8)
    cases = parser.parse_args().cases
    print("| masks | spacing | metric | library | ours, mean | difference, mean | largest |\n" + "|---" * 7 + "|")
    for kind, (name, spacing) in itertools.product(KINDS, SPACINGS.items()):
        rows = defaultdict(list)
        for prediction, reference in tqdm(pairs(kind, 3, cases), total=cases, desc=f"{kind}, {name}", leave=False):
            own = ours(prediction, reference, spacing)
            for library, function in (("surface-distance", deepmind), ("MONAI", monai)):
                if importlib.util.find_spec(library.lower().replace("-", "_")):
                    for metric, value in function(prediction, reference, spacing).items():
                        rows[metric, library].append((own[metric], value - own[metric]))
        for (metric, library), values in sorted(rows.items()):
            own_values, differences = np.array(values).T
            print(f"| {kind} | {name} | {metric} | {library} | {own_values.mean():.3f} | {differences.mean():+.3f} | "
                  f"{differences[np.abs(differences).argmax()]:+.3f} |")
    print("\n| axes | masks | clDice, mean | its range, median / largest | length, mean | range, median / largest | "
          "covered share, range, median / largest |\n" + "|---" * 7 + "|")
    for axes, kind in itertools.product(SHAPES, KINDS):
        found = [under_shifts(*pair) for pair in tqdm(pairs(kind, axes, cases), total=cases, leave=False)]
        dice, length, covered = (np.array([case[name] for case in found])
                                 for name in ("cl_dice", "skeleton_length_mm", "skeleton_covered_share"))
        ranges = [np.ptp(dice, axis=1), np.ptp(length, axis=1) / length.mean(axis=1), np.ptp(covered, axis=1)]
        shown = [f"{np.median(part):.3f} / {part.max():.3f}" for part in ranges]
        percent = f"{100 * np.median(ranges[1]):.1f} % / {100 * ranges[1].max():.1f} %"
        print(f"| {axes}D | {kind} | {dice.mean():.3f} | {shown[0]} | {length.mean():.0f} | {percent} | {shown[2]} |")


def pairs(kind: str, axes: int, cases: int) -> Iterator[tuple[Mask, Mask]]:
    for seed in range(cases):
        rng = np.random.default_rng(seed)
        if kind == "blobs":
            smooth = gaussian_filter(rng.standard_normal(SHAPES[axes]), 8)
            reference = smooth > np.quantile(smooth, 0.8)
        else:
            radii = {"terminal_radius": 3.0, "root_radius": 6.0} if kind == "thick vessels" \
                else {"terminal_radius": 1.2, "root_radius": 3.6}
            reference = vessel_tree(SHAPES[axes], seed=seed, loops=0, **radii).label > 0
        noise = gaussian_filter(rng.standard_normal(SHAPES[axes]), 1.5)
        prediction = gaussian_filter(reference.astype(float), 0.7) + 0.1 * noise / noise.std() > 0.5
        yield np.pad(prediction, 2), np.pad(reference, 2)


def ours(prediction: Mask, reference: Mask, spacing: tuple[float, ...]) -> dict[str, float]:
    found = surface_distances(prediction, reference, spacing)
    return {"NSD 1 mm": found.normalised_surface_dice(TOLERANCE), "HD": found.hausdorff_mm(),
            "HD95": found.hausdorff_mm(95), "ASSD": found.average_symmetric_mm()}


def deepmind(prediction: Mask, reference: Mask, spacing: tuple[float, ...]) -> dict[str, float]:
    import surface_distance as library

    found = library.compute_surface_distances(reference, prediction, spacing)
    both = library.compute_average_surface_distance(found)
    areas = found["surfel_areas_gt"].sum(), found["surfel_areas_pred"].sum()
    return {"NSD 1 mm": library.compute_surface_dice_at_tolerance(found, TOLERANCE),
            "HD": library.compute_robust_hausdorff(found, 100), "HD95": library.compute_robust_hausdorff(found, 95),
            "ASSD": (both[0] * areas[0] + both[1] * areas[1]) / sum(areas)}


def monai(prediction: Mask, reference: Mask, spacing: tuple[float, ...]) -> dict[str, float]:
    import torch
    from monai import metrics as library

    masks = [torch.from_numpy(np.stack([~mask, mask]))[None].float() for mask in (prediction, reference)]
    return {"NSD 1 mm": float(library.compute_surface_dice(*masks, [TOLERANCE], spacing=spacing)),
            "HD": float(library.compute_hausdorff_distance(*masks, spacing=spacing)),
            "HD95": float(library.compute_hausdorff_distance(*masks, percentile=95, spacing=spacing)),
            "ASSD": float(library.compute_average_surface_distance(*masks, symmetric=True, spacing=spacing))}


def under_shifts(prediction: Mask, reference: Mask) -> dict[str, list[float]]:
    found = defaultdict(list)
    for shift in itertools.product((0, 1), repeat=prediction.ndim):
        moved = (np.roll(mask, shift, axis=range(mask.ndim)) for mask in (prediction, reference))
        for name, value in all_metrics(*moved, (1.0,) * prediction.ndim).items():
            found[name].append(value)
    if any(np.ptp(found[name]) > 1e-9 for name in found if not name.startswith(("cl_dice", "skeleton"))):
        raise RuntimeError("A metric other than those of centrelines moved with a shift.")
    return found


if __name__ == "__main__":
    main()
