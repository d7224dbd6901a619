"""Betti matching: which topological features of a prediction lie where a target has them, exactly.

N. Stucki, J. C. Paetzold, S. Shit, B. Menze, U. Bauer, "Topologically faithful image segmentation via induced matching
of persistence barcodes", ICML 2023, section 3; in three dimensions N. Stucki, V. Bürgin, J. C. Paetzold, U. Bauer,
"Efficient Betti matching enables topology-aware 3D segmentation via persistent homology", 2024.

Both images are filtered by falling value. With the connectivity "foreground" (8 neighbours in 2D, 26 in 3D, background
of 4 or 6) voxels are closed cubes; with "background" (the other way round), the published form, they are the vertices
of a cubical complex. A feature is a pair of voxels, where it is born and where it dies: components in dimension 0,
holes in dimension 1 of an image, loops and cavities in dimensions 1 and 2 of a volume. Two features are matched when
both go on as the same feature of the pointwise maximum of the images. Ties between equal values are broken by position,
for "background" as in the authors' C++ code, whose results these are; of masks, in which all is tied, count matches by
:func:`nnunet_topo.homology.matched_betti_numbers`. The component that never dies is not among the pairs, as there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nnunet_topo.homology.masks import Connectivity, check_connectivity
from nnunet_topo.kernels.threads import cores, over_threads

Image = NDArray[Any] | torch.Tensor


@dataclass(frozen=True)
class Pairs:
    """Features of one image: the voxels at which they are born and die, as indices (n) into the flattened image."""

    shape: tuple[int, ...]
    birth_index: NDArray[np.int64]
    death_index: NDArray[np.int64]
    birth_value: NDArray[np.float32]
    death_value: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.birth_index)

    @property
    def birth(self) -> NDArray[np.int64]:
        """Coordinates (n, axes) of the voxels of birth."""
        return np.stack(np.unravel_index(self.birth_index, self.shape), axis=-1)

    @property
    def death(self) -> NDArray[np.int64]:
        """Coordinates (n, axes) of the voxels of death."""
        return np.stack(np.unravel_index(self.death_index, self.shape), axis=-1)


@dataclass(frozen=True)
class DimensionMatching:
    """Features of one dimension; row i of both matched tables is one match."""

    matched_prediction: Pairs
    matched_target: Pairs
    unmatched_prediction: Pairs
    unmatched_target: Pairs

    @property
    def counts(self) -> tuple[int, int, int]:
        """Numbers of matches, of unmatched features of the prediction, and of the target."""
        return len(self.matched_prediction), len(self.unmatched_prediction), len(self.unmatched_target)


@dataclass(frozen=True)
class BettiMatching:
    """Features of a prediction and of a target, matched or not, by dimension.

    ``essential_prediction`` and ``essential_target`` are the indices, in the flattened images, of the voxels at which
    the components that never die are born; they are not among the pairs.
    """

    shape: tuple[int, ...]
    dimensions: tuple[DimensionMatching, ...]
    essential_prediction: int
    essential_target: int

    def __getitem__(self, dimension: int) -> DimensionMatching:
        return self.dimensions[dimension]

    def __len__(self) -> int:
        return len(self.dimensions)


def betti_matching(
    prediction: Image, target: Image, connectivity: Connectivity = "foreground"
) -> BettiMatching:
    """Betti matching of a prediction and a target, numpy arrays or tensors (*S) of the same two or three axes.

    Values are foreground probabilities or any other finite numbers, ordered as they are in float32; a mask may be
    boolean or hold the integers 0 and 1. ``connectivity`` names the side that is connected across corners. It is
    fastest where the target is a mask and the prediction lies between 0 and 1. The first call on a machine compiles for
    about half a minute; the result is kept on disk. No gradient runs through it: gather the prediction at the voxels
    that it names. Raises ValueError for shapes that differ, other numbers of axes, no voxel at all, integers other than
    0 and 1, NaN and infinity, another connectivity; TypeError for anything else than real numbers.
    """
    check_connectivity(connectivity)
    first = as_float32(prediction, "prediction of a Betti matching")
    second = as_float32(target, "target of a Betti matching")
    if first.shape != second.shape:
        raise ValueError(
            f"A Betti matching needs a prediction and a target of the same shape, not {first.shape} and {second.shape}."
        )
    from nnunet_topo.homology._cells import CLOSED  # numba is only needed from here on
    from nnunet_topo.homology._matching import match

    shape = (*(0,) * (3 - first.ndim), *first.shape)
    padded = [size + 2 for size in first.shape]
    strides = tuple(int(np.prod(padded[axis + 1 :])) for axis in range(first.ndim))
    finite, dimensions = match(first.ravel(), second.ravel(), shape, strides, CLOSED[connectivity])
    for image, is_finite, name in zip((first, second), finite, ("prediction", "target"), strict=True):
        if not is_finite:
            count = np.count_nonzero(~np.isfinite(image))
            raise ValueError(f"The {name} of a Betti matching must be finite; {count} of its voxels are not.")
    return BettiMatching(
        first.shape,
        tuple(_dimension(first, second, *pairs) for pairs in dimensions),
        int(first.argmax()),
        int(second.argmax()),
    )


def betti_matchings(
    predictions: Iterable[Image],
    targets: Iterable[Image],
    connectivity: Connectivity = "foreground",
    *,
    threads: int | None = None,
) -> list[BettiMatching]:
    """Betti matchings of many pairs, each as by :func:`betti_matching`, on several threads at once.

    The iterables may be tensors (N, *S); shapes may differ from pair to pair. Other Python threads run meanwhile.
    ``threads``: how many pairs are worked on at a time, by default one for each core. Raises ValueError also for
    iterables of different lengths and for threads below 1; no pairs give an empty list.
    """
    check_connectivity(connectivity)
    pairs = list(zip(predictions, targets, strict=True))
    if threads is not None and threads < 1:
        raise ValueError(f"Betti matchings need at least one thread, not {threads}.")
    return over_threads(lambda pair: betti_matching(pair[0], pair[1], connectivity), pairs, threads=threads or cores())


def as_float32(image: Image, name: str) -> NDArray[np.float32]:
    """The image as a contiguous array, checked; ``name`` is what a sentence calls it."""
    if isinstance(image, torch.Tensor):
        image = image.detach().cpu()
        image = (image.float() if image.is_floating_point() else image).numpy()
    if not isinstance(image, np.ndarray) or image.dtype.kind not in "biuf":
        given = f"{type(image).__name__} {getattr(image, 'dtype', '')}".strip()
        raise TypeError(f"The {name} must be a numpy array or tensor of real numbers, not {given}.")
    if image.ndim not in (2, 3) or image.size == 0:
        raise ValueError(
            f"The {name} must have two or three axes and at least one voxel, not the shape "
            f"{image.shape}; take samples and channels one by one."
        )
    if image.size * image.ndim > 2**31 - 2**28:
        raise ValueError(f"The {name} is too large: {image.shape}; crop it.")
    if image.dtype.kind in "iu" and not np.isin(image, (0, 1)).all():
        raise ValueError(
            f"The {name} holds integers other than 0 and 1; take one class at a time, "
            "for instance by labels == 1."
        )
    return np.ascontiguousarray(image, dtype=np.float32)


def _dimension(
    first: NDArray[np.float32], second: NDArray[np.float32], count: int, *voxels: NDArray[np.int64]
) -> DimensionMatching:
    """From births and deaths of either image, of which the first ``count`` rows are matched."""
    births_1, deaths_1, births_2, deaths_2 = voxels
    matched, unmatched = slice(None, count), slice(count, None)
    return DimensionMatching(
        make_pairs(first, births_1[matched], deaths_1[matched]),
        make_pairs(second, births_2[matched], deaths_2[matched]),
        make_pairs(first, births_1[unmatched], deaths_1[unmatched]),
        make_pairs(second, births_2[unmatched], deaths_2[unmatched]),
    )


def make_pairs(image: NDArray[np.float32], births: NDArray[np.int64], deaths: NDArray[np.int64]) -> Pairs:
    """Features of an image, given the indices of the voxels of their births and deaths."""
    return Pairs(image.shape, births, deaths, image.ravel()[births], image.ravel()[deaths])
