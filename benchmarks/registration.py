"""Rigid registration of 100 synthetic mandibles from MR onto CT, beside each similarity alone and two baselines.

    OMP_NUM_THREADS=1 python benchmarks/registration.py [-o registration.jsonl] [--methods combined_images mask ...]
        [--kind mixed] [--pairs 100]

"combined_images" is "combined" with both images, all others but "intensity" see the segmentations alone.

The pairs were frozen before any tuning (registration_seeds.py): rotations to 30 degrees, shifts to 40 mm, the MR field
of view cut by up to 40 mm, thinning by up to 2.3 mm. The error is the mean over 16 landmarks, in mm. Each finished pair
is a line of the output file, so that a stopped run goes on; the table is of the pairs that all its methods have.
Seconds are CPU seconds of one process with one thread, preparation and resampling included. All of it is synthetic:
these figures say nothing about accuracy in patients.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813  its customary name
import torch
from registration_baselines import distance_maps, icp
from registration_seeds import EVEN_SEEDS, ONE_SIDED_SEEDS, SEEDS
from scipy.stats import wilcoxon
from tqdm import tqdm

from nnunet_topo.registration import SIMILARITIES, register
from nnunet_topo.registration.quality import landmark_errors
from nnunet_topo.synthetic import MandiblePair, mandible_pair

KINDS = {"mixed": SEEDS, "even": EVEN_SEEDS, "one_sided": ONE_SIDED_SEEDS}
BASELINES: dict[str, Callable] = {"icp": icp, "distance_maps": distance_maps}
WITH_IMAGES = ("combined_images", "intensity")
OURS = ("combined_images", *SIMILARITIES)
METHODS = (*OURS, *BASELINES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", default="registration.jsonl")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--kind", choices=KINDS, default="mixed")
    parser.add_argument("--pairs", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    file = Path(options.o)
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
    have = {(row["kind"], row["seed"], row["method"]) for row in rows}
    for seed in tqdm(list(KINDS[options.kind])[: options.pairs], unit="pair"):
        missing = [name for name in options.methods if (options.kind, seed, name) not in have]
        if not missing:
            continue
        pair = mandible_pair(seed, thinning=options.kind, images=bool(set(missing) & set(WITH_IMAGES)))
        for method in missing:
            rows.append({"kind": options.kind, "seed": seed, "method": method, **measure(method, pair)})
            with file.open("a") as out:
                out.write(json.dumps(rows[-1]) + "\n")
    print(table([row for row in rows if row["kind"] == options.kind], options.methods))


def measure(method: str, pair: MandiblePair) -> dict[str, float | bool | str]:
    """Error, CPU seconds and, of ours, whether the result is sure; a refused pair has an infinite error."""
    start = time.process_time()
    extra: dict[str, float | bool | str] = {"cut_mm": pair.cut_mm, "condyle_missing": pair.condyle_missing}
    if method in BASELINES:
        transform = BASELINES[method](pair.fixed, pair.moving)
        sitk.Resample(pair.moving, pair.fixed, transform, sitk.sitkNearestNeighbor)
    else:
        images = (pair.fixed_image, pair.moving_image) if method in WITH_IMAGES else (None, None)
        try:
            result = register(pair.fixed, pair.moving, by=method.removesuffix("_images"), fixed_image=images[0],
                              moving_image=images[1])
        except ValueError as refusal:
            return {"error_mm": float("inf"), "seconds": time.process_time() - start, "sure": False,
                    "refusal": str(refusal), **extra}
        transform = result.transform
        extra |= {"sure": result.sure, "gap": result.quality.runner_up_gap,
                  "conditioning": result.quality.conditioning, "inliers": result.quality.inlier_share}
    seconds = time.process_time() - start
    errors = landmark_errors(transform, pair.fixed_landmarks, pair.moving_landmarks)
    return {"error_mm": float(np.mean(list(errors.values()))), "seconds": seconds, **extra}


def table(rows: list[dict], methods: tuple[str, ...]) -> str:
    """One row a method, over the pairs that all of them have; p is of a paired Wilcoxon test against the first."""
    seeds = set.intersection(*({row["seed"] for row in rows if row["method"] == name} for name in methods))
    lines = [f"{len(seeds)} pairs\n", "| method | median | p95 | max | > 5 mm | > 2 mm | CPU s | not sure | p |",
             "|---|---|---|---|---|---|---|---|---|"]
    first = None
    for name in methods:
        of = {row["seed"]: row for row in rows if row["method"] == name and row["seed"] in seeds}
        errors = np.array([of[seed]["error_mm"] for seed in sorted(seeds)])
        seconds = np.median([row["seconds"] for row in of.values()])
        unsure = sum(not row["sure"] for row in of.values()) if name in OURS else "-"
        p = "" if first is None or len(errors) < 6 else f"{wilcoxon(first, errors).pvalue:.2g}"
        first = errors if first is None else first
        lines.append(f"| {name} | {np.median(errors):.2f} | {np.percentile(errors, 95):.2f} | {errors.max():.2f} | "
                     f"{(errors > 5).sum()} | {(errors > 2).sum()} | {seconds:.1f} | {unsure} | {p} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
