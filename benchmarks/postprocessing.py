"""What post-processing gains on images that it was not chosen on.

Takes folders of nnU-Net's probabilities of one class as 8-bit PNG (probability x 255) and of their label maps, PNG of
the same names or beginnings; any label above 0 is the class. With one folder of probabilities its images are split into
two halves by their order, settings are chosen on one and applied to the other, both ways. With two, settings are chosen
on the first and applied to the second.

    python benchmarks/postprocessing.py --data topomortar_probabilities --labels topomortar_small/labelsTr
    python benchmarks/postprocessing.py --data drive/val drive/test --labels drive/labels

A single folder with --all: settings are chosen on all of its images, for the errors by leave-one-out.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from skimage import io

from nnunet_topo.metrics import cl_dice, dice
from nnunet_topo.postprocessing import LabelScheme, Operations, apply_postprocessing, find_postprocessing
from nnunet_topo.postprocessing.candidates import DEFAULT_METRIC, METRICS

SCHEME = LabelScheme(("foreground",), ((1,),), (1,), (1,), 2, frozenset({0, 1}))
READING = {"scheme": SCHEME, "file_ending": ".png", "reader_writer": NaturalImage2DIO()}


def main() -> None:
    options = _parser().parse_args()
    files = [sorted(folder.glob("*.png")) for folder in options.data]
    if len(files) == 1 and options.all:
        ways = [("all -> all", *files, *files)]
    elif len(files) == 1:
        middle = len(files[0]) // 2
        halves = files[0][:middle], files[0][middle:]
        ways = [("first half -> second half", *halves), ("second half -> first half", *halves[::-1])]
    else:
        ways = [(f"{options.data[0].name} -> {options.data[1].name}", *files)]
    metrics = " | ".join(f"{name.replace('_', ' ')} {dimension}" for name in METRICS for dimension in (0, 1))
    print(f"| chosen on -> applied to | | images | {metrics} | Dice | clDice |")
    print("|---" * (5 + 2 * len(METRICS)) + "|")
    notes = []
    for name, validation, test in ways:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            for part, images in (("validation", validation), ("test", test)):
                _write(images, options.labels, place / part, place / f"{part}_labels")
            start = time.perf_counter()
            settings = find_postprocessing(place / "validation_labels", [place / "validation"], **READING,
                                           processes=options.np, metric=options.metric)
            seconds = time.perf_counter() - start
            apply_postprocessing(place / "test", place / "processed", settings, **READING, processes=0)
            for row, predictions in (("predicted", "test"), ("post-processed", "processed")):
                print(f"| {name} | {row} | {len(test)} | {_means(place / predictions, place / 'test_labels')} |")
            chosen = {key: value for key, value in vars(settings.operations[0]).items()
                      if value != getattr(Operations(), key)}
            gains = settings.chosen["regions"]["foreground"]
            errors = ", ".join(f"{row.replace('_', ' ')} {gains[row]['error']:.2f}"
                               for row in ("predicted", "post_processed", "leave_one_out"))
            notes.append(f"{name}: {chosen or 'nothing'}, found in {seconds:.0f} s on {len(validation)} images "
                         f"({options.metric} there: {errors})")
    print("\n" + "\n".join(notes))


def _write(images: list[Path], labels: Path, predictions: Path, references: Path) -> None:
    """Probabilities and label maps as nnU-Net writes them."""
    for folder in (predictions, references):
        folder.mkdir()
    for file in images:
        likely = io.imread(file).astype(np.float32) / 255
        probabilities = np.stack([1 - likely, likely])[:, None]
        np.savez_compressed(predictions / f"{file.stem}.npz", probabilities=probabilities.astype(np.float16))
        io.imsave(predictions / file.name, (likely > 0.5).astype(np.uint8), check_contrast=False)
        matches = [label for label in sorted(labels.iterdir()) if label.stem.split(".")[0] == file.stem]
        if len(matches) != 1:
            raise SystemExit(f"{labels} holds {len(matches)} label maps of {file.stem}, not one.")
        io.imsave(references / file.name, (io.imread(matches[0]) > 0).astype(np.uint8), check_contrast=False)


def _means(predictions: Path, references: Path) -> str:
    rows = []
    for file in sorted(references.glob("*.png")):
        prediction, reference = (io.imread(folder / file.name) > 0 for folder in (predictions, references))
        rows.append([*(error for metric in METRICS.values() for error in metric(prediction, reference)),
                     dice(prediction, reference), cl_dice(prediction, reference)])
    means = np.mean(rows, axis=0)
    return " | ".join([*(f"{value:.2f}" for value in means[:-2]), *(f"{value:.4f}" for value in means[-2:])])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folder(s) of probabilities, one or two")
    parser.add_argument("--labels", type=Path, required=True, help="folder of their label maps")
    parser.add_argument("--metric", choices=tuple(METRICS), default=DEFAULT_METRIC,
                        help=f"[OPTIONAL] what settings are chosen by. Default: {DEFAULT_METRIC}")
    parser.add_argument("--all", action="store_true", help="[OPTIONAL] choose on all images of the one folder")
    parser.add_argument("-np", type=int, default=2, help="[OPTIONAL] processes. Default: 2")
    return parser


if __name__ == "__main__":
    main()
