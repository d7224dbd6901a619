"""Train nnUNetTrainer and nnUNetTrainerClDice on TopoMortar photographs and score the test images.

    python benchmarks/topomortar.py --data FOLDER --output FOLDER [--epochs 20] [--iterations 50] [--device cpu]

FOLDER holds TopoMortar in nnU-Net's raw format (imagesTr, labelsTr, imagesTs, labelsTs, dataset.json,
splits_final.json) and a manifest.csv with the columns case and group. In-distribution and out-of-distribution test
images are reported apart, as the authors ask. Planning, preprocessing, training and prediction are nnU-Net's own; the
network is small, so that a CPU can train it. Terms that would wait for longer count from 3/8 of the epochs on.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import shutil
import time
from pathlib import Path

import numpy as np
import torch
from epoch_cost import schedule

from nnunet_topo.files import written_at_once
from nnunet_topo.nnunet.evaluation.scoring import mean_table, score_predictions
from nnunet_topo.nnunet.pipeline import environment, nnunet_folders, plan_and_preprocess, predict, train

DATASET = "Dataset501_TopoMortarSmall"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--trainers", nargs="+", default=["nnUNetTrainer", "nnUNetTrainerClDice"])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--iterations", type=int, default=50)
    parser.add_argument("--patch", type=int, default=128)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--features", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--test-cases", type=int, default=None, help="score only the first ones of each group")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    with nnunet_folders(arguments.output), environment(nnUNet_compile="f", nnUNet_def_n_proc="1"):
        run(arguments)


def run(arguments: argparse.Namespace) -> None:
    raw, preprocessed = (Path(os.environ[name]) / DATASET for name in ("nnUNet_raw", "nnUNet_preprocessed"))
    if not raw.exists():
        raw.symlink_to(arguments.data.resolve(), target_is_directory=True)
    with environment(nnUNet_n_proc_DA="1"):
        plans = plan_and_preprocess(DATASET, {"2d": [arguments.patch] * 2}, batch_size=arguments.batch,
                                    features=arguments.features,
                                    settings=schedule(arguments.trainers, arguments.epochs))
    shutil.copy(raw / "splits_final.json", preprocessed)
    groups = {row["case"]: row["group"] for row in csv.DictReader((raw / "manifest.csv").open())}
    images, labels = select_test_cases(raw, groups, arguments.test_cases, arguments.output)

    tables: dict[str, list[dict]] = {}
    for trainer in arguments.trainers:
        seed_everything(arguments.seed)
        start = time.perf_counter()
        with environment(nnUNet_n_proc_DA="0"):  # one process, so that the seed decides everything
            model = train(DATASET, "2d", trainer, plans, device=arguments.device, epochs=arguments.epochs,
                          iterations=arguments.iterations, validation_iterations=2)
        print(f"{trainer}: trained in {time.perf_counter() - start:.0f} s")
        predictions = predict(model, images, arguments.output / "predictions" / trainer, device=arguments.device,
                              mirroring=False)
        rows = score_predictions(predictions=predictions, references=labels, model=model)
        write_csv(arguments.output / f"scores_{trainer}.csv", rows)
        for name, chosen in (("in distribution", True), ("out of distribution", False)):
            tables[f"{trainer}, {name}"] = [row for row in rows if (groups[row["case"]] == "indistr") == chosen]
    print(mean_table(tables))


def select_test_cases(raw: Path, groups: dict[str, str], number: int | None, output: Path) -> tuple[Path, Path]:
    """The folders of test images and labels, or copies of the first cases in and out of distribution."""
    if number is None:
        return raw / "imagesTs", raw / "labelsTs"
    cases = sorted(file.stem for file in (raw / "labelsTs").glob("*.png"))
    inside = [case for case in cases if groups[case] == "indistr"][:number]
    outside = [case for case in cases if groups[case] != "indistr"][:number]
    for source, ending in (("imagesTs", "_0000.png"), ("labelsTs", ".png")):
        (output / source).mkdir(exist_ok=True)
        for case in inside + outside:
            shutil.copy(raw / source / f"{case}{ending}", output / source)
    return output / "imagesTs", output / "labelsTs"


def write_csv(path: Path, rows: list[dict]) -> None:
    with written_at_once(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


if __name__ == "__main__":
    main()
