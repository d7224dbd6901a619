"""Variants of a trainer are made from the suffixes of its name."""

from __future__ import annotations

import inspect
import pkgutil

import pytest
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerNoMirroring import (
    nnUNetTrainer_onlyMirror01,
    nnUNetTrainerNoMirroring,
)

import nnunet_topo.trainers
from nnunet_topo.trainers import _nnunet_topo_variants as variants
from nnunet_topo.trainers.nnUNetTrainerClDice import nnUNetTrainerClDice

TRAINERS = [module.name for module in pkgutil.iter_modules(nnunet_topo.trainers.__path__)
            if module.name.startswith("nnUNetTrainer")]


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize(("suffix", "parent"), [("_NoMirroring", nnUNetTrainerNoMirroring),
                                                ("_onlyMirror01", nnUNetTrainer_onlyMirror01)])
def test_every_trainer_mixes_with_nnunets_own_mirroring_variants(trainer, suffix, parent):
    made = getattr(variants, trainer + suffix)
    assert made.__name__ == trainer + suffix  # which checkpoints and folders are named after
    assert [base.__name__ for base in made.__mro__][1] == trainer and issubclass(made, parent)


@pytest.mark.parametrize("trainer", [*TRAINERS, "nnUNetTrainer"])
def test_every_trainer_mixes_with_self_distillation_and_so_does_nnunets_own(trainer):
    made = getattr(variants, f"{trainer}_NoMirroring_SelfDistillation")
    assert made.__name__ == f"{trainer}_NoMirroring_SelfDistillation" and issubclass(made, nnUNetTrainerNoMirroring)
    assert [base.__name__ for base in made.__mro__][1] == "SelfDistillationTrainer"  # it works around the others
    signatures = [list(inspect.signature(cls.__init__).parameters) for cls in (made, nnUNetTrainer)]
    assert signatures[0] == signatures[1]


@pytest.mark.parametrize("name", ["nnUNetTrainerClDice_250epochs", "nnUNetTrainerClDice_250epochs_NoMirroring",
                                  "nnUNetTrainerClDice_NoMirroring_250epochs"])
def test_lengths_keep_the_signature_that_nnunet_inspects(name, monkeypatch):
    monkeypatch.setattr(nnUNetTrainerClDice, "__init__", lambda self, *args: setattr(self, "num_epochs", 1000))
    made = getattr(variants, name)
    signatures = [list(inspect.signature(cls.__init__).parameters) for cls in (made, nnUNetTrainer)]
    assert signatures[0] == signatures[1]
    assert made({}, "2d", 0, {}).num_epochs == 250


@pytest.mark.parametrize("name", [
    "nnUNetTrainerClDice", "nnUNetTrainerClDice_Mirroring", "nnUNetTrainerClDice_NoMirroring_onlyMirror01",
    "nnUNetTrainerClDice_NoMirroring_NoMirroring", "nnUNetTrainerClDice_5epochs_6epochs", "nnUNetTrainerClDice_0epochs",
    "nnUNetTrainer_250epochs", "nnUNetTrainerMine_NoMirroring", "nnUNetTrainerClDice_", "__path__", "ClDice_5epochs",
    "nnUNetTrainerRandHue_RandHue", "nnUNetTrainer_NoMirroring", "nnUNetTrainer_NoDeepSupervision_2epochs",
    "nnUNetTrainerClDice_SelfDistillation_SelfDistillation", "nnUNetTrainerMine_SelfDistillation",
])
def test_other_names_are_left_to_whoever_has_them(name):
    assert not hasattr(variants, name)
