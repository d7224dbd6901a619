"""Betti numbers of all label maps of a data set beside gudhi's, which finds them by persistent homology.

    python benchmarks/label_topology.py --data FOLDER [--label 1]

FOLDER is a data set in nnU-Net's raw format; labelsTr, and labelsTs where there is one, are read. gudhi's cubical
complex is given the foreground as closed top-dimensional cells: 8-connected in 2D, 26-connected in 3D. Exit code 1
where any number differs.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import gudhi
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nnunet_topo.files import files_of
from nnunet_topo.homology import betti_numbers
from nnunet_topo.nnunet.evaluation.label_maps import ending_and_reader, read_label_map


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--label", type=int, default=1)
    options = parser.parse_args()
    different = 0
    print("| folder | label maps | equal | b0, mean / max | b1, mean / max | ours s | gudhi s |\n" + "|---" * 7 + "|")
    for folder in filter(Path.is_dir, (options.data / "labelsTr", options.data / "labelsTs")):
        ending, reader = ending_and_reader(folder)
        numbers, equal, seconds = [], 0, [0.0, 0.0]
        for file in tqdm(files_of(folder, ending), desc=folder.name, leave=False):
            mask = read_label_map(file, reader).mask(options.label)
            times = [time.perf_counter()]
            numbers.append(betti_numbers(mask))
            times.append(time.perf_counter())
            theirs = by_gudhi(mask)
            times.append(time.perf_counter())
            seconds = [total + after - before for total, before, after in zip(seconds, times, times[1:], strict=False)]
            equal += numbers[-1] == theirs
            if numbers[-1] != theirs:
                print(f"{file.name}: ours {numbers[-1]}, gudhi {theirs}")
        different += len(numbers) - equal
        cells = [f"{np.mean(column):.2f} / {max(column)}" for column in list(zip(*numbers, strict=True))[:2]]
        cells += [f"{seconds[0]:.2f}", f"{seconds[1]:.1f}"]
        print(f"| {folder.name} | {len(numbers)} | {equal} | {' | '.join(cells)} |")
    return int(different > 0)


def by_gudhi(mask: NDArray[np.bool_]) -> tuple[int, ...]:
    """Classes that are born with the foreground, at 0, and outlive it."""
    complex_ = gudhi.CubicalComplex(top_dimensional_cells=np.where(mask, 0.0, 1.0))
    complex_.compute_persistence()
    numbers = complex_.persistent_betti_numbers(0, 0.5)
    return tuple(int(number) for number in numbers[: mask.ndim])


if __name__ == "__main__":
    sys.exit(main())
