"""What a network predicts of its training cases, at the preprocessed resolution, as the next round's targets."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from nnunetv2.utilities.label_handling.label_handling import convert_labelmap_to_one_hot
from torch import distributed

from nnunet_topo.nnunet.distillation.soft_targets import in_thousandths, write_soft_targets


def predict_soft_targets(trainer: Any, folder: Path) -> None:
    """Predict a trainer's training cases as its validation would, and write their soft targets.

    ``folder`` is there only when all of them are; one of a training that was killed is replaced. Each process of a
    distributed training predicts its share, and all go on when the folder is complete.
    """
    unfinished = folder.with_name(f".{folder.name}.part")
    if trainer.local_rank == 0:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
    _wait(trainer)
    try:
        _predict(trainer, unfinished)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)  # on a full disk, above all
        raise
    _wait(trainer)
    if trainer.local_rank == 0:
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    _wait(trainer)


@torch.inference_mode()
def _predict(trainer: Any, folder: Path) -> None:
    trainer.set_deep_supervision_enabled(False)
    trainer.network.eval()
    predictor = nnUNetPredictor(tile_step_size=0.5, use_gaussian=True, use_mirroring=True,
                                perform_everything_on_device=True, device=trainer.device, verbose=False,
                                verbose_preprocessing=False, allow_tqdm=False)
    predictor.manual_initialization(trainer.network, trainer.plans_manager, trainer.configuration_manager, None,
                                    trainer.dataset_json, type(trainer).__name__,
                                    trainer.inference_allowed_mirroring_axes)
    cases = sorted(trainer.do_split()[0])
    processes = distributed.get_world_size() if trainer.is_ddp else 1
    mine = cases[trainer.local_rank :: processes]
    dataset = trainer.dataset_class(
        trainer.preprocessed_dataset_folder, mine,
        folder_with_segs_from_previous_stage=trainer.folder_with_segs_from_previous_stage)
    manager = trainer.label_manager
    for done, case in enumerate(mine, 1):
        image, label, previous_stage, _ = dataset.load_case(case)
        image, original = image[:], torch.from_numpy(np.array(label[:], np.int16)[0])
        if trainer.is_cascaded:
            image = np.vstack((image, convert_labelmap_to_one_hot(previous_stage[:], manager.foreground_labels,
                                                                  output_dtype=image.dtype)))
        logits = predictor.predict_sliding_window_return_logits(torch.from_numpy(np.array(image)))
        probabilities = manager.apply_inference_nonlin(logits.cpu())
        write_soft_targets(
            folder, case, original, manager.convert_probabilities_to_segmentation(probabilities),
            in_thousandths(probabilities, has_regions=manager.has_regions), ignore_label=manager.ignore_label,
            patch_size=trainer.configuration_manager.patch_size)
        if done % 20 == 0 and done < len(cases) // processes:  # as nnU-Net does: who waits would give up
            _wait(trainer)
    trainer.set_deep_supervision_enabled(trainer.enable_deep_supervision)
    compute_gaussian.cache_clear()


def _wait(trainer: Any) -> None:
    if trainer.is_ddp:
        distributed.barrier()
