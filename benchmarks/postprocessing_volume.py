"""Time and memory that nnUNetv2_topo_apply_postprocessing takes for a large volume with many labels.

Makes one case as nnU-Net writes it, organs and broken vessels with specks and their probabilities in single precision
(by default 300 x 512 x 512 voxels, 13 labels, which takes some minutes and 5 GB of disk), and runs the command with
several settings, each in processes of its own.

    python benchmarks/postprocessing_volume.py [--folder FOLDER] [--shape 300 512 512] [--labels 13]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import SimpleITK
from numpy.lib import format as npy
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from nnunet_topo.files import write_json
from nnunet_topo.postprocessing import Operations, Postprocessing, write_postprocessing

SPACING = (1.0, 0.7, 0.7)  # mm
SETTINGS = {
    "specks, holes": Operations(specks_smaller_than=50, holes_smaller_than=50),
    "specks, holes, largest piece": Operations(specks_smaller_than=50, holes_smaller_than=50, pieces=1),
    "gaps, specks, holes": Operations(gaps_tau=0.1, specks_smaller_than=50, holes_smaller_than=50),
    "specks, gaps, peaks, tunnels": Operations(order="specks_first", gaps_tau=0.05, specks_smaller_than=50,
                                               specks_peak_below=0.7, tunnels_smaller_than=5),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the case is kept for the next time; by default it is not")
    parser.add_argument("--shape", type=int, nargs=3, default=(300, 512, 512))
    parser.add_argument("--labels", type=int, default=13)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / "plans.json").exists():
            make_case(folder, tuple(options.shape), options.labels)
        names = tuple(f"label_{label}" for label in range(1, options.labels + 1))
        print("| settings | processes | wall s | CPU s | largest process, GB |\n" + "|---" * 5 + "|")
        for title, operations in SETTINGS.items():
            write_postprocessing(folder / "pp.json", Postprocessing(
                3, names, tuple((label,) for label in range(1, options.labels + 1)), (operations,) * options.labels))
            for processes in ("0", "default"):
                print(f"| {title} | {processes} | {measured(folder, processes)} |", flush=True)


def measured(folder: Path, processes: str) -> str:
    """Wall time, CPU time and the largest process of one run, children included."""
    flags = [] if processes == "default" else ["-np", processes]
    with tempfile.TemporaryDirectory() as output:
        command = [sys.executable, "-m", "nnunet_topo.commands.apply_postprocessing", str(folder / "in"), output, "-pp",
                   str(folder / "pp.json"), "-djfile", str(folder / "dataset.json"), "-pfile",
                   str(folder / "plans.json"), *flags]
        # a shell's own children are all that is counted
        script = ("import resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode; "
                  "used = resource.getrusage(resource.RUSAGE_CHILDREN); "
                  "print(code, used.ru_utime + used.ru_stime, used.ru_maxrss)")
        start = time.perf_counter()
        run = subprocess.run([sys.executable, "-c", script, *command], capture_output=True, text=True, check=True)
        wall = time.perf_counter() - start
        code, seconds, kilobytes = run.stdout.splitlines()[-1].split()
        if code != "0":
            raise SystemExit(run.stderr)
        return f"{wall:.0f} | {float(seconds):.0f} | {float(kilobytes) / 1e6:.1f}"


def make_case(folder: Path, shape: tuple[int, ...], labels: int) -> None:
    """``in/case.nii.gz`` and ``in/case.npz``, with dataset.json and plans.json, in ``folder``."""
    (folder / "in").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    logits = np.lib.format.open_memmap(folder / "logits.npy", "w+", np.float16, (labels + 1, *shape))
    total = np.zeros(shape, np.float32)
    highest, label_map = np.full(shape, -np.inf, np.float16), np.zeros(shape, np.uint8)
    for label in range(labels + 1):
        values = np.zeros(shape, np.float32) if label == 0 else (
            organ if label % 3 == 0 else vessels)(shape, rng)
        values += rng.standard_normal(shape, np.float32) * np.float32(0.2)
        logits[label] = values
        total += np.exp(logits[label], dtype=np.float32)
        label_map[logits[label] > highest] = label
        np.maximum(highest, logits[label], out=highest)
    with (zipfile.ZipFile(folder / "in" / "case.npz", "w", zipfile.ZIP_DEFLATED) as archive,
          archive.open("probabilities.npy", "w", force_zip64=True) as stream):
        npy.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": logits.shape})
        for channel in logits:
            stream.write((np.exp(channel, dtype=np.float32) / total).tobytes())
    (folder / "logits.npy").unlink()
    image = SimpleITK.GetImageFromArray(label_map)
    image.SetSpacing(SPACING[::-1])
    SimpleITK.WriteImage(image, str(folder / "in" / "case.nii.gz"), True)
    names = {"background": 0} | {f"label_{label}": label for label in range(1, labels + 1)}
    write_json(folder / "dataset.json", {"channel_names": {"0": "CT"}, "labels": names, "numTraining": 1,
                                         "file_ending": ".nii.gz"})
    write_json(folder / "plans.json", {"image_reader_writer": "SimpleITKIO", "label_manager": "LabelManager"})


def organ(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Logits of an ellipsoid with holes in it and specks beside it."""
    centre = [rng.uniform(0.3, 0.7) * size for size in shape]
    radii = [rng.uniform(0.1, 0.2) * size for size in shape]
    axes = np.ogrid[tuple(slice(size) for size in shape)]
    distance = sum(((axis - middle) / radius) ** 2 for axis, middle, radius in zip(axes, centre, radii, strict=True))
    values = (8 * (1 - np.sqrt(distance))).clip(-12).astype(np.float32)
    for sign in (-20, 20):
        spot(values, rng, 60, sign)
    return values


def vessels(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Logits of winding tubes that fade away here and there, and of specks."""
    values = np.zeros(shape, np.float32)
    for _ in range(4):
        place = np.array([rng.uniform(0.2, 0.8) * size for size in shape])
        direction = rng.normal(size=3)
        weak = 0
        for _ in range(sum(shape) // 3):
            direction += rng.normal(size=3) * 0.3
            direction /= np.linalg.norm(direction)
            place = np.clip(place + direction * 2, 4, np.array(shape) - 5)
            weak = weak - 1 if weak else int(rng.random() < 0.02) * 5
            box = tuple(slice(int(at) - 3, int(at) + 4) for at in place)
            values[box] = np.maximum(values[box], 10 if weak else 18)
    values = gaussian_filter(values, 1.5) - 9
    spot(values, rng, 80, 20)
    return values


def spot(values: NDArray[np.float32], rng: np.random.Generator, count: int, height: float) -> None:
    """Change the logits in small boxes."""
    for _ in range(count):
        corner = [int(rng.integers(size - 4)) for size in values.shape]
        values[tuple(slice(at, at + int(rng.integers(1, 4))) for at in corner)] += height


if __name__ == "__main__":
    main()
