"""What each trainer adds to an iteration of nnUNetTrainer, in time and memory: the README's table.

    python benchmarks/trainer_costs.py [--trainers nnUNetTrainerClDice ...] [--device cpu] [--rounds 5]

Iterations are those of nnU-Net's real training loop with synthetic vessels, data loading and augmentation included
(``epoch_cost.py``, beside this file): all trainers take turns in one process, on a CPU in one thread without workers,
whose CPU time counts. The median over the rounds of the difference to nnUNetTrainer's iteration of the same round is
printed, and the median of the ratio, or "within noise" where a sign test over the rounds leaves open that it is above
1. All terms count from the first epoch on, which is made sure of. Memory is measured in a fresh process for each
trainer, over that of nnUNetTrainer: on a CPU the process's largest resident size (Linux), on CUDA the largest size that
torch allocated.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import multiprocessing
import re
from pathlib import Path
from statistics import median

import torch
from epoch_cost import prepared, seconds_of_epochs, started, within_noise

PATCHES = {"2D": (256, 256), "3D": (64, 64, 64)}
FEATURES = {"2D": (16, 32, 64, 128), "3D": (16, 32, 64)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = Path(__file__).resolve().parents[1] / "trainers"
    other_data = {"nnUNetTrainerRandHue", "nnUNetTrainerInteraction"}  # of colours, of several classes
    ours = sorted({file.stem for file in folder.glob("nnUNetTrainer*.py")} - other_data)
    parser.add_argument("--trainers", nargs="+", default=ours)
    parser.add_argument("--only-3d", nargs="*", default=["nnUNetTrainerMIP", "nnUNetTrainerMIPSingleAxis"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    options.workers, options.threads = 0, 1
    torch.set_num_threads(1)
    cells: dict[str, list[str]] = {name: [] for name in ["nnUNetTrainer", *options.trainers]}
    heads = []
    for axes, patch in PATCHES.items():
        names = [name for name in cells if axes == "3D" or name not in options.only_3d]
        with prepared(patch, FEATURES[axes], options.workers, options.trainers) as (configuration, plans):
            seconds = seconds_of_epochs(names, options, configuration, plans)
            megabytes = {name: peak_memory(name, configuration, plans, options) for name in names}
        heads += [f"{axes}, {' x '.join(map(str, patch))}: iteration", "", "memory"]
        batches = options.iterations + max(options.iterations // 2, 1)  # of training and of validation
        for name, row in cells.items():
            row += ["-"] * 3 if name not in seconds else columns(name, seconds, megabytes, batches)
    print("| trainer | " + " | ".join(heads) + " |\n" + "|---" * (len(heads) + 1) + "|")
    for name, row in cells.items():
        print(f"| `{name}` | " + " | ".join(row) + " |")


def columns(name: str, seconds: dict[str, list[float]], megabytes: dict[str, float], batches: int) -> list[str]:
    pairs = list(zip(seconds[name], seconds["nnUNetTrainer"], strict=True))
    if name == "nnUNetTrainer":
        return [f"{1000 * median(seconds[name]) / batches:.0f} ms", "", f"{megabytes[name]:.0f} MB"]
    more = 1000 * median(own - plain for own, plain in pairs) / batches
    ratios = [own / plain for own, plain in pairs]
    return [f"{more:+.0f} ms", "within noise" if within_noise(ratios) else f"x {median(ratios):.2f}",
            f"{megabytes[name] - megabytes['nnUNetTrainer']:+.0f} MB"]


def peak_memory(name: str, configuration: str, plans: str, options: argparse.Namespace) -> float:
    """MB that a fresh process needs for a few batches of training and validation."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_memory, (name, configuration, plans, options))


def _peak_memory(name: str, configuration: str, plans: str, options: argparse.Namespace) -> float:
    torch.set_num_threads(1)
    with contextlib.redirect_stdout(io.StringIO()):
        trainer = started(name, configuration, plans, options)
        trainer.on_train_epoch_start()
        for _ in range(3):
            trainer.train_step(next(trainer.dataloader_train))
    if options.device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    status = Path("/proc/self/status").read_text()  # getrusage would give the parent's if that was larger
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1e3


if __name__ == "__main__":
    main()
