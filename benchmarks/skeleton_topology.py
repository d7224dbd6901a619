"""Topology of skeletons of a trained network's soft predictions: the demo's vessels in 3D.

    python benchmarks/skeleton_topology.py [--model DEMO_FOLDER] [--epochs 10] [--seeds 10] [--device cpu]

Trains nnUNetTrainer as the demo does, or takes the network of a finished demo, and predicts the demo's unseen cases
with probabilities p. The Betti error of a skeleton is taken against the binarised prediction p > 1/2, of which it is a
skeleton: absolute difference in pieces (0), loops (1) and cavities (2), foreground 26-connected, mean over the cases,
and over noisy samples where there is noise.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
from collections.abc import Iterable
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.morphology import skeletonize
from torch import Tensor

from nnunet_topo.commands.demo import SETUPS
from nnunet_topo.homology import betti_numbers
from nnunet_topo.metrics import betti_error
from nnunet_topo.nnunet.pipeline import environment, nnunet_folders, plan_and_preprocess, predict, train
from nnunet_topo.skeletons import TopologicalSkeleton, soft_skeleton, soft_skeleton_iterations, thin
from nnunet_topo.synthetic import write_dataset

SETUP, TRAINER = SETUPS[3], "nnUNetTrainer"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a finished demo's output folder; without, a network is trained")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=10, help="noisy samples of each case")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    if arguments.model is not None and not arguments.model.is_dir():
        parser.error(f"The demo's output folder {arguments.model} does not exist.")
    quiet = environment(nnUNet_compile="f", nnUNet_def_n_proc="1", nnUNet_n_proc_DA="1")
    with tempfile.TemporaryDirectory() as temporary, quiet:
        folder = Path(temporary)
        with nnunet_folders(arguments.model or folder), (folder / "nnunet.log").open("w") as log, redirect_stdout(log):
            model = trained_as_in_the_demo(arguments) if arguments.model is None else model_of_the_demo()
            images = Path(os.environ["nnUNet_raw"]) / SETUP.dataset / "imagesTs"
            predict(model, images, folder / "predictions", device=arguments.device, probabilities=True)
        maps = [np.load(file)["probabilities"][1] for file in sorted((folder / "predictions").glob("*.npz"))]
    print_table(maps, arguments.seeds)


def trained_as_in_the_demo(arguments: argparse.Namespace) -> Path:
    raw = Path(os.environ["nnUNet_raw"]) / SETUP.dataset
    write_dataset(raw, cases=SETUP.cases, test_cases=SETUP.test_cases, shape=SETUP.shape, seed=0)
    plans = plan_and_preprocess(SETUP.dataset, {SETUP.configuration: SETUP.patch}, batch_size=SETUP.batch_size)
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)
    with environment(nnUNet_n_proc_DA="0"):  # one process, so that the seed decides everything
        return train(SETUP.dataset, SETUP.configuration, TRAINER, plans, device=arguments.device,
                     epochs=arguments.epochs, iterations=SETUP.iterations, validation_iterations=4)


def model_of_the_demo() -> Path:
    results = Path(os.environ["nnUNet_results"]) / SETUP.dataset
    models = list(results.glob(f"{TRAINER}__*__{SETUP.configuration}"))
    if len(models) != 1:
        raise FileNotFoundError(f"--model needs the output folder of a demo that trained {TRAINER} in 3D, but "
                                f"{results} holds {len(models)} such networks. Run nnUNetv2_topo_demo --dimension 3.")
    return models[0]


def print_table(maps: list[NDArray[np.float32]], seeds: int) -> None:
    masks = [probabilities > 0.5 for probabilities in maps]
    mean = np.mean([betti_numbers(mask) for mask in masks], axis=0)
    print(f"{len(maps)} unseen cases. Betti numbers of p > 0.5: " + ", ".join(f"{number:.2f}" for number in mean)
          + f"; {np.mean([mask.sum() for mask in masks]):.0f} voxels\n\n"
          "| skeleton | Betti error 0 | Betti error 1 | Betti error 2 | voxels |\n|---|---|---|---|---|")
    tensors = [torch.from_numpy(probabilities)[None, None] for probabilities in maps]
    iterations = [soft_skeleton_iterations(mask) for mask in masks]
    noisy, specks = TopologicalSkeleton(), TopologicalSkeleton(suppress_specks=False)
    print_row("topological, without noise", masks, [[binary(TopologicalSkeleton(beta=0)(p))] for p in tensors])
    print_row("topological, beta 0.33, specks suppressed", masks, [samples(noisy, p, seeds) for p in tensors])
    print_row("topological, beta 0.33, specks kept", masks, [samples(specks, p, seeds) for p in tensors])
    soft = [[binary(soft_skeleton(p, n))] for p, n in zip(tensors, iterations, strict=True)]
    print_row(f"soft of p, > 0.5, {min(iterations)} to {max(iterations)} iterations", masks, soft)
    soft_of_mask = [[binary(soft_skeleton((p > 0.5).float(), n))] for p, n in zip(tensors, iterations, strict=True)]
    print_row("soft of the mask p > 0.5", masks, soft_of_mask)
    print_row('thin of the mask, "euler"', masks, [[thin(mask, simple_points="euler")] for mask in masks])
    print_row("scikit-image skeletonize of the mask", masks, [[skeletonize(mask).astype(bool)] for mask in masks])


def print_row(name: str, masks: list[NDArray[np.bool_]], skeletons: Iterable[list[NDArray[np.bool_]]]) -> None:
    """One line of the table, from the skeletons of each mask."""
    pairs = [(skeleton, mask) for mask, of_mask in zip(masks, skeletons, strict=True) for skeleton in of_mask]
    error = np.mean([betti_error(skeleton, mask) for skeleton, mask in pairs], axis=0)
    voxels = np.mean([skeleton.sum() for skeleton, _ in pairs])
    print(f"| {name} | " + " | ".join(f"{number:.2f}" for number in error) + f" | {voxels:.0f} |", flush=True)


def samples(skeleton: TopologicalSkeleton, probabilities: Tensor, seeds: int) -> list[NDArray[np.bool_]]:
    return [binary(skeleton(probabilities, generator=torch.Generator().manual_seed(seed))) for seed in range(seeds)]


def binary(skeleton: Tensor) -> NDArray[np.bool_]:
    return skeleton[0, 0].numpy() > 0.5


if __name__ == "__main__":
    main()
