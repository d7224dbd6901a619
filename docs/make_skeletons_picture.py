"""Draw ``skeletons.png`` beside this file: one vessel tree, its probabilities, and its skeleton by each method.

    python docs/make_skeletons_picture.py

The probabilities are made, not predicted: the blurred label with noise, a gap and lost contrast. A skeleton should have
the Betti numbers of the mask it is the skeleton of, which are those of the probabilities above 1/2.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.morphology import skeletonize

from nnunet_topo.files import written_at_once
from nnunet_topo.homology import betti_numbers
from nnunet_topo.skeletons import TopologicalSkeleton, soft_skeleton, soft_skeleton_iterations, thin, tubed_skeleton
from nnunet_topo.synthetic import vessel_tree

SEED, SHAPE, SAMPLES = 8, (56, 84), 20
DIPS = ((1.0, 2.0), (1.0, 2.0), (0.5, 5.0))  # lost share of the contrast and its radius in voxels: two gaps, a weakness

# As in the package's other pictures.
_BACKGROUND, _MASK, _SKELETON, _BROKEN_OFF, _OUTLINE = "#14171B", "#3A4652", "#F4F6F8", "#FF3860", "#35E0A1"
_WARNING, _NOTE = "#C8102E", "0.35"
_PANEL, _SPACE, _TITLE, _TEXT, _LEGEND = 3.2, 0.16, 0.3, 0.52, 0.42  # inches


def label_and_probabilities() -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """A vessel tree with two loops (*S), and what a network might say about it (*S)."""
    label = vessel_tree(SHAPE, seed=SEED, loops=2, root_radius=4, terminal_radius=1.5).label > 0
    rng = np.random.default_rng(SEED)
    noise = gaussian_filter(rng.standard_normal(SHAPE), 2)
    thin_vessels = np.argwhere(thin(label) & (gaussian_filter(label.astype(float), 2) < 0.75))
    rows, columns = np.indices(SHAPE)
    contrast = np.ones(SHAPE)
    for (row, column), (loss, radius) in zip(rng.permutation(thin_vessels), DIPS, strict=False):
        contrast -= loss * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * radius**2))
    logits = 8 * (gaussian_filter(label.astype(float), 1) * contrast - 0.42) + noise / noise.std()
    return label, (1 / (1 + np.exp(-logits))).astype(np.float32)


def skeletons_of(probabilities: NDArray[np.float32]) -> dict[str, NDArray[np.bool_]]:
    """Binary skeletons (samples, *S) by each method; one sample, but for the noisy ones."""
    mask, tensor = probabilities > 0.5, torch.from_numpy(probabilities)[None, None]
    noise = torch.Generator().manual_seed(SEED)
    noisy = TopologicalSkeleton(beta=0.33)
    skeletons = {
        "soft": soft_skeleton(tensor, soft_skeleton_iterations(mask)) > 0.5,
        "topological": TopologicalSkeleton(beta=0)(tensor),
        "noisy": torch.cat([noisy(tensor, generator=noise) for _ in range(SAMPLES)]),
        "thin": thin(mask),
        "euler": thin(mask, simple_points="euler"),
        "skeletonize": skeletonize(mask),
        "tubed": tubed_skeleton(mask),
    }
    return {name: np.asarray(skeleton, np.bool_).reshape(-1, *SHAPE) for name, skeleton in skeletons.items()}


def draw(path: Path) -> None:
    label, probabilities = label_and_probabilities()
    mask, skeletons = probabilities > 0.5, skeletons_of(probabilities)
    if not np.array_equal(skeletons["thin"], skeletons["euler"]):
        raise RuntimeError('In 2D "topological" and "euler" agree, but their skeletons differ; give each a panel.')
    figure, panels = empty_panels(columns=3, rows=3)
    draw_skeletons(next(panels), "vessel tree", label, label[None], "synthetic, as known")
    draw_probabilities(next(panels), probabilities, label)
    draw_skeletons(next(panels), "mask: probabilities > 0.5", mask, mask[None], "a skeleton of it should have the same")
    for name, title, note in (
        ("soft", "soft skeleton (clDice)", "of the probabilities; where it is above 0.5"),
        ("topological", "topological skeleton", "of the probabilities, without noise"),
        ("noisy", "topological skeleton with noise", f"means of {SAMPLES} samples, beta 0.33"),
        ("thin", "thin", 'of the mask; "euler" is the same in 2D'),
        ("skeletonize", "skeletonize of scikit-image", "of the mask"),
        ("tubed", "tubed skeleton (Skeleton Recall)", "of the mask, radius 2"),
    ):
        draw_skeletons(next(panels), title, mask, skeletons[name], note)
    width, height = figure.get_size_inches()
    figure.text(_SPACE / width, 0.12 / height, "Grey: the mask. Red: what broke off, all but the largest piece of the "
                "skeleton in each piece of the mask; and numbers other than the mask's.\n"
                "Pieces are 8-connected, their background 4-connected.", fontsize=9, color=_NOTE, linespacing=1.3)
    with written_at_once(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def empty_panels(columns: int, rows: int) -> tuple[Figure, Iterator[Axes]]:
    """Panels row by row, with room above each for its name, below for two lines, and at the bottom for a legend."""
    height = _PANEL * SHAPE[0] / SHAPE[1]
    of_row = _TITLE + height + _TEXT
    total = _SPACE + columns * (_PANEL + _SPACE), rows * of_row + _LEGEND
    figure = Figure(figsize=total, facecolor="white")
    FigureCanvasAgg(figure)
    places = [(_SPACE + column * (_PANEL + _SPACE), _LEGEND + _TEXT + (rows - 1 - row) * of_row)
              for row in range(rows) for column in range(columns)]
    return figure, iter([figure.add_axes((left / total[0], bottom / total[1], _PANEL / total[0], height / total[1]))
                         for left, bottom in places])


def draw_probabilities(panel: Axes, probabilities: NDArray[np.float32], label: NDArray[np.bool_]) -> None:
    panel.imshow(probabilities, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    # Framed, so that the outline closes where a vessel leaves the image.
    rows, columns = (np.arange(-1, size + 1) for size in SHAPE)
    panel.contour(columns, rows, np.pad(label, 1), levels=[0.5], colors=_OUTLINE, linewidths=0.9)
    panel.set(xlim=(-0.5, SHAPE[1] - 0.5), ylim=(SHAPE[0] - 0.5, -0.5))
    write(panel, "probabilities", "", "made from the tree (outline): blurred, noisy,\nwith gaps and lost contrast")


def draw_skeletons(panel: Axes, title: str, mask: NDArray[np.bool_], skeletons: NDArray[np.bool_], note: str) -> None:
    """The mean of skeletons (samples, *S) of a mask over it, and below the mean of their Betti numbers."""
    picture = np.empty((*SHAPE, 3))
    picture[:] = to_rgb(_BACKGROUND)
    picture[mask] = to_rgb(_MASK)
    brightness = skeletons.mean(0)[..., None]
    picture = (1 - brightness) * picture + brightness * to_rgb(_SKELETON)
    if len(skeletons) == 1:
        picture[broken_off(skeletons[0], mask)] = to_rgb(_BROKEN_OFF)
    panel.imshow(picture, interpolation="nearest")
    numbers = np.array([betti_numbers(skeleton) for skeleton in skeletons])
    right = bool((numbers == betti_numbers(mask)).all())
    write(panel, title, in_words(numbers.mean(0)), note, "black" if right else _WARNING)


def broken_off(skeleton: NDArray[np.bool_], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """All of a skeleton but its largest piece in each piece of the mask."""
    pieces = cc3d.connected_components(skeleton, connectivity=8)
    pieces_of_mask = cc3d.connected_components(mask, connectivity=8)
    largest = [np.bincount(pieces[skeleton & (pieces_of_mask == piece)]).argmax()
               for piece in np.unique(pieces_of_mask[skeleton & mask])]
    return skeleton & ~np.isin(pieces, largest)


def write(panel: Axes, title: str, numbers: str, note: str, colour: str = "black") -> None:
    """The panel's name above it; below its Betti numbers, where it has any, and a note."""
    panel.set_axis_off()
    panel.set_title(title, fontsize=10.5, fontweight="bold", pad=5)
    lines = [(numbers, colour, "bold")] if numbers else []
    for place, (text, of_text, weight) in enumerate([*lines, (note, _NOTE, "normal")]):
        panel.annotate(text, (0, 0), xytext=(0, -4 - 14 * place), xycoords="axes fraction", textcoords="offset points",
                       fontsize=9, fontweight=weight, color=of_text, verticalalignment="top", linespacing=1.35)


def in_words(numbers: NDArray[Any]) -> str:
    return ", ".join(f"{number:.3g} {name if number == 1 else name + 's'}"
                     for number, name in zip(numbers, ("piece", "loop"), strict=True))


if __name__ == "__main__":
    draw(Path(__file__).with_name("skeletons.png"))
