"""Soft targets of self-distillation: written for each training case, read in patches, moved as the image is.

A case's file holds (1 + C, *S) int16 at the preprocessed resolution: the label map that the probabilities stand for,
then the probabilities of the C foreground classes (with regions: of all C regions) in thousandths. The background's is
what is missing to 1, so that whatever is outside of an image, where linear interpolation and padding find zeros, is
background. nnU-Net's loader hands on images and targets alone, so the probabilities travel as channels of the target.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import torch
import torch.nn.functional as F
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2
from torch import Tensor

_WHOLE = 1000


def in_thousandths(probabilities: Tensor, *, has_regions: bool) -> Tensor:
    """Foreground channels (C, *S) int16 of all heads' probabilities (K, *S); without regions they sum to 1000 at most.
    """
    thousandths = (_WHOLE * (probabilities if has_regions else probabilities[1:])).round().to(torch.int16)
    if not has_regions:
        # rounding may add up; the largest channel bears it
        excess = (thousandths.sum(0, keepdim=True) - _WHOLE).clamp(min=0).to(torch.int16)
        thousandths = thousandths.scatter_add(0, thousandths.argmax(0, keepdim=True), -excess)
    return thousandths


def every_head(thousandths: Tensor, *, has_regions: bool) -> Tensor:
    """Probabilities (B, K, *S) float32 of all heads from the foreground channels (B, C, *S)."""
    foreground = thousandths.float() / _WHOLE
    if has_regions:
        return foreground
    total = foreground.sum(1, keepdim=True)
    # channels rounded after interpolation may exceed 1 together by some thousandths
    return torch.cat([(1 - total).clamp(min=0), foreground / total.clamp(min=1)], 1)


def write_soft_targets(
    folder: Path, case: str, original: Tensor, label: Tensor, soft: Tensor, *, ignore_label: int | None, patch_size: Any
) -> None:
    """Write a case's file, chunked for patches as nnU-Net's own.

    Args:
        original: label map (*S) that nnU-Net preprocessed. Where it is negative (outside of the image) or the ignore
            label, it is kept; outside of the image the soft targets are background.
        label: label map (*S) that the probabilities stand for.
        soft: :func:`in_thousandths` (C, *S).
    """
    outside = original < 0
    kept = outside if ignore_label is None else outside | (original == ignore_label)
    label = torch.where(kept, original, label).to(torch.int16)
    channels = torch.cat([label[None], soft.masked_fill(outside, 0)]).numpy()
    blocks, chunks = comp_blosc2_params(channels.shape, tuple(patch_size), channels.itemsize)
    nnUNetDatasetBlosc2.save_seg(np.ascontiguousarray(channels), str(folder / case), chunks_seg=chunks,
                                 blocks_seg=blocks)


def require_soft_targets(folder: Path, cases: Iterable[str]) -> Path:
    """The folder, if it holds every case's file."""
    missing = [case for case in cases if not (folder / f"{case}.b2nd").is_file()]
    if missing:
        raise RuntimeError(
            f"This training goes on in the middle of a round of self-distillation, but {folder} lacks the soft targets "
            f"of {len(missing)} training case(s), such as {missing[0]!r}. They are predictions of the previous round's "
            "network, which is no longer there. Restore the folder, or train this fold from the start without --c."
        )
    return folder


class WithSoftTargets:
    """nnU-Net's data set of training cases with the soft targets in place of the label."""

    def __init__(self, dataset: Any, folder: Path) -> None:
        self.dataset = dataset
        self.folder = folder
        self.identifiers = dataset.identifiers

    def __getitem__(self, identifier: str) -> tuple[Any, Any, Any, dict]:
        return self.load_case(identifier)

    def load_case(self, identifier: str) -> tuple[Any, Any, Any, dict]:
        data, _, previous_stage, properties = self.dataset.load_case(identifier)
        mapped = {} if os.name == "nt" else {"mmap_mode": "r"}  # as nnU-Net has it
        soft = blosc2.open(str(self.folder / f"{identifier}.b2nd"), mode="r", dparams={"nthreads": 1}, **mapped)
        return data, soft, previous_stage, properties


class TakeSoftTargets(BasicTransform):
    """Takes the soft channels off the segmentation; the first transform. As a regression target they are interpolated
    linearly, and no change of the image's values changes them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def apply(self, data_dict: dict, **params: Any) -> dict:
        segmentation, behind = data_dict["segmentation"], 1 + self.channels
        # -1 where the loader padded, which is background
        data_dict["regression_target"] = segmentation[1:behind].clamp(min=0).float() / _WHOLE
        # a cascade's second stage has the first one's segmentation behind them
        data_dict["segmentation"] = torch.cat([segmentation[:1], segmentation[behind:]])
        return data_dict


class AppendSoftTargets(BasicTransform):
    """Appends the soft channels, in thousandths, to each level of the segmentation; the last transform."""

    def apply(self, data_dict: dict, **params: Any) -> dict:
        soft, segmentation = data_dict.pop("regression_target", None), data_dict["segmentation"]
        finest = segmentation[0] if isinstance(segmentation, list) else segmentation
        if soft is None or soft.shape[1:] != finest.shape[1:]:
            raise RuntimeError("A transform of this trainer does not move soft targets as it moves the image "
                               "(batchgeneratorsv2's regression_target). Self-distillation cannot be combined with it.")
        if isinstance(segmentation, list):
            data_dict["segmentation"] = [_extended(level, soft) for level in segmentation]
        else:
            data_dict["segmentation"] = _extended(segmentation, soft)
        return data_dict


def _extended(level: Tensor, soft: Tensor) -> Tensor:
    if level.shape[1:] != soft.shape[1:]:
        soft = F.interpolate(soft[None], level.shape[1:], mode="area")[0]
    return torch.cat([level, (_WHOLE * soft).round().to(torch.int16)])


def split_soft_targets(target: Tensor, channels: int, *, has_regions: bool) -> tuple[Tensor, Tensor]:
    """The target as it was before :class:`AppendSoftTargets`, and the soft channels (B, C, *S)."""
    own, soft = target[:, :-channels], target[:, -channels:]
    return (own.bool() if has_regions else own), soft
