"""What lies in the folder of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnunet_topo.schema import read_json

RECORD, STARTED, PROGRESS, FAILED = "record.json", "started.json", "progress.json", "failed.json"
TRAINED = "trained.json"  # what the training cost
CHOSEN, SECONDS = "postprocessing.json", "postprocessing_seconds.json"
PREDICTIONS, POSTPROCESSED = "predictions", "postprocessed"  # label maps of the test images
EVALUATION_OF = {PREDICTIONS: "evaluation", POSTPROCESSED: "evaluation_postprocessed"}


def read(file: Path) -> dict[str, Any] | None:
    """A file of a run; None where there is none, or it is damaged and therefore as good as none."""
    try:
        return read_json(file)
    except (OSError, ValueError):
        return None
