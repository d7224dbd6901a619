"""Label maps as masks with their place in space."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.centrelines.files import Placement
from nnunet_topo.files import require_whole

Region = int | tuple[int, ...]  # a label, or labels whose union is one mask


@dataclass(frozen=True)
class LabelMap:
    """A label map (*S) in 3D, or in 2D where the file has two axes or one slice along an axis.

    ``placement`` gives the place of ``index * spacing_mm`` in LPS, whatever the order and direction in which the file
    stores its voxels.
    """

    labels: NDArray[Any]
    spacing_mm: tuple[float, ...]
    placement: Placement

    def masks(self, regions: Sequence[Region]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """Each region's name and mask; without regions those of each label above 0 that occurs."""
        for region in regions or [int(label) for label in np.unique(self.labels) if label > 0]:
            members = region if isinstance(region, tuple) else (region,)
            yield "_".join(map(str, members)), np.isin(self.labels, members)


def read_label_map(file: Path) -> LabelMap:
    """A label map of any format that SimpleITK reads.

    Raises:
        ValueError: the file is cut off, cannot be read, has several values a voxel or another number of axes than 2
            or 3, or holds values that are not labels.
    """
    import SimpleITK as sitk  # noqa: N813  its customary name

    require_whole(file)
    try:
        image = sitk.ReadImage(str(file))
    except RuntimeError as error:
        raise ValueError(f"{file} cannot be read ({str(error).strip().splitlines()[-1]}). Replace the file; it may be "
                         "incomplete.") from error
    axes, channels = image.GetDimension(), image.GetNumberOfComponentsPerPixel()
    if channels != 1 or axes not in (2, 3):
        raise ValueError(f"{file} has {axes} axes and {channels} value(s) a voxel, but a label map has 2 or 3 axes and "
                         "one value. Save it as one label map.")
    labels = sitk.GetArrayFromImage(image)
    if labels.dtype.kind == "f":
        if not (np.isfinite(labels) & (labels == np.rint(labels))).all():
            raise ValueError(f"{file} holds values that are not whole numbers; perhaps it is an image or a probability "
                             "map. Give a label map.")
        labels = labels.astype(np.int64)
    if labels.min(initial=0) < 0:
        raise ValueError(f"{file} holds the label {labels.min()}. Labels are whole numbers of 0 or more.")
    directions, origin = np.eye(3), np.zeros(3)
    directions[:axes, :axes] = np.reshape(image.GetDirection(), (axes, axes))
    origin[:axes] = image.GetOrigin()
    kept = [axis for axis in reversed(range(axes)) if axes == 2 or labels.shape[axes - 1 - axis] > 1]
    if len(kept) < 2:  # a line or a voxel: no plane to lie in
        kept = list(reversed(range(axes)))
    spacing = tuple(float(image.GetSpacing()[axis]) for axis in kept)
    return LabelMap(labels.reshape([image.GetSize()[axis] for axis in kept]), spacing,
                    Placement(origin, directions[:, kept]))
