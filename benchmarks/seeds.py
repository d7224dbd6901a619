"""Does a trainer bring better topology? Several seeds, the demo's synthetic vessels, unseen cases.

    python benchmarks/seeds.py --trainers nnUNetTrainer nnUNetTrainerBettiMatching [--seeds 3] [--epochs 16]
        [--dimension 3] [--settings '{"betti_matching": {"start_epoch": 6, "ramp_epochs": 2}}']

All trainers of a seed start from the same weights and see the same batches. The data are the same for all seeds. The
table has Dice, Betti errors and Betti matching errors (8- or 26-connected foreground), means over
the unseen cases, with each seed's mean and the mean over seeds.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from epoch_cost import schedule

from nnunet_topo.commands.demo import SETUPS, Setup
from nnunet_topo.metrics import betti_error, betti_matching_error, dice
from nnunet_topo.nnunet.evaluation.label_maps import read_label_map
from nnunet_topo.nnunet.evaluation.scoring import reader_of
from nnunet_topo.nnunet.pipeline import environment, nnunet_folders, plan_and_preprocess, predict, train
from nnunet_topo.synthetic import write_dataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainers", nargs="+", default=["nnUNetTrainer", "nnUNetTrainerBettiMatching"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--dimension", type=int, choices=(2, 3), default=3)
    parser.add_argument("--test-cases", type=int, default=12)
    parser.add_argument("--settings", type=json.loads, help="of the terms; by default those that would wait for longer "
                                                            "than that start after 3/8 of the epochs")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    setup = SETUPS[options.dimension]
    if options.settings is None:
        options.settings = schedule(options.trainers, options.epochs)
    quiet = {"nnUNet_compile": "f", "nnUNet_def_n_proc": "1", "nnUNet_n_proc_DA": "1"}
    with tempfile.TemporaryDirectory() as folder, nnunet_folders(Path(folder)), environment(**quiet):
        raw = Path(os.environ["nnUNet_raw"]) / setup.dataset
        with contextlib.redirect_stdout(io.StringIO()):
            write_dataset(raw, cases=setup.cases, test_cases=options.test_cases, shape=setup.shape, seed=0)
            plans = plan_and_preprocess(setup.dataset, {setup.configuration: setup.patch},
                                        batch_size=setup.batch_size, settings=options.settings)
        rows: dict[str, list[np.ndarray]] = {trainer: [] for trainer in options.trainers}
        for seed in range(options.seeds):
            for trainer in options.trainers:
                start = time.perf_counter()
                rows[trainer].append(trained_and_scored(setup, trainer, plans, seed, raw, Path(folder), options))
                print(f"seed {seed}, {trainer}: {time.perf_counter() - start:.0f} s, "
                      + " ".join(f"{value:.3f}" for value in rows[trainer][-1]), flush=True)
    numbers = range(options.dimension)
    columns = ["Dice", *(f"Betti error {k}" for k in numbers), *(f"Betti matching error {k}" for k in numbers)]
    print(f"\n{options.test_cases} unseen cases, {options.epochs} epochs of {setup.iterations} batches, settings "
          f"{json.dumps(options.settings)}\n")
    print("| | seed | " + " | ".join(columns) + " |\n" + "|---" * (2 + len(columns)) + "|")
    for trainer, results in rows.items():
        for seed, result in [*enumerate(results), ("mean", np.mean(results, axis=0))]:
            print(f"| {trainer} | {seed} | {result[0]:.3f} | " + " | ".join(f"{v:.2f}" for v in result[1:]) + " |")


def trained_and_scored(
    setup: Setup, trainer: str, plans: str, seed: int, raw: Path, folder: Path, options: argparse.Namespace
) -> np.ndarray:
    for start in (random.seed, np.random.seed, torch.manual_seed):
        start(seed)
    output = folder / f"predictions_{trainer}_{seed}"
    with contextlib.redirect_stdout(io.StringIO()), environment(nnUNet_n_proc_DA="0"):
        model = train(setup.dataset, setup.configuration, trainer, plans, device=options.device, epochs=options.epochs,
                      iterations=setup.iterations, validation_iterations=2)
        predict(model, raw / "imagesTs", output, device=options.device, mirroring=False)
    reader = reader_of(model)
    scores = []
    for file in sorted((raw / "labelsTs").iterdir()):
        truth, prediction = (read_label_map(path, reader).mask(1) for path in (file, output / file.name))
        scores.append([dice(prediction, truth), *betti_error(prediction, truth),
                       *betti_matching_error(prediction, truth)])
    return np.mean(scores, axis=0)


if __name__ == "__main__":
    main()
