"""One run of a study: trained, its test images predicted and evaluated, and a record of it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nnunet_topo.files import write_json
from nnunet_topo.schema import read_json
from nnunet_topo.study.settings import Run

RECORD, STARTED, PROGRESS, FAILED = "record.json", "started.json", "progress.json", "failed.json"


def finished(run: Run) -> dict[str, Any] | None:
    """The record of a run that is done, else None; ValueError where the run was begun with other settings."""
    for name in (STARTED, RECORD):
        found = read(run.folder / name)
        if found is None:
            continue
        before, now = dict(found.get("settings") or {}), run.settings()
        changed = [f"{key}: {before.get(key)} -> {now.get(key)}" for key in sorted(before.keys() | now.keys())
                   if before.get(key) != now.get(key)]
        if changed:
            raise ValueError(f"{run.folder} was made with other settings ({'; '.join(changed)}). Restore them, or "
                             "choose another output folder for this study.")
    return read(run.folder / RECORD)


def progress(run: Run) -> str:
    """What a run is doing, in words."""
    found = read(run.folder / PROGRESS)
    return str((found or {}).get("doing", "waiting"))


def failure(run: Run) -> str | None:
    """Why the run failed when it was last tried, in words, if it did."""
    found = read(run.folder / FAILED)
    return None if found is None else str(found.get("reason"))


def execute(run: Run) -> dict[str, Any]:
    """Train (or go on from the last checkpoint), predict, evaluate; returns and keeps the record, unless there is one.

    Runs in a process of its own, since it seeds all random numbers. Where another process is at work on the run, which
    may have outlived the study that started it, this one waits for it.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    with locked(run.folder / ".lock"):
        (run.folder / FAILED).unlink(missing_ok=True)
        try:
            return finished(run) or _execute(run)
        except Exception as error:
            kind = "" if isinstance(error, (ValueError, RuntimeError)) else f"{type(error).__name__}: "
            with suppress(OSError):  # on a full disk, which may be the reason itself
                write_json(run.folder / FAILED, {"reason": f"{kind}{error}"})
            raise


@contextmanager
def locked(file: Path, *, create: bool = True) -> Iterator[None]:
    """Hold a lock that the system takes back when the process ends, however it ends; waits for who has it."""
    try:
        import fcntl
    except ImportError:  # there is none on Windows
        yield
        return
    with file.open("w" if create else "r") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX if create else fcntl.LOCK_SH)
        yield


def _execute(run: Run) -> dict[str, Any]:
    from nnunet_topo.nnunet.evaluation.folders import dataset_settings, evaluate_folder
    from nnunet_topo.nnunet.pipeline import environment, predict, train

    raw = Path(os.environ["nnUNet_raw"]) / run.dataset
    write_json(run.folder / STARTED, {"settings": run.settings()})

    def tell(doing: str) -> None:
        write_json(run.folder / PROGRESS, {"doing": doing})

    # patches are made in this process, so that the seed decides them
    with environment(nnUNet_results=str(run.results), nnUNet_n_proc_DA="0"):
        tell("starting")
        begun = any((run.model / f"fold_{run.fold}").glob("checkpoint_*.pth"))
        model = train(run.dataset, run.configuration, run.trainer, run.plans, fold=run.fold, device=run.device,
                      epochs=run.epochs, iterations=run.iterations, validation_iterations=run.validation_iterations,
                      continue_training=begun, seed=run.seed, save_every=run.save_every,
                      on_epoch=lambda epoch, epochs: tell(f"epoch {epoch} of {epochs}"))
        tell("predicting")
        predict(model, raw / "imagesTs", run.folder / "predictions", folds=(run.fold,), device=run.device,
                mirroring=run.mirroring)
    tell("evaluating")
    plans, dataset = (json.loads((model / name).read_text()) for name in ("plans.json", "dataset.json"))
    summary = evaluate_folder(predictions=run.folder / "predictions", references=raw / "labelsTs",
                              output=run.folder / "evaluation", **dataset_settings(plans, dataset), processes=0)
    if summary["failed"]:
        raise RuntimeError("These test images could not be evaluated: " + "; ".join(
            f"{case}: {why}" for case, why in summary["failed"].items()))
    record = {"settings": run.settings(), **_cost(run)}
    write_json(run.folder / RECORD, record)
    tell("done")
    return record


def _cost(run: Run) -> dict[str, float]:
    """Seconds of all epochs, also of those before a kill, and the process's largest memory."""
    import torch

    checkpoint = torch.load(run.model / f"fold_{run.fold}" / "checkpoint_final.pth", map_location="cpu",
                            weights_only=False)
    log = checkpoint["logging"]
    seconds = sum(end - start for start, end in zip(log["epoch_start_timestamps"], log["epoch_end_timestamps"],
                                                    strict=True))
    if run.device == "cuda":
        memory = float(torch.cuda.max_memory_allocated())
    else:
        memory = _largest_memory()
    return {"training_seconds": seconds, "memory_gb": memory / 1e9}


def read(file: Path) -> dict[str, Any] | None:
    """A file of a run; None where there is none, or it is damaged and therefore as good as none."""
    try:
        return read_json(file)
    except (OSError, ValueError):
        return None


def _largest_memory() -> float:
    """Bytes that this process had in memory at most."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux, where getrusage gives the parent's if that was larger
        return 1024.0 * int(next(line.split()[1] for line in status.read_text().splitlines() if "VmHWM" in line))
    try:
        import resource
    except ImportError:  # there is none on Windows
        return float("nan")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1.0 if sys.platform == "darwin" else 1024.0)
