"""Targets that the data loader makes: what a term needs of the augmented label and the workers can do beside training.

A term that wants this says so by ``prepares`` and has a method ``prepare``, see
:class:`nnunet_topo.losses.TopologyLoss`. nnU-Net's loader hands on nothing but images and targets, so the outcome
travels as further channels of the target, behind nnU-Net's own, and is split off again before nnU-Net looks at the
target.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from torch import Tensor

from nnunet_topo.nnunet.training.terms import Term


class PreparedTargets(BasicTransform):
    """Appends what terms prepare to the segmentation; the last transform, after downsampling for deep supervision.

    Args:
        terms: the trainer's terms; those that prepare nothing are passed over.
        ignore_label: the ignore label of label maps; None without one and with regions.
        region_channels: number of region channels in front of a channel of ignored voxels; None for label maps.
    """

    def __init__(self, terms: Mapping[str, Term], *, ignore_label: int | None, region_channels: int | None) -> None:
        super().__init__()
        self.schedule = {name: term for name, term in terms.items() if term.weight > 0}
        built = {name: term.build() for name, term in self.schedule.items()}
        self.terms = {name: term for name, term in built.items() if term.prepares}
        self.ignore_label = ignore_label
        self.region_channels = region_channels

    def apply(self, data_dict: dict, **params: Any) -> dict:
        segmentation = data_dict["segmentation"]
        if isinstance(segmentation, Tensor):
            data_dict["segmentation"] = self._extended(segmentation, 0)
        else:
            data_dict["segmentation"] = [self._extended(level, i) for i, level in enumerate(segmentation)]
        return data_dict

    def compile(self, axes: int) -> None:
        """Compile the kernels in this process, so that workers forked from it need not, each for itself."""
        if self.region_channels is None:
            self._extended(torch.ones((1, *[4] * axes), dtype=torch.int16), 0)
        else:
            self._extended(torch.ones((self.region_channels, *[4] * axes), dtype=torch.bool), 0)

    def _extended(self, segmentation: Tensor, level: int) -> Tensor:
        own = segmentation if self.region_channels is None else segmentation[: self.region_channels]
        prepared = [term.prepare(own[None], self.ignore_label)[0].to(segmentation.dtype)
                    for name, term in self.terms.items() if self.schedule[name].counts_at(level)]
        return torch.cat([segmentation, *prepared]) if prepared else segmentation


def split_target(target: Tensor, own: int, names: list[str]) -> tuple[Tensor, dict[str, Tensor]]:
    """nnU-Net's channels of a target, and each term's; without the latter if the loader has not appended them."""
    rest = target.shape[1] - own
    if rest == 0 or not names:
        return target, {}
    if rest % len(names):
        raise RuntimeError(f"The target has {target.shape[1]} channels: {own} of nnU-Net and {rest} more, which are "
                           f"not those of the terms {names}. Another transform appends channels; the trainers of this "
                           "package cannot be combined with it.")
    blocks = target[:, own:].split(rest // len(names), dim=1)
    return target[:, :own], dict(zip(names, blocks, strict=True))
