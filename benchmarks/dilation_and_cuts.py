"""What the Betti matching error says of a label map that was dilated, in which nothing breaks, and of one with cuts.

    python benchmarks/dilation_and_cuts.py [--images 20] [--size 512] [--cuts 12] [--data FOLDER]

The label maps are synthetic vessel trees whose thin vessels are one pixel wide, as people draw them; with --data, all
PNG label maps of a folder, foreground 1, for instance labelsTr of TopoMortar. A cut is a square of 7 pixels around a
point of the centreline, wider where the vessel is. Means over images of components (0) and holes (1) without a partner.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_opening, distance_transform_edt
from skimage.io import imread

from nnunet_topo.metrics import betti_matching_error
from nnunet_topo.skeletons import thin
from nnunet_topo.synthetic import vessel_tree

Mask = NDArray[np.bool_]
SQUARE = np.ones((3, 3), bool)
FORMS = {"foreground 8, background 4": {}, "foreground 4, background 8, published": {"connectivity": "background",
                                                                                      "published": True}}


def drawn_tree(size: int, seed: int) -> Mask:
    """A tree with loops; vessels of fewer than three pixels in width are lines of one."""
    tree = vessel_tree((size, size), seed=seed, loops=8).label > 0
    return thin(tree) | binary_opening(tree, SQUARE)


def cut(label: Mask, cuts: int, seed: int) -> Mask:
    """The label map with holes across its lines, at so many points of the centreline."""
    centreline, radius = np.argwhere(thin(label)), distance_transform_edt(label)
    result = label.copy()
    for row, column in np.random.default_rng(seed).permutation(centreline)[:cuts]:
        half = int(np.ceil(radius[row, column])) + 2
        result[max(row - half, 0) : row + half + 1, max(column - half, 0) : column + half + 1] = False
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--cuts", type=int, default=12)
    parser.add_argument("--data", type=Path, help="folder of PNG label maps instead of synthetic ones")
    arguments = parser.parse_args()
    if arguments.data:
        labels = [imread(file) == 1 for file in sorted(arguments.data.glob("*.png"))[: arguments.images]]
    else:
        labels = [drawn_tree(arguments.size, seed) for seed in range(arguments.images)]
    if not labels:
        parser.error(f"{arguments.data} holds no PNG file")
    changed = {"dilated by one pixel": [binary_dilation(label, SQUARE) for label in labels],
               f"{arguments.cuts} cuts": [cut(label, arguments.cuts, seed) for seed, label in enumerate(labels)]}
    print("| label map | " + " | ".join(f"{form}: {k}" for form in FORMS for k in (0, 1)) + " |\n" + "|---" * 5 + "|")
    for name, masks in changed.items():
        errors = [np.mean([betti_matching_error(mask, label, **options) for mask, label in
                           zip(masks, labels, strict=True)], axis=0) for options in FORMS.values()]
        print(f"| {name} | " + " | ".join(f"{error:.1f}" for pair in errors for error in pair) + " |", flush=True)


if __name__ == "__main__":
    main()
