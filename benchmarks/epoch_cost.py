"""Cost of an epoch of each trainer, in nnU-Net's real training loop, data loading and augmentation included.

    python benchmarks/epoch_cost.py [--trainers nnUNetTrainerSkeletonRecall ...] [--patch 64 64 64] [--device cpu]

Synthetic vessels in 3D, planned and preprocessed by nnU-Net. The trainers take turns, in a rotating order, an epoch
each in one process; an epoch is what nnU-Net does between its start and its end, training and validation batches. The
table gives the median seconds and the median over the rounds of the ratio to nnUNetTrainer's epoch of the same round.
Without workers (``nnUNet_n_proc_DA=0``) on one CPU thread, all work is this process's and its CPU time is taken, which
other processes disturb least; otherwise wall time.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from nnunet_topo.nnunet.pipeline import environment, nnunet_folders, plan_and_preprocess
from nnunet_topo.synthetic import write_dataset

DATASET = "Dataset811_EpochCost"
FROM_THE_START = {"betti_matching": {"start_epoch": 0, "ramp_epochs": 0}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainers", nargs="+", default=["nnUNetTrainerSkeletonRecall", "nnUNetTrainerClDice",
                                                          "nnUNetTrainerClDiceTopological",
                                                          "nnUNetTrainerBettiMatching"])
    parser.add_argument("--patch", type=int, nargs="+", default=[64, 64, 64])
    parser.add_argument("--features", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=6, help="batches an epoch; half as many of validation")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with prepared(options.patch, options.features, options.workers) as (configuration, plans):
        measure(options, configuration, plans)


@contextlib.contextmanager
def prepared(patch: Sequence[int], features: Sequence[int], workers: int) -> Iterator[tuple[str, str]]:
    """Synthetic vessels, planned and preprocessed in folders of their own; gives the configuration and plans' name."""
    with tempfile.TemporaryDirectory() as folder, nnunet_folders(Path(folder)), environment(nnUNet_compile="f"):
        with environment(nnUNet_n_proc_DA="1", nnUNet_def_n_proc="1"):
            shape = tuple(size * 5 // 4 for size in patch)
            write_dataset(Path(os.environ["nnUNet_raw"]) / DATASET, cases=5, test_cases=1, shape=shape, seed=0)
            configuration = "3d_fullres" if len(shape) == 3 else "2d"
            with contextlib.redirect_stdout(io.StringIO()):
                plans = plan_and_preprocess(DATASET, {configuration: patch}, features=features, settings=FROM_THE_START)
        with environment(nnUNet_n_proc_DA=str(workers)):
            yield configuration, plans


def measure(options: argparse.Namespace, configuration: str, plans: str) -> None:
    names = list(dict.fromkeys(["nnUNetTrainer", *options.trainers]))  # named again, it would be measured twice
    seconds = seconds_of_epochs(names, options, configuration, plans)
    print(f"patch {options.patch}, features {options.features}, {options.iterations} batches, {options.rounds} rounds, "
          f"{options.threads} thread(s), {options.workers} workers, {options.device}\n")
    print("| trainer | median s an epoch | to nnUNetTrainer | of each round |\n|---|---|---|---|")
    for name in seconds:
        ratios = [own / plain for own, plain in zip(seconds[name], seconds["nnUNetTrainer"], strict=True)]
        print(f"| {name} | {median(seconds[name]):.2f} | {median(ratios):.3f} | "
              + " ".join(f"{ratio:.2f}" for ratio in ratios) + " |")


def seconds_of_epochs(
    names: list[str], options: argparse.Namespace, configuration: str, plans: str
) -> dict[str, list[float]]:
    """For each trainer the seconds of an epoch in each round."""
    alone = options.device == "cpu" and options.workers == 0 and options.threads == 1
    clock = time.process_time if alone else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in names}
    with contextlib.redirect_stdout(io.StringIO()):
        trainers = {name: started(name, configuration, plans, options) for name in names}
        for i in range(options.rounds + 1):  # the first round warms up
            for name in names[i % len(names) :] + names[: i % len(names)]:
                for seed in (random.seed, np.random.seed, torch.manual_seed):
                    seed(i)  # without workers, all trainers then get the same augmentations
                duration = epoch(trainers[name], clock)
                if i > 0:
                    seconds[name].append(duration)
    return seconds


def started(name: str, configuration: str, plans: str, options: argparse.Namespace) -> Any:
    from nnunetv2.run.run_training import get_trainer_from_args

    trainer = get_trainer_from_args(DATASET, configuration, 0, name, plans, False, torch.device(options.device))
    trainer.num_iterations_per_epoch = options.iterations
    trainer.num_val_iterations_per_epoch = max(options.iterations // 2, 1)
    trainer.disable_checkpointing = True
    trainer.on_train_start()
    return trainer


def epoch(trainer: Any, clock: Callable[[], float]) -> float:
    """One pass through the body of nnU-Net's training loop."""
    trainer.on_epoch_start()
    start = clock()
    trainer.on_train_epoch_start()
    trainer.on_train_epoch_end([trainer.train_step(next(trainer.dataloader_train))
                                for _ in range(trainer.num_iterations_per_epoch)])
    with torch.no_grad():
        trainer.on_validation_epoch_start()
        trainer.on_validation_epoch_end([trainer.validation_step(next(trainer.dataloader_val))
                                         for _ in range(trainer.num_val_iterations_per_epoch)])
    duration = clock() - start
    trainer.on_epoch_end()
    return duration


if __name__ == "__main__":
    main()
