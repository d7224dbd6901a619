"""What the label maps of a run's test images are worth, measured by the present code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunet_topo.schema import read_json
from nnunet_topo.study.run_files import EVALUATION_OF, POSTPROCESSED, PREDICTIONS, RECORD, read
from nnunet_topo.study.settings import Run

_SUMMARY = "summary_topology.json"


def evaluate(run: Run, label_maps: str, *, processes: int = 0) -> dict[str, Any]:
    """Evaluate one of the run's two folders of label maps; RuntimeError where a test image could not be."""
    from nnunet_topo.nnunet.evaluation.folders import dataset_settings, evaluate_folder

    plans, dataset = (read_json(run.model / name) for name in ("plans.json", "dataset.json"))
    summary = evaluate_folder(predictions=run.folder / label_maps, references=_references(run),
                              output=run.folder / EVALUATION_OF[label_maps], **dataset_settings(plans, dataset),
                              processes=processes)
    if summary["failed"]:
        raise RuntimeError("These test images could not be evaluated: " + "; ".join(
            f"{case}: {why}" for case, why in summary["failed"].items()))
    return summary


def summaries_of(run: Run, record: Mapping[str, Any], *, processes: int = 0) -> dict[str, dict[str, Any]]:
    """The evaluation of each of the folders of label maps of a finished run.

    One that other code of the metrics made, or that is gone, is made again from the label maps, so that a study holds
    no numbers of two kinds.
    """
    return {label_maps: _current(run, label_maps) or evaluate(run, label_maps, processes=processes)
            for label_maps in _evaluated(run, record)}


def require_measurable(run: Run, record: Mapping[str, Any]) -> None:
    """ValueError where a finished run would have to be evaluated again, and its label maps are gone."""
    from nnunet_topo.nnunet.evaluation.folders import paired_files

    for label_maps in _evaluated(run, record):
        if _current(run, label_maps) is None:
            try:
                plans = [run.model / name for name in ("plans.json", "dataset.json")]
                missing = [file for file in plans if not file.is_file()]
                if missing:
                    raise ValueError(f"{missing[0]} does not exist.")
                paired_files(run.folder / label_maps, _references(run), read_json(plans[1])["file_ending"])
            except ValueError as error:
                raise ValueError(
                    f"{run.folder / EVALUATION_OF[label_maps]} was made by other code of the metrics than the present, "
                    f"or is gone, and the label maps that it was made from are not as they were ({error}) Put them "
                    f"back, or remove {run.folder / RECORD} and {run.folder / label_maps}; the same command then "
                    "predicts the test images again.") from error


def _evaluated(run: Run, record: Mapping[str, Any]) -> list[str]:
    processed = run.postprocessing is not None and "failed" not in record["postprocessing"]
    return [PREDICTIONS, POSTPROCESSED] if processed else [PREDICTIONS]


def _current(run: Run, label_maps: str) -> dict[str, Any] | None:
    """The evaluation of a folder that the present code made."""
    from nnunet_topo.nnunet.evaluation.folders import metrics_code

    found = read(run.folder / EVALUATION_OF[label_maps] / _SUMMARY)
    return found if found and (found.get("settings") or {}).get("metrics_code") == metrics_code() else None


def _references(run: Run) -> Path:
    return Path(os.environ["nnUNet_raw"]) / run.dataset / "labelsTs"
