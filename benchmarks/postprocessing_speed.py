"""How long settings of post-processing are searched for, and in how much memory.

Synthetic vessels with specks, gaps and pinholes: 20 images of 512 x 512, then 20 volumes of 128 x 128 x 128. Seconds of
processors are those of all processes together, which share them on a machine that does nothing else.

    python benchmarks/postprocessing_speed.py
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from scipy.ndimage import gaussian_filter
from SimpleITK import GetImageFromArray, WriteImage

from nnunet_topo.postprocessing import LabelScheme, find_postprocessing
from nnunet_topo.synthetic import vessel_tree

SCHEME = LabelScheme(("vessel",), ((1,),), (1,), (1,), 2, frozenset({0, 1}))
READING = {"scheme": SCHEME, "file_ending": ".nii.gz", "reader_writer": SimpleITKIO()}


def main() -> None:
    options = _parser().parse_args()
    print("| images | mean error | after | wall s | processor s | largest process, MB |\n|---|---|---|---|---|---|")
    for shape in ((512, 512), (128, 128, 128)):
        with tempfile.TemporaryDirectory() as folder:
            true, predicted = Path(folder, "true"), Path(folder, "predicted")
            true.mkdir()
            predicted.mkdir()
            for seed in range(options.images):
                _write(shape, seed, true, predicted)
            before, start = _processor_seconds(), time.perf_counter()
            settings = find_postprocessing(true, [predicted], **READING, processes=options.np)
            wall, busy = time.perf_counter() - start, _processor_seconds() - before
        gains = settings.chosen["regions"]["vessel"]
        largest = resource.getrusage(resource.RUSAGE_CHILDREN if options.np else resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"| {options.images} of {' x '.join(map(str, shape))} | {gains['predicted']['error']:.2f} | "
              f"{gains['post_processed']['error']:.2f} | {wall:.0f} | {busy:.0f} | {largest:.0f} |", flush=True)


def _write(shape: tuple[int, ...], seed: int, true: Path, predicted: Path) -> None:
    """A vessel tree, and probabilities of a network that is unsure of some of it."""
    vessels = vessel_tree(shape, seed=seed)
    label = (vessels.label > 0).astype(np.uint8)
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.2)
    logits = gaussian_filter(label.astype(np.float32), 0.7) * 9.5 - 5.2 + 1.7 * noise / noise.std()
    for place in vessels.gaps:
        logits[tuple(slice(max(at - 2, 0), at + 3) for at in place)] -= 4
    likely = 1 / (1 + np.exp(-logits))
    probabilities = np.stack([1 - likely, likely]).astype(np.float16)
    np.savez_compressed(predicted / f"{seed:02}.npz",
                        probabilities=probabilities if len(shape) == 3 else probabilities[:, None])  # fmt: skip
    for folder, labels in ((true, label), (predicted, probabilities.argmax(0).astype(np.uint8))):
        WriteImage(GetImageFromArray(labels), str(folder / f"{seed:02}.nii.gz"))


def _processor_seconds() -> float:
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage,
                                                                (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20, help="[OPTIONAL] of each kind. Default: 20")
    parser.add_argument("-np", type=int, default=2, help="[OPTIONAL] processes. Default: 2")
    return parser


if __name__ == "__main__":
    main()
