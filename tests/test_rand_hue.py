"""RandHue changes colours as an HSV model does, mixes with any trainer, and is trained through nnU-Net."""

from __future__ import annotations

import colorsys
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from training import TRAINERS, checkpoint_of

from nnunet_topo.files import write_json
from nnunet_topo.nnunet.pipeline import environment, nnunet_folders, plan_and_preprocess, predict, train
from nnunet_topo.nnunet.training.rand_hue import RandHueTrainer, RandHueTransform, rand_hue
from nnunet_topo.trainers import _nnunet_topo_variants as variants
from nnunet_topo.trainers.nnUNetTrainerClDice import nnUNetTrainerClDice

DATASET = "Dataset721_Colours"


@pytest.mark.parametrize("hue", [0.0, 0.1, 1 / 3, 0.5, 0.71, 0.999])
@pytest.mark.parametrize(("saturation", "value"), [(0.0, 0.0), (0.3, 0.1), (0.49, 0.4)])
def test_agrees_with_pythons_hsv_model_on_any_scale(hue, saturation, value):
    colours = torch.rand((3, 5, 4), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    colours[:, 0, 0], colours[:, 0, 1], colours[:, 0, 2] = 0, 1, 0.5  # black, white, grey
    expected = torch.empty_like(colours)
    for y, x in np.ndindex(5, 4):
        _, s, v = colorsys.rgb_to_hsv(*colours[:, y, x].tolist())
        expected[:, y, x] = torch.tensor(colorsys.hsv_to_rgb(hue, min(1, s + saturation), min(1, v + value)),
                                         dtype=torch.float64)
    assert torch.allclose(rand_hue(colours, hue, saturation, value), expected, atol=1e-9)
    z_scored = 3 * colours - 2
    assert torch.allclose(rand_hue(z_scored, hue, saturation, value), 3 * expected - 2, atol=1e-9)
    volume = rand_hue(colours.reshape(3, 5, 2, 2), hue, saturation, value)
    assert torch.allclose(volume.reshape(3, 5, 4), expected, atol=1e-9)


def test_an_image_of_one_value_is_left_as_it_is():
    image = torch.full((3, 4, 4), -1.5)
    assert torch.equal(rand_hue(image, 0.3, 0.2, 0.2), image)


def test_what_is_drawn_lies_in_the_published_ranges_and_follows_torchs_seed():
    transform = RandHueTransform()
    torch.manual_seed(0)
    drawn = [transform.get_parameters() for _ in range(2000)]
    for name, high in (("hue", 1), ("saturation", 0.5), ("value", 0.5)):
        values = np.array([parameters[name] for parameters in drawn])
        assert 0 <= values.min() < 0.01 * high and 0.99 * high < values.max() <= high
        assert values.mean() == pytest.approx(high / 2, rel=0.05)
    torch.manual_seed(0)
    assert transform.get_parameters() == drawn[0]


def test_labels_and_further_channels_are_not_changed():
    image, labels = torch.rand(5, 6, 6), torch.ones(1, 6, 6)
    after = RandHueTransform()(image=image.clone(), segmentation=labels.clone())
    assert torch.equal(after["segmentation"], labels) and torch.equal(after["image"][3:], image[3:])
    assert not torch.equal(after["image"][:3], image[:3])


def test_mixes_with_a_trainer_that_has_a_loss_by_its_name():
    made = variants.nnUNetTrainerClDice_RandHue
    assert issubclass(made, nnUNetTrainerClDice) and issubclass(made, RandHueTrainer)
    assert issubclass(variants.nnUNetTrainerClDice_RandHue_NoMirroring_5epochs, RandHueTrainer)


@pytest.mark.parametrize("names", [{"0": "CT"}, {"0": "R", "1": "G", "2": "B", "3": "depth"}])
def test_images_without_three_channels_are_refused(names):
    with pytest.raises(ValueError, match=f"three channels, but dataset.json names {len(names)} "):
        RandHueTrainer({}, "2d", 0, {"channel_names": names})


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """Six photographs of 48 x 48 pixels, planned and preprocessed; gives the plans' name and the test images."""
    root = tmp_path_factory.mktemp("colours")
    with nnunet_folders(root), environment(nnUNet_extTrainer=str(TRAINERS), nnUNet_n_proc_DA="1"):
        raw = Path(os.environ["nnUNet_raw"]) / DATASET
        for part in ("imagesTr", "labelsTr", "imagesTs"):
            (raw / part).mkdir(parents=True)
        for case in range(6):
            label = np.zeros((48, 48), np.uint8)
            label[4 + case : 20 + case, 10:40] = 1
            noise = np.random.default_rng(case).integers(0, 60, (48, 48, 3))
            image = Image.fromarray((noise + label[..., None] * [150, 80, 40]).astype(np.uint8))
            image.save(raw / ("imagesTr" if case < 5 else "imagesTs") / f"c{case}_0000.png")
            if case < 5:
                Image.fromarray(label).save(raw / "labelsTr" / f"c{case}.png")
        write_json(raw / "dataset.json", {
            "channel_names": {"0": "R", "1": "G", "2": "B"}, "labels": {"background": 0, "wall": 1}, "numTraining": 5,
            "file_ending": ".png", "overwrite_image_reader_writer": "NaturalImage2DIO"})
        plans = plan_and_preprocess(DATASET, {"2d": (32, 32)})
        with environment(nnUNet_n_proc_DA="0"):
            yield plans, raw / "imagesTs"


@pytest.mark.slow  # plans and preprocesses photographs of its own
@pytest.mark.parametrize("trainer", ["nnUNetTrainerRandHue", "nnUNetTrainerClDice_RandHue",
                                     "nnUNetTrainerTopoLoss_RandHue_NoMirroring"])
def test_trains_and_predicts(colours, trainer, tmp_path, monkeypatch):
    plans, images = colours
    changed = []
    monkeypatch.setattr("nnunet_topo.nnunet.training.rand_hue.rand_hue",
                        lambda image, **_: changed.append(image.shape) or image)
    length = {"epochs": 1, "iterations": 4, "validation_iterations": 1}
    if "TopoLoss" in trainer:  # whose term begins late
        file = Path(os.environ["nnUNet_preprocessed"]) / DATASET / f"{plans}.json"
        write_json(file, json.loads(file.read_text()) | {"nnunet_topo": {"topo": {"start_epoch": 0, "ramp_epochs": 0}}})
    torch.manual_seed(0)
    model = train(DATASET, "2d", trainer, plans, **length)
    assert 0 < len(changed) < 2 * 6 and set(changed) == {(3, 32, 32)}  # some of the training patches, no others
    assert np.isfinite(checkpoint_of(model)["logging"]["train_losses"][0])
    predict(model, images, tmp_path, mirroring=False)
    assert np.asarray(Image.open(tmp_path / "c5.png")).shape == (48, 48)
