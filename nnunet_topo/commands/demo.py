"""``nnUNetv2_topo_demo``: from synthetic vessels to trained, predicted and scored networks, in minutes on a CPU."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from nnunet_topo.commands.guard import guarded
from nnunet_topo.files import is_empty

TRAINERS = ("nnUNetTrainer", "nnUNetTrainerClDice")


@dataclass(frozen=True)
class Setup:
    """What the demo does in one dimension: sizes that two CPU cores manage in about two minutes."""

    dataset: str
    configuration: str
    shape: tuple[int, ...]
    patch: tuple[int, ...]
    cases: int
    test_cases: int
    batch_size: int
    iterations: int  # an epoch


SETUPS = {
    2: Setup("Dataset801_TopoDemo2D", "2d", (128, 128), (96, 96), 20, 8, 4, 40),
    3: Setup("Dataset802_TopoDemo3D", "3d_fullres", (48, 48, 48), (32, 32, 32), 10, 4, 2, 25),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo for each dimension asked for and print the tables and where everything lies; 0, or 1 with the
    reason in a sentence."""
    options = _parser().parse_args(arguments)
    output = Path(options.output).resolve()
    return guarded(lambda: _demo(options, output), stopped=f"The demo does not go on: remove {output} to start again.")


def _demo(options: argparse.Namespace, output: Path) -> None:
    if not is_empty(output):
        raise ValueError(f"The output folder {output} is {'not empty' if output.is_dir() else 'a file'}. Choose "
                         "another with -o, or remove it first.")
    from nnunet_topo.disk import require_writable, writing
    from nnunet_topo.nnunet.pipeline import environment, nnunet_folders

    require_writable(output)
    start = time.perf_counter()
    quiet = {"nnUNet_compile": "f", "nnUNet_def_n_proc": "1", "nnUNet_n_proc_DA": "1", "OMP_NUM_THREADS": None}
    with nnunet_folders(output), environment(**quiet), writing(output):
        results = [run(SETUPS[dimension], output, options)
                   for dimension in ((2, 3) if options.dimension == "both" else (int(options.dimension),))]
    for text in results:
        print(f"\n{text}")
    print(f"\nDone in {time.perf_counter() - start:.0f} s. All files lie in {output}:\n"
          "  nnUNet_raw, nnUNet_preprocessed, nnUNet_results   nnU-Net's folders, as in any project\n"
          "  predictions/                                      label maps of the unseen cases, raw and post-processed\n"
          "  topology_2d.png, topology_3d.png                  label, predictions and their topological errors\n"
          "  nnunet.log                                        what nnU-Net printed")


def run(setup: Setup, output: Path, options: argparse.Namespace) -> str:
    """One dimension: data, planning, two trainings, predictions, scores, a picture. Returns the table in words."""
    from nnunet_topo.nnunet.evaluation.scoring import mean_table, score_predictions
    from nnunet_topo.nnunet.pipeline import plan_and_preprocess, predict
    from nnunet_topo.synthetic import write_dataset

    raw = Path(os.environ["nnUNet_raw"]) / setup.dataset
    dimension = len(setup.shape)
    print(f"\n{dimension}D: synthetic vessels in {raw}")
    write_dataset(raw, cases=setup.cases, test_cases=setup.test_cases, shape=setup.shape, seed=options.seed)
    print(f"{dimension}D: nnU-Net plans and preprocesses them (a small network)")
    with _nnunet_prints_to(output / "nnunet.log"):
        plans = plan_and_preprocess(setup.dataset, {setup.configuration: setup.patch}, batch_size=setup.batch_size)

    rows, folders, table = {}, {}, {}
    for trainer in TRAINERS:
        model = _train(setup, trainer, plans, output, options)
        folders[trainer] = output / "predictions" / setup.dataset / trainer
        print(f"{dimension}D: {trainer} predicts the unseen cases")
        with _nnunet_prints_to(output / "nnunet.log"):
            predict(model, raw / "imagesTs", folders[trainer], device=options.device, probabilities=True)
        rows[trainer] = score_predictions(predictions=folders[trainer], references=raw / "labelsTs", model=model)
        print(f"{dimension}D: {trainer} predicts its validation cases, on which its post-processing is chosen")
        cleaned = _post_process(raw, model, folders[trainer], output / "nnunet.log", options.device)
        table[trainer] = rows[trainer]
        table[f"{trainer}, post-processed"] = score_predictions(predictions=cleaned, references=raw / "labelsTs",
                                                                model=model)

    picture = output / f"topology_{dimension}d.png"
    _picture(rows, raw, folders, model, picture)
    return (f"{dimension}D, {setup.test_cases} unseen cases after {options.epochs} short epochs "
            f"(means; Betti errors count what is broken, merged or leaking):\n\n{mean_table(table)}\n"
            "Post-processing was chosen on the validation cases of each training, never on these.\n"
            f"Picture: {picture}\n"
            "All metrics, pictures of every case and tests of the differences, in one page for the browser:\n"
            f"{_report_command(raw / 'labelsTs', folders, model, output / f'report_{dimension}d')}")


def _post_process(raw: Path, model: Path, predictions: Path, log: Path, device: str) -> Path:
    """Choose settings on the validation cases of a training, apply them to predictions; returns the folder of these."""
    from nnunet_topo.nnunet.prediction import CasePredictor
    from nnunet_topo.nnunet.training.lookup import preprocessed, validation_cases
    from nnunet_topo.postprocessing import apply_postprocessing, find_postprocessing
    from nnunet_topo.postprocessing.dataset import dataset_of

    dataset = dataset_of(model / "dataset.json", model / "plans.json")
    reading = {"scheme": dataset.scheme, "file_ending": dataset.file_ending, "reader_writer": dataset.reader_writer,
               "processes": 0}
    validation, cleaned = (predictions.with_name(f"{predictions.name}_{what}")
                           for what in ("validation", "postprocessed"))
    with _nnunet_prints_to(log):
        predictor = CasePredictor(model, device=device)
        data = preprocessed(raw.name) / predictor.nnunet.configuration_manager.data_identifier
        for case in validation_cases(raw.name, 0):
            predictor.predict_training_case(data, case, validation)
    settings = find_postprocessing(raw / "labelsTr", [validation], **reading)
    apply_postprocessing(predictions, cleaned, settings, **reading)
    return cleaned


def _report_command(references: Path, folders: dict[str, Path], model: Path, output: Path) -> str:
    """What evaluates the second trainer's predictions, compares them with the first's and writes the report."""
    first, second = (str(folders[trainer]) for trainer in TRAINERS)
    return shlex.join(["nnUNetv2_topo_evaluate", str(references), second, "-djfile", str(model / "dataset.json"),
                       "-pfile", str(model / "plans.json"), "-o", str(output), "--report", "--compare", first])


def _train(setup: Setup, trainer: str, plans: str, output: Path, options: argparse.Namespace) -> Path:
    import random

    import numpy as np
    import torch
    from tqdm import tqdm

    from nnunet_topo.nnunet.pipeline import environment, train

    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(options.seed)
    with (
        tqdm(total=options.epochs, desc=f"{len(setup.shape)}D: {trainer}", unit="epoch") as bar,
        _nnunet_prints_to(output / "nnunet.log"),
        environment(nnUNet_n_proc_DA="0"),  # one process, so that the seed decides everything
    ):
        return train(setup.dataset, setup.configuration, trainer, plans, device=options.device, epochs=options.epochs,
                     iterations=setup.iterations, validation_iterations=4, on_epoch=lambda done, _: bar.update())


def _picture(rows: dict, raw: Path, folders: dict[str, Path], model: Path, path: Path) -> None:
    """The case on which the two networks differ most in topology."""
    from nnunet_topo.nnunet.evaluation.label_maps import read_label_map
    from nnunet_topo.nnunet.evaluation.scoring import reader_of
    from nnunet_topo.nnunet.reading import read_array
    from nnunet_topo.report import topology_figure

    def broken(trainer: str, index: int) -> int:
        return sum(value for name, value in rows[trainer][index].items() if name.endswith("_error"))

    index = max(range(len(rows[TRAINERS[0]])), key=lambda i: broken(TRAINERS[0], i) - broken(TRAINERS[1], i))
    case = rows[TRAINERS[0]][index]["case"]
    reader = reader_of(model)
    label_file = next((raw / "labelsTs").glob(f"{case}.*"))
    topology_figure(
        {trainer: read_label_map(folder / label_file.name, reader).mask(1) for trainer, folder in folders.items()},
        read_label_map(label_file, reader).mask(1),
        path,
        image=read_array([next((raw / "imagesTs").glob(f"{case}_0000.*"))], reader, "image")[0][0],
    )


@contextmanager
def _nnunet_prints_to(log: Path) -> Iterator[None]:
    """nnU-Net prints a lot; the progress bars stay on the screen, its lines go to a file."""
    with log.open("a") as file, redirect_stdout(file), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nnUNetv2_topo_demo",
        description="Makes synthetic vessels, lets nnU-Net plan and preprocess them, trains nnUNetTrainer and "
        "nnUNetTrainerClDice briefly, predicts unseen cases, scores Dice and Betti-number errors and draws a picture. "
        "About five minutes on two CPU cores.",
    )
    parser.add_argument("-o", "--output", dest="output", default="nnunet_topo_demo",
                        help="[OPTIONAL] new or empty folder for everything. Default: ./nnunet_topo_demo")
    parser.add_argument("--epochs", type=_positive, default=10,
                        help="[OPTIONAL] short epochs of 25 to 40 iterations. Default: 10")
    parser.add_argument("-device", "--device", choices=("cpu", "cuda", "mps"), default="cpu",
                        help="[OPTIONAL] Default: cpu")
    parser.add_argument("--dimension", choices=("2", "3", "both"), default="both",
                        help="[OPTIONAL] Default: both")
    parser.add_argument("--seed", type=int, default=0,
                        help="[OPTIONAL] for data, initialisation and sampling. Default: 0")
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of epochs")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
