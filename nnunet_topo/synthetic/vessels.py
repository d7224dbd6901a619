"""Synthetic vessel trees in 2D and 3D whose Betti numbers are known."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.homology import betti_numbers
from nnunet_topo.synthetic.growth import Growth
from nnunet_topo.synthetic.imaging import take_image
from nnunet_topo.synthetic.tubes import Forest

_SMALLEST_AXIS = 16
_ATTEMPTS = 20


@dataclass(frozen=True)
class Vessels:
    """An image of vessels (*S) float32, its label (*S) uint8 and what is known about them.

    ``betti`` are the Betti numbers of all vessels together and ``class_betti`` those of each class, by its label; they
    hold under either connectivity. ``gaps`` (N, D) are the voxels around which a vessel fades away in the image, though
    not in the label.
    """

    image: NDArray[np.float32]
    label: NDArray[np.uint8]
    betti: tuple[int, ...]
    class_betti: dict[int, tuple[int, ...]]
    gaps: NDArray[np.int64]


def vessel_tree(
    shape: tuple[int, ...], *, seed: int, trees: int = 1, loops: int = 1, classes: int = 1,
    root_radius: float | None = None, terminal_radius: float = 1.2, gaps: int = 8, distractors: int = 6,
    noise: float = 0.12,
) -> Vessels:
    """Draw vessel trees in 2D or 3D with exactly ``trees`` components and ``loops`` loops in each class.

    ``shape`` has two or three axes of at least 16 voxels; 32 leave room for one tree, 64 for two classes. Radii are in
    voxels; ``root_radius`` follows from the shape when None. ``gaps`` is the most places at which a thin vessel fades
    away in the image, ``distractors`` the most bright spots and faint lines that are not vessels; ``noise`` is relative
    to the contrast of a thick vessel. With ``classes=2``, arteries (label 1) and veins (label 2, fainter) keep apart.
    Vessels never enclose a cavity.

    The same seed gives the same vessels. Raises ValueError for arguments out of range, RuntimeError when there is no
    room for that many trees and loops.
    """
    if root_radius is None:
        root_radius = float(np.clip(np.median(shape) / 24, 1.6 * terminal_radius, 3.6))
    _check(shape, seed, trees, loops, classes, root_radius, terminal_radius, gaps, distractors, noise)
    shape = tuple(int(size) for size in shape)
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng((seed, attempt))
        forest = _grow(shape, trees, loops, classes, root_radius, terminal_radius, rng)
        if forest is None:
            continue
        label = np.where(forest.trees > 0, (forest.trees - 1) % classes + 1, 0).astype(np.uint8)
        class_betti = {c: (trees, loops) + (0,) * (len(shape) - 2) for c in range(1, classes + 1)}
        betti = tuple(classes * number for number in class_betti[1])
        if not _has_betti_numbers(label, betti, class_betti):
            continue
        image, fades_at = take_image(forest, classes=classes, gaps=gaps, distractors=distractors, noise=noise, rng=rng)
        return Vessels(image, label, betti, class_betti, fades_at)
    raise RuntimeError(
        f"In an image of shape {shape} no room was found for {trees} vessel trees with {loops} loops in each of "
        f"{classes} classes, in {_ATTEMPTS} attempts from seed {seed}. Ask for fewer trees or loops, thinner roots "
        "or a larger image."
    )


def _grow(
    shape: tuple[int, ...], trees: int, loops: int, classes: int, root_radius: float, terminal_radius: float,
    rng: np.random.Generator,
) -> Forest | None:
    """A forest with that many trees and loops in each class, or None where these random numbers lead to none."""
    forest = Forest(shape)
    growth = Growth(forest, root_radius=root_radius, terminal_radius=terminal_radius, rng=rng)
    if not growth.grow_trees(trees * classes):
        return None
    for first in range(1, classes + 1):
        of_class = range(first, trees * classes + 1, classes)
        for _ in range(loops):
            if not any(growth.close_loop(int(tree)) for tree in rng.permutation(of_class)):
                return None
    return forest


def _has_betti_numbers(
    label: NDArray[np.uint8], betti: tuple[int, ...], class_betti: dict[int, tuple[int, ...]]
) -> bool:
    """Growth leaves nothing open but a cavity and a tunnel that appear together; this closes it."""
    expected = [(label > 0, betti)]
    if len(class_betti) > 1:
        expected += [(label == value, numbers) for value, numbers in class_betti.items()]
    return all(
        betti_numbers(mask, connectivity) == numbers
        for mask, numbers in expected
        for connectivity in ("foreground", "background")
    )


def _check(
    shape: tuple[int, ...], seed: int, trees: int, loops: int, classes: int, root_radius: float,
    terminal_radius: float, gaps: int, distractors: int, noise: float,
) -> None:
    if len(shape) not in (2, 3) or min(shape) < _SMALLEST_AXIS:
        raise ValueError(
            f"Vessels are drawn in images of two or three axes of at least {_SMALLEST_AXIS} voxels each, "
            f"not in one of shape {tuple(shape)}."
        )
    lowest = {"seed": (seed, 0), "trees": (trees, 1), "loops": (loops, 0), "gaps": (gaps, 0)}
    lowest |= {"distractors": (distractors, 0)}
    for name, (value, least) in lowest.items():
        if not isinstance(value, (int, np.integer)) or value < least:
            raise ValueError(f"{name} must be an integer of at least {least}, not {value!r}.")
    if classes not in (1, 2):
        raise ValueError(f"classes must be 1 (vessels) or 2 (arteries and veins), not {classes!r}.")
    if trees * classes > 255:
        raise ValueError(f"At most 255 trees fit one image, not {trees} in each of {classes} classes.")
    if not 1 <= terminal_radius <= root_radius:
        raise ValueError(
            "Radii in voxels must satisfy 1 <= terminal_radius <= root_radius, since thinner tubes fall apart on the "
            f"grid; given were terminal_radius={terminal_radius} and root_radius={root_radius}."
        )
    if noise < 0:
        raise ValueError(f"noise must not be negative, not {noise}.")
