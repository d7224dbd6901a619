"""Cost of an epoch of each trainer, in nnU-Net's real training loop, data loading and augmentation included.

    python benchmarks/epoch_cost.py [--trainers nnUNetTrainerSkeletonRecall ...] [--patch 64 64 64] [--device cpu]

Synthetic vessels in 3D, planned and preprocessed by nnU-Net. The trainers take turns, in a rotating order, an epoch
each in one process; an epoch is what nnU-Net does between its start and its end, training and validation batches. The
table gives the median seconds and the median over the rounds of the ratio to nnUNetTrainer's epoch of the same round;
"within noise" where a sign test over the rounds leaves open that it is above 1 (5 of 5 or 8 of 9 do not). Terms count
from the first epoch on, which is made sure of.
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
from math import comb
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from nnunet_topo.nnunet import Term, TopologyTrainer
from nnunet_topo.nnunet.pipeline import environment, nnunet_folders, plan_and_preprocess
from nnunet_topo.nnunet.training.lookup import require_trainer
from nnunet_topo.nnunet.training.terms import declared_terms
from nnunet_topo.synthetic import write_dataset

DATASET = "Dataset811_EpochCost"


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
    with prepared(options.patch, options.features, options.workers, options.trainers) as (configuration, plans):
        measure(options, configuration, plans)


@contextlib.contextmanager
def prepared(
    patch: Sequence[int], features: Sequence[int], workers: int, trainers: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Synthetic vessels, planned and preprocessed in folders of their own; gives the configuration and plans' name.

    The plans let all terms of the trainers count from the first epoch on.
    """
    settings = {name: {"start_epoch": 0, "ramp_epochs": 0} for trainer in trainers for name in terms_of(trainer)}
    with tempfile.TemporaryDirectory() as folder, nnunet_folders(Path(folder)), environment(nnUNet_compile="f"):
        with environment(nnUNet_n_proc_DA="1", nnUNet_def_n_proc="1"):
            shape = tuple(size * 5 // 4 for size in patch)
            write_dataset(Path(os.environ["nnUNet_raw"]) / DATASET, cases=5, test_cases=1, shape=shape, seed=0)
            configuration = "3d_fullres" if len(shape) == 3 else "2d"
            with contextlib.redirect_stdout(io.StringIO()):
                plans = plan_and_preprocess(DATASET, {configuration: patch}, features=features, settings=settings)
        with environment(nnUNet_n_proc_DA=str(workers)):
            yield configuration, plans


def terms_of(trainer: str) -> dict[str, Term]:
    """The topology terms that a trainer declares, by name; none for nnU-Net's own trainers."""
    found = require_trainer(trainer)
    return declared_terms(found) if issubclass(found, TopologyTrainer) else {}


def schedule(trainers: Sequence[str], epochs: int) -> dict[str, dict[str, int]]:
    """Settings for so few epochs: terms that would wait, as they do in a full training, count from 3/8 of them on."""
    return {name: {"start_epoch": 3 * epochs // 8, "ramp_epochs": 2}
            for trainer in trainers for name, term in terms_of(trainer).items() if term.start_epoch > 0}


def measure(options: argparse.Namespace, configuration: str, plans: str) -> None:
    names = list(dict.fromkeys(["nnUNetTrainer", *options.trainers]))  # named again, it would be measured twice
    seconds = seconds_of_epochs(names, options, configuration, plans)
    print(f"patch {options.patch}, features {options.features}, {options.iterations} batches, {options.rounds} rounds, "
          f"{options.threads} thread(s), {options.workers} workers, {options.device}\n")
    print("| trainer | median s an epoch | to nnUNetTrainer | of each round |\n|---|---|---|---|")
    for name in seconds:
        ratios = [own / plain for own, plain in zip(seconds[name], seconds["nnUNetTrainer"], strict=True)]
        noise = " (within noise)" if name != "nnUNetTrainer" and within_noise(ratios) else ""
        print(f"| {name} | {median(seconds[name]):.2f} | {median(ratios):.3f}{noise} | "
              + " ".join(f"{ratio:.2f}" for ratio in ratios) + " |")


def within_noise(ratios: Sequence[float]) -> bool:
    """Whether the rounds leave open that a trainer takes longer: sign test, one-sided, p above 0.05."""
    longer, rounds = sum(ratio > 1 for ratio in ratios), len(ratios)
    return sum(comb(rounds, k) for k in range(longer, rounds + 1)) / 2**rounds > 0.05


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
    require_terms(trainer)
    return duration


def require_terms(trainer: Any) -> None:
    """Raise RuntimeError unless each term of the trainer had a value and its full weight in the epoch that ended."""
    log = trainer.logger.local_logger.my_fantastic_logging
    for name, term in getattr(trainer, "terms", {}).items():
        weight = log[f"topology/weight/{name}"][-1]
        values = [log[f"topology/{split}/{name}"][-1] for split in ("train", "validation")]
        if not (weight == term.weight > 0 and np.isfinite(values).all()):
            raise RuntimeError(f"{type(trainer).__name__} is measured with {name}, which had the weight {weight} "
                               f"of {term.weight} and the values {values}.")


if __name__ == "__main__":
    main()
