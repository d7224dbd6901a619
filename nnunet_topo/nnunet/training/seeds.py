"""Trainings that a seed decides, which nnU-Net's are not."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from nnunet_topo.files import written_at_once


def seed_everything(*seed: int) -> None:
    """Seed Python's, numpy's and torch's random numbers with one or several numbers of 0 or more."""
    numbers = np.random.SeedSequence(seed).generate_state(3)
    random.seed(int(numbers[0]))
    np.random.seed(int(numbers[1]))
    torch.manual_seed(int(numbers[2]))


def fix_seed(trainer: Any, seed: int) -> None:
    """Let ``seed`` decide the initial weights, the patches and their augmentation of a trainer not yet initialised.

    Random numbers start afresh at each epoch, from the seed and the epoch's number. A training that was killed and goes
    on from a checkpoint thus sees the same batches as one that was not, and on a CPU becomes the same network. All
    trainers of a seed start from the same weights and see the same batches, unless their loss draws random numbers too.
    Checkpoints are written at once, so that a kill leaves the one before. Patches must be made in the training's own
    process (``nnUNet_n_proc_DA=0``), since nnU-Net hands its workers no seed. On CUDA cuDNN is told to be
    deterministic; a few other operations are not, so that results agree there only up to rounding and what follows.
    """
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    initialize, starts, saves = trainer.initialize, trainer.on_epoch_start, trainer.save_checkpoint

    def initialize_with_seed() -> None:
        seed_everything(seed)
        initialize()

    def on_epoch_start() -> None:
        seed_everything(seed, trainer.current_epoch)
        starts()

    def save_checkpoint(filename: str) -> None:
        with written_at_once(filename) as temporary:
            saves(str(temporary))

    trainer.initialize, trainer.on_epoch_start = initialize_with_seed, on_epoch_start
    trainer.save_checkpoint = save_checkpoint
