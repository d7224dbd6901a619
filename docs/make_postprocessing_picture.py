"""Draws docs/postprocessing.png: a prediction before and after post-processing, with what was added and removed.

    python docs/make_postprocessing_picture.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage

from nnunet_topo.homology import betti_numbers
from nnunet_topo.postprocessing import close_gaps, drop_specks, fill_holes

SIZE = 120
BACKGROUND, KEPT, ADDED, REMOVED = (1.0, 1.0, 1.0), (0.25, 0.25, 0.25), (0.1, 0.6, 0.2), (0.85, 0.2, 0.1)


def example() -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """A net of vessels and the probabilities of a network that is unsure in some places and wrong in others."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    waves = [rows - 25 - 6 * np.sin(columns / 14), rows - 85 - 8 * np.sin(columns / 17 + 2),
             columns - 35 - 5 * np.sin(rows / 12), columns - 92 - 6 * np.sin(rows / 15 + 1)]
    reference = np.any([np.abs(wave) < 3 for wave in waves], axis=0)
    rng = np.random.default_rng(3)
    noise = ndimage.gaussian_filter(rng.normal(size=reference.shape), 1.6)
    unsure = ndimage.gaussian_filter(rng.normal(size=reference.shape), 5)
    logits = 9 * ndimage.gaussian_filter(reference.astype(float), 1) - 3.6 + 9 * noise - 22 * np.abs(unsure) * reference
    return reference, 1 / (1 + np.exp(-logits))


def steps() -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """The reference, the prediction, and the prediction after gaps, specks and holes."""
    reference, probabilities = example()
    prediction = probabilities > 0.5
    closed = close_gaps(prediction, probabilities, (1, 1), tau=0.25)
    cleaned = fill_holes(drop_specks(closed, (1, 1), smaller_than=60), (1, 1), smaller_than=30)
    return reference, prediction, cleaned


def draw(path: Path) -> None:
    reference, prediction, cleaned = steps()
    figure = Figure(figsize=(12, 4.4), layout="constrained")
    panels = (("Label", reference, reference), ("Prediction", prediction, prediction),
              ("Post-processed: added, removed", prediction, cleaned))
    for axes, (title, before, after) in zip(figure.subplots(1, 3), panels, strict=True):
        picture = np.full((*reference.shape, 3), BACKGROUND)
        picture[before & after], picture[after & ~before], picture[before & ~after] = KEPT, ADDED, REMOVED
        axes.imshow(picture, interpolation="nearest")
        pieces, holes = betti_numbers(after)
        axes.set_title(title)
        axes.set_xlabel(f"{pieces} pieces, {holes} holes (8-connected)")
        axes.set_xticks([])
        axes.set_yticks([])
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    draw(Path(__file__).with_name("postprocessing.png"))
