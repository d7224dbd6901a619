"""Several labels or regions in one label map: who may gain a voxel from whom, and what is left where one loses it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Labels = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class LabelScheme:
    """The labels or regions of a data set as nnU-Net has them.

    Attributes:
        names: of the labels or regions, without background and ignore label.
        regions: the labels of each; a plain label is a region of one.
        painted: the label that nnU-Net writes for each, in this order, later ones over earlier ones.
        channels: of nnU-Net's probabilities, one for each.
        channel_count: how many channels probabilities have, with the background's where there is one.
        known: labels that may occur in a prediction.
        ignore_label: label of voxels that are left alone.
    """

    names: tuple[str, ...]
    regions: tuple[tuple[int, ...], ...]
    painted: tuple[int, ...]
    channels: tuple[int, ...]
    channel_count: int
    known: frozenset[int]
    ignore_label: int | None = None

    @property
    def has_regions(self) -> bool:
        """Channels are independent probabilities of regions, not of labels that add up to 1."""
        return self.channel_count == len(self.regions)

    @classmethod
    def of_dataset(cls, settings: Mapping[str, Any], dataset: Mapping[str, Any]) -> LabelScheme:
        """From what :func:`~nnunet_topo.nnunet.evaluation.folders.dataset_settings` says, and dataset.json.

        Raises ValueError where a region does not hold the label that nnU-Net paints it with.
        """
        regions = tuple(tuple(map(int, region)) if isinstance(region, (tuple, list)) else (int(region),)
                        for region in settings["labels_or_regions"])
        names = tuple(str(settings["label_names"].get(str(region), region)) for region in settings["labels_or_regions"])
        known = frozenset(map(int, settings["known_labels"]))
        ignore = None if settings["ignore_label"] is None else int(settings["ignore_label"])
        if not any(isinstance(region, (tuple, list)) for region in settings["labels_or_regions"]):
            painted = channels = tuple(region[0] for region in regions)
            return cls(names, regions, painted, channels, len(known), known, ignore)
        painted = tuple(map(int, dataset["regions_class_order"]))
        for name, region, label in zip(names, regions, painted, strict=True):
            if label not in region:
                raise ValueError(f"dataset.json paints the region {name} {list(region)} with label {label} "
                                 "(regions_class_order), which is not its own, so that no label map can show where "
                                 "it is. Post-processing needs regions that hold their own label.")
        return cls(names, regions, painted, tuple(range(len(regions))), len(regions), known, ignore)

    def mask(self, labels: Labels, index: int) -> Mask:
        """Where a label map has a label or region."""
        return _among(labels, self.regions[index])

    def free(self, labels: Labels, index: int) -> Mask:
        """Voxels that a label or region can gain without another's loss: background, or a region that holds it."""
        return _among(labels, [label for label in self._values()
                               if label != self.ignore_label and not self.losers(index, label)])

    def losers(self, index: int, label: int) -> list[int]:
        """The labels or regions that lose a voxel of this label when it is painted as ``index``."""
        return [other for other, region in enumerate(self.regions)
                if label in region and self.painted[index] not in region]

    def without(self, labels: Labels, index: int) -> Labels:
        """Labels of voxels after a label or region lost them: what is left are the regions that do not lie in it."""
        lost = set(self.regions[index])
        left = []
        for label in self._values():
            rest = [self.painted[other] for other, region in enumerate(self.regions)
                    if label in region and not set(region) <= lost]
            left.append((rest[-1] if rest and rest[-1] not in lost else 0) if label in lost else label)
        return np.asarray(left, labels.dtype)[labels]

    def _values(self) -> range:
        return range(max(*self.known, self.ignore_label or 0) + 1)


def _among(labels: Labels, values: Sequence[int]) -> Mask:
    mask = np.zeros(labels.shape, np.bool_)
    for value in values:
        mask |= labels == value
    return mask
