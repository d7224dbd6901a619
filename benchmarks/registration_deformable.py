"""Known smooth deformations of synthetic mandibles recovered, and what the moved map's differentiable skeleton adds.

    OMP_NUM_THREADS=1 python benchmarks/registration_deformable.py [--pairs 6] [--thinning even] [--rms 2]

The MR-like segmentation is deformed by a sum of waves of 90 mm and a known root mean square. The error is the mean over
500 points of the bone's medial sheet within the MR field of view, in mm; voxels are 0.4 to 1 mm (CT) and 0.6 to 1.5 mm
(MR). "once" adds the medial ridge that is computed once and moved along, by its chamfer distance; "moved skeleton" adds
the differentiable topological skeleton of the moved probability map (40 steps of Adam); "Adam" is the same 40 steps
without it. All of it is synthetic: these figures say nothing about accuracy in patients.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import SimpleITK as sitk  # noqa: N813  its customary name
import torch
from numpy.typing import NDArray

from nnunet_topo.registration.deformable import deform
from nnunet_topo.registration.procedure import linear_fit, shapes_of
from nnunet_topo.registration.stages import Pair
from nnunet_topo.synthetic import mandible, mandible_pair
from nnunet_topo.synthetic.deformation import deformed_label, deformed_points, smooth_deformation

FIRST_SEED = 2500
WAYS: dict[str, dict[str, float]] = {
    "deformable": {}, "with the ridge once": {"skeleton_once": 0.3}, "with Adam": {"moved_skeleton": 1e-9},
    "with the moved skeleton, 0.3": {"moved_skeleton": 0.3}, "with the moved skeleton, 1": {"moved_skeleton": 1.0}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--thinning", default="even")
    parser.add_argument("--rms", type=float, default=2.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    rows: dict[str, list[tuple[float, float, float]]] = {}
    for seed in range(FIRST_SEED, FIRST_SEED + options.pairs):
        for name, values in measure(seed, options.thinning, options.rms).items():
            rows.setdefault(name, []).append(values)
            print(seed, name, " ".join(f"{value:.2f}" for value in values), flush=True)
    print("\n| | median error mm | worst | smallest Jacobian | CPU s |\n|---|---|---|---|---|")
    for name, measured in rows.items():
        errors, jacobians, seconds = np.array(measured).T
        print(f"| {name} | {np.median(errors):.2f} | {errors.max():.2f} | {jacobians.min():.2f} | "
              f"{np.median(seconds):.1f} |")


def measure(seed: int, thinning: str, rms: float) -> dict[str, tuple[float, float, float]]:
    """Error in mm, smallest Jacobian and CPU seconds of each way."""
    pair = mandible_pair(seed, thinning=thinning, cut_mm=0)
    deformation = smooth_deformation(pair.moving, seed=seed, rms_mm=rms)
    moving = deformed_label(pair.moving, deformation)
    bone = mandible(seed)
    place = pair.fixed_landmarks["menton"] - bone.landmarks["menton"]
    points = np.random.default_rng(0).permutation(bone.points)[:500] + place
    truth = deformed_points(_moved(pair.transform, points), deformation)
    start = time.process_time()
    shapes = Pair(*shapes_of(pair.fixed, moving))
    found: dict[str, tuple[float, float, float]] = {}
    for kind in ("rigid", "similarity", "affine"):
        fit, _ = linear_fit(shapes, kind)
        error = np.linalg.norm(_moved(fit.motion.to_sitk(fit.parameters[:-1]), points) - truth, axis=1).mean()
        found[kind] = (float(error), 1.0, time.process_time() - start)
    for name, options in WAYS.items():
        start = time.process_time()
        result = deform(shapes, fit, **options)
        error = np.linalg.norm(_moved(result.transform, points) - truth, axis=1).mean()
        found[name] = (float(error), result.smallest_jacobian, time.process_time() - start)
    return found


def _moved(transform: sitk.Transform, points: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.array([transform.TransformPoint(point) for point in points.tolist()])


if __name__ == "__main__":
    main()
