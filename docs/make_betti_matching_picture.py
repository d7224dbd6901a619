"""Draw ``betti_matching.png`` beside this file: which features of a prediction lie where the target has them.

    python docs/make_betti_matching_picture.py

A broken ring and a crop of a vessel tree. The predictions are made: the blurred target with gaps, false parts and
noise. Each feature is drawn at the voxels at which it is born and dies as the threshold on the prediction falls.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from nnunet_topo.report import betti_matching_figure
from nnunet_topo.synthetic import vessel_tree

Image = NDArray[np.float32]
Example = tuple[str, Image, NDArray[np.bool_]]


def examples() -> list[Example]:
    """Names, predictions and targets of one shape."""
    return [("broken ring", *broken_ring()), ("crop of a vessel tree", *vessel_crop())]


def broken_ring() -> tuple[Image, NDArray[np.bool_]]:
    """A ring with two gaps, one wider than the other, and a spot beside it."""
    rows, columns = np.indices((34, 52))
    target = np.abs(np.hypot(rows - 16.5, columns - 21) - 11) < 2.2
    foreground = gaussian_filter(target.astype(float), 0.8)
    foreground *= 1 - 0.75 * spot(target.shape, (8.5, 29), 2.2) - 0.6 * spot(target.shape, (26, 15), 2)
    return probabilities(foreground + 0.8 * spot(target.shape, (9, 44), 1.8), noise=0.3), target


def vessel_crop() -> tuple[Image, NDArray[np.bool_]]:
    """A vessel tree that fades away at two places, with one loop closed up and a false bridge."""
    label = vessel_tree((56, 84), seed=8, loops=2, root_radius=4, terminal_radius=1.5).label
    target = label[2:-2, 2:-2] > 0
    foreground = gaussian_filter(target.astype(float), 1)
    foreground *= 1 - spot(target.shape, (47, 43), 2) - spot(target.shape, (4, 20), 2)
    foreground += 5 * spot(target.shape, (21.5, 24.5), 2.4)  # to certainty, where no noise is left
    bridge = np.zeros(target.shape)
    bridge[5:7, 52:66] = 1
    return probabilities(foreground + 0.8 * gaussian_filter(bridge, 1), noise=0.6), target


def spot(shape: tuple[int, ...], centre: tuple[float, float], radius: float) -> Image:
    rows, columns = np.indices(shape)
    distance = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2
    return np.exp(-distance / (2 * radius**2)).astype(np.float32)


def probabilities(foreground: NDArray[np.floating], *, noise: float) -> Image:
    field = gaussian_filter(np.random.default_rng(0).standard_normal(foreground.shape), 1.5)
    logits = 8 * (foreground - 0.42) + noise * field / field.std()
    return (1 / (1 + np.exp(-logits))).astype(np.float32)


def draw(path: Path) -> None:
    betti_matching_figure({name: (prediction, target) for name, prediction, target in examples()}, path)


if __name__ == "__main__":
    draw(Path(__file__).with_name("betti_matching.png"))
