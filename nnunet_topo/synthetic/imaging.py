"""The image that a scanner might take of a forest of vessels, with what makes a network break them."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from nnunet_topo.synthetic.growth import curve
from nnunet_topo.synthetic.tubes import Branch, Floats, Forest, paint_tube

_BACKGROUND = 0.35  # where a thick vessel of the first class adds 1
_THIN_CONTRAST = 0.6  # of the thinnest vessels, as a share of that of the thickest
_CLASS_CONTRAST = (1.0, 0.6)  # arteries, veins
_POINT_SPREAD = 0.7  # standard deviation in voxels


def take_image(
    forest: Forest, *, classes: int, gaps: int, distractors: int, noise: float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Image of the vessels, and the voxels (at most ``gaps``, D) around which a thin vessel fades away.

    Vessel contrast, a smooth background, blobs and faint lines that are not vessels, the point spread, Rician noise.
    """
    image = _BACKGROUND + 0.1 * _smooth_field(forest.shape, rng)
    contrast, fades_at = _contrast(forest.branches, classes, gaps, rng)
    voxels = np.argwhere(forest.trees)
    centres = np.concatenate([branch.points for branch in forest.branches])
    image[tuple(voxels.T)] += contrast[cKDTree(centres).query(voxels)[1]]
    for number in range(distractors):
        (_add_blob if number % 2 else _add_faint_line)(image, forest, rng)
    image = gaussian_filter(image, _POINT_SPREAD)
    real, imaginary = noise * rng.standard_normal((2, *forest.shape))
    return np.hypot(image + real, imaginary).astype(np.float32), fades_at


def _contrast(
    branches: list[Branch], classes: int, gaps: int, rng: np.random.Generator
) -> tuple[Floats, NDArray[np.int64]]:
    """Contrast at each centreline point of all branches, one after the other, and where it vanishes."""
    thickest = max(branch.radii.max() for branch in branches)
    thin = [b for b in range(len(branches)) if branches[b].radii[-1] < 0.6 * thickest and len(branches[b].points) > 20]
    faded = set(rng.permutation(thin)[:gaps].tolist())
    contrasts, fades_at = [], []
    for index, branch in enumerate(branches):
        length = np.concatenate([[0], np.linalg.norm(np.diff(branch.points, axis=0), axis=1).cumsum()])
        contrast = _THIN_CONTRAST + (1 - _THIN_CONTRAST) * branch.radii / thickest
        contrast *= 1 + 0.12 * np.sin(length / rng.uniform(3, 6) + rng.uniform(0, 2 * np.pi))
        contrast *= _CLASS_CONTRAST[(branch.tree - 1) % classes] * rng.uniform(0.85, 1.1)
        if index in faded:
            centre = int(rng.uniform(0.35, 0.7) * len(length))
            half = rng.uniform(1.5, 3.5)
            contrast *= 1 - rng.uniform(0.8, 1) * np.exp(-(((length - length[centre]) / half) ** 4))
            fades_at.append(np.rint(branch.points[centre]).astype(np.int64))
        contrasts.append(contrast)
    return np.concatenate(contrasts), np.reshape(fades_at, (-1, branches[0].points.shape[1])).astype(np.int64)


def _smooth_field(shape: tuple[int, ...], rng: np.random.Generator, waves: int = 4) -> Floats:
    """A sum of a few long plane waves, of about unit variance."""
    grid = np.meshgrid(*(np.arange(size) / max(shape) for size in shape), indexing="ij", sparse=True)
    field = np.zeros(shape)
    for _ in range(waves):
        phase = sum(2 * np.pi * rng.uniform(-1.5, 1.5) * axis for axis in grid) + rng.uniform(0, 2 * np.pi)
        field += np.cos(phase)
    return field / np.sqrt(waves / 2)


def _add_blob(image: Floats, forest: Forest, rng: np.random.Generator) -> None:
    """A round bright spot that stays clear of the vessels; nothing where there is no room."""
    size = rng.uniform(1.2, 2.5)
    places = rng.uniform(0, 1, (30, image.ndim)) * (np.array(image.shape) - 1)
    free = forest.clearance(places)
    if free.max() < 3 * size:
        return
    place = places[np.argmax(free > 3 * size)]
    axes = np.meshgrid(*(np.arange(n) for n in image.shape), indexing="ij", sparse=True)
    squared = sum((axis - centre) ** 2 for axis, centre in zip(axes, place, strict=True))
    image += rng.uniform(0.4, 0.8) * np.exp(-squared / (2 * size**2))


def _add_faint_line(image: Floats, forest: Forest, rng: np.random.Generator) -> None:
    """A faint curve that is not a vessel, anywhere but on a vessel."""
    start = rng.uniform(0.1, 0.9, image.ndim) * np.array(image.shape)
    tangents = rng.standard_normal((3, image.ndim)) * 0.15 * np.median(image.shape)
    points = curve(start, tangents[0], start + tangents[1], tangents[2])
    box, line = paint_tube(points, np.full(len(points), rng.uniform(0.8, 1.1)), image.shape)
    image[box] += rng.uniform(0.2, 0.35) * (line & (forest.trees[box] == 0))
