"""RandHue: colours drawn at random, which helped TopoMortar's networks more than most topology losses did.

J. M. Valverde et al., "TopoMortar: A dataset to evaluate image segmentation methods focused on topology accuracy",
BMVC 2025, section 4.4, with the probability and the order of its published code.
"""

from __future__ import annotations

from typing import Any

import torch
from batchgeneratorsv2.transforms.base.basic_transform import ImageOnlyTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

PROBABILITY = 0.5
_LARGEST_ADDITION = 0.5  # to saturation and value
_CHANNELS = 3


def rand_hue(image: torch.Tensor, hue: float, saturation: float, value: float) -> torch.Tensor:
    """An RGB image with one hue everywhere, and more saturation and value.

    Images come z-scored channel by channel, and their means are not kept. So, as in the published code, the three
    channels are brought to [0, 1] together, by the least and the largest value in any of them, changed there in the
    HSV model (A. R. Smith, "Color gamut transform pairs", SIGGRAPH 1978), and brought back to where they were. An
    image of one value alone is not changed.

    Args:
        image: (3, *S) float, red, green and blue on any scale.
        hue: in [0, 1), of the whole image; 0 is red, 1/3 green, 2/3 blue.
        saturation, value: added to those of each voxel, which are then cut at 1.
    """
    low, high = image.min(), image.max()
    if not high > low:
        return image
    scaled = (image - low) / (high - low)
    brightest, darkest = scaled.amax(0), scaled.amin(0)
    # black has saturation 0; the divisor only keeps it from being 0/0
    saturated = torch.where(brightest > 0, (brightest - darkest) / brightest.clamp(min=1e-10), 0.0)
    saturated, brightest = (saturated + saturation).clamp(0, 1), (brightest + value).clamp(0, 1)
    # in HSV a channel is V (1 - S d), with d from 0 to 1 as the hue is further from the channel's own
    sixths = torch.tensor([5.0, 3.0, 1.0], dtype=image.dtype, device=image.device) + 6 * hue
    distance = torch.minimum(sixths % 6, 4 - sixths % 6).clamp(0, 1).view(_CHANNELS, *[1] * (image.ndim - 1))
    return brightest * (1 - saturated * distance) * (high - low) + low


class RandHueTransform(ImageOnlyTransform):
    """:func:`rand_hue` of the first three channels with a hue of [0, 1), and additions of [0, 0.5), drawn evenly."""

    def get_parameters(self, **data_dict: Any) -> dict[str, float]:
        hue, saturation, value = torch.rand(_CHANNELS).tolist()
        return {"hue": hue, "saturation": _LARGEST_ADDITION * saturation, "value": _LARGEST_ADDITION * value}

    def _apply_to_image(self, img: torch.Tensor, **params: float) -> torch.Tensor:
        # behind the colours a cascade's second stage has the first one's segmentation
        return torch.cat([rand_hue(img[:_CHANNELS], **params), img[_CHANNELS:]])


class RandHueTrainer(nnUNetTrainer):
    """nnU-Net's trainer with RandHue after its own augmentation, in half of the training patches; mixes with others."""

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008 - nnU-Net's signature, which it inspects
    ) -> None:
        channels = list(dataset_json.get("channel_names", dataset_json.get("modality", {})).values())
        if len(channels) != _CHANNELS:
            raise ValueError(f"{type(self).__name__} changes the colours of RGB images, which have three channels, but "
                             f"dataset.json names {len(channels)} ({', '.join(map(str, channels))}). Train this data "
                             "set with a trainer without RandHue.")
        super().__init__(plans, configuration, fold, dataset_json, device)

    def get_training_transforms(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        hue = RandomTransform(RandHueTransform(), apply_probability=PROBABILITY)
        return ComposeTransforms([super().get_training_transforms(*args, **kwargs), hue])
