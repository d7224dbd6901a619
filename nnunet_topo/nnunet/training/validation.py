"""Topology metrics of a fold's validation predictions, beside nnU-Net's own summary.json."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from nnunet_topo.files import files_of
from nnunet_topo.nnunet.evaluation.folders import RECORDS, dataset_settings, default_num_processes, evaluate_folder


def write_validation_summary(trainer: Any) -> None:
    """Write ``validation/summary_topology.json`` and ``.csv`` of a fold whose validation nnU-Net has just finished.

    As in nnU-Net's own evaluation there, the references are ``gt_segmentations`` and all predictions in the folder
    count. Whatever fails is said in the log and never raised: the training is done and its checkpoints are written.
    """
    folder = Path(trainer.output_folder) / "validation"
    try:
        summary = _evaluate(trainer, folder)
    except Exception as error:
        trainer.print_to_log_file(f"NOTE: {folder / 'summary_topology.json'} could not be written ("
                                  f"{type(error).__name__}: {error}). Nothing else is affected; "
                                  "nnUNetv2_topo_evaluate can write it later.")
        return
    means = {name: round(summary["foreground_mean"][name], 4)
             for name in ("cl_dice", "betti_error_sum", "betti_matching_error_sum")}
    trainer.print_to_log_file(f"Topology of the validation cases, means (summary_topology.json): {means}, "
                              f"connectivity {summary['settings']['connectivity']}",
                              also_print_to_console=True)
    for case, reason in summary["failed"].items():
        trainer.print_to_log_file(f"NOTE: {case} is in none of these means: {reason}")


def _evaluate(trainer: Any, folder: Path) -> dict[str, Any]:
    settings = dataset_settings(trainer.plans_manager.plans, trainer.dataset_json)
    summary = evaluate_folder(
        predictions=folder, references=Path(trainer.preprocessed_dataset_folder_base) / "gt_segmentations",
        output=folder, **settings,
        only=[file.name for file in files_of(folder, settings["file_ending"])], processes=default_num_processes,
    )
    shutil.rmtree(folder / RECORDS, ignore_errors=True)  # predictions are written again each time
    return summary
