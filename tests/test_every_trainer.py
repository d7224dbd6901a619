"""Every trainer of the package through nnU-Net: trained, used for prediction, resumed, validated, in 2D and 3D."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch
from nnunetv2.run.run_training import get_trainer_from_args
from other_device import DEVICE, OtherDevice
from training import NUMBERS, TRAINERS, checkpoint_of, short

from nnunet_topo.nnunet.pipeline import predict, write_small_plans

ONLY_3D = {"nnUNetTrainerMIP", "nnUNetTrainerMIPSingleAxis"}
ONLY_CLASSES = {"nnUNetTrainerInteraction"}  # regions overlap
OF_COLOURS = {"nnUNetTrainerRandHue"}  # it has no term and is trained in test_rand_hue.py, on images of three channels
KIND_OF_LABELS = {"2d": "regions_ignore", "3d_fullres": "classes"}
CASES = [(file.stem, configuration) for file in sorted(TRAINERS.glob("nnUNetTrainer*.py"))
         for configuration in KIND_OF_LABELS if file.stem not in OF_COLOURS
         and (configuration != "2d" or file.stem not in ONLY_3D | ONLY_CLASSES)]
AT_ONCE = {"start_epoch": 0, "ramp_epochs": 0}
SETTINGS = {"betti_matching": {**AT_ONCE, "crop_3d": 16, "crop_2d": 24}, "warping": AT_ONCE,
            "topo": {**AT_ONCE, "crop_3d": 16, "crop_2d": 24}, "topograph": AT_ONCE,
            "topological_interaction": {**AT_ONCE, "apart": [[1, 2]]}, "critical_components": AT_ONCE}


@pytest.fixture
def plans(datasets):
    """Writes plans in which every term counts from the first epoch on; gives the data set and the plans' name."""

    def write(configuration: str) -> tuple[str, str]:
        dataset = datasets(KIND_OF_LABELS[configuration])
        write_small_plans(Path(os.environ["nnUNet_preprocessed"]) / dataset,
                          {"2d": (32, 32), "3d_fullres": (16, 32, 32)}, name="TopoEvery", settings=SETTINGS)
        return dataset, "TopoEvery"

    return write


@pytest.mark.parametrize(("trainer", "configuration"), CASES)
def test_trains_predicts_and_resumes(plans, trainer, configuration, tmp_path):
    dataset, name = plans(configuration)
    model = short(dataset, configuration, trainer, name)
    before = checkpoint_of(model)["logging"]
    terms = [key.removeprefix("topology/weight/") for key in before if key.startswith("topology/weight/")]
    assert terms
    total = sum(before[f"topology/weight/{term}"][0] * before[f"topology/train/{term}"][0] for term in terms)
    if trainer == "nnUNetTrainerSCNP":  # it takes the place of nnU-Net's own loss, which is then not computed
        assert np.isnan(before["topology/train/base"][0])
    else:
        total += before["topology/train/base"][0]
    assert before["train_losses"][0] == pytest.approx(total, abs=1e-4)
    assert all(np.isfinite(before[f"topology/validation/{term}"][0]) for term in terms)
    assert (model / "fold_0" / "progress_topology.png").stat().st_size > 1000

    images = Path(os.environ["nnUNet_raw"]) / NUMBERS[KIND_OF_LABELS[configuration]] / "imagesTs"
    predict(model, images, tmp_path, mirroring=False)
    prediction = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "tiny_6.nii.gz")))
    assert prediction.shape == (20, 40, 40) and set(np.unique(prediction)) <= {0, 1, 2}

    short(dataset, configuration, trainer, name, epochs=2, continue_training=True)
    after = checkpoint_of(model)["logging"]
    for term in terms:
        history = after[f"topology/train/{term}"]
        assert len(history) == 2 and history[0] == before[f"topology/train/{term}"][0] and np.isfinite(history[1])


@pytest.mark.slow  # nnU-Net starts processes for each
@pytest.mark.parametrize(("trainer", "configuration"), CASES)
def test_validates_a_fold(plans, trainer, configuration):
    dataset, name = plans(configuration)
    model = short(dataset, configuration, trainer, name, validate=True)
    for summary in ("summary.json", "summary_topology.json"):
        assert (model / "fold_0" / "validation" / summary).exists()


def losses_of_three_steps(dataset: str, configuration: str, trainer: str, plans: str, device: str) -> list[float]:
    """Two training steps and one of validation by nnU-Net's own methods."""
    torch.manual_seed(0)
    np.random.seed(0)
    instance = get_trainer_from_args(dataset, configuration, 0, trainer, plans, False, torch.device(device))
    instance.initialize()
    instance.on_train_start()
    instance.on_epoch_start()
    instance.on_train_epoch_start()
    batches = [next(instance.dataloader_train) for _ in range(2)]
    steps = [instance.train_step(batch) for batch in batches]
    instance.on_validation_epoch_start()
    with torch.no_grad():
        steps.append(instance.validation_step(batches[0]))
    return [float(step["loss"]) for step in steps]


@pytest.mark.slow
@pytest.mark.parametrize(("trainer", "configuration"), CASES)
def test_trains_on_a_device_that_is_not_the_cpu_as_on_the_cpu(plans, trainer, configuration):
    dataset, name = plans(configuration)
    here = losses_of_three_steps(dataset, configuration, trainer, name, "cpu")
    with OtherDevice():
        there = losses_of_three_steps(dataset, configuration, trainer, name, DEVICE)
    assert there == pytest.approx(here, rel=1e-5)
