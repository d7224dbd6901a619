"""One run of a study: trained, its test images predicted, post-processed and evaluated, and a record of it."""

from __future__ import annotations

import shutil
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nnunet_topo.files import write_json
from nnunet_topo.study.measurement import evaluate
from nnunet_topo.study.predictions import VALIDATION, NotPostprocessedError, Predictions
from nnunet_topo.study.run_files import (
    CHOSEN,
    EVALUATION_OF,
    FAILED,
    POSTPROCESSED,
    PREDICTIONS,
    PROGRESS,
    RECORD,
    SECONDS,
    STARTED,
    TRAINED,
    read,
)
from nnunet_topo.study.settings import Run

_COSTS = ("training_seconds", "memory_gb")


def finished(run: Run) -> dict[str, Any] | None:
    """The record of a run that is done, else None; ValueError where the run was begun with other settings.

    A run whose post-processing was not chosen as the study has it, or not at all, is not done.
    """
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
    record = read(run.folder / RECORD)
    if record is None or run.postprocessing is None:
        return record
    return record if dict(record.get("postprocessing") or {}).get("choice") == asdict(run.postprocessing) else None


def trained(run: Run) -> bool:
    """Whether the last checkpoint is there as a whole; its table of contents is written at the end."""
    return zipfile.is_zipfile(run.checkpoint)


def progress(run: Run) -> str:
    """What a run is doing, in words."""
    found = read(run.folder / PROGRESS)
    return str((found or {}).get("doing", "waiting"))


def failure(run: Run) -> str | None:
    """Why the run failed when it was last tried, in words, if it did."""
    found = read(run.folder / FAILED)
    return None if found is None else str(found.get("reason"))


def execute(run: Run) -> dict[str, Any]:
    """Do what is not done yet: train, choose post-processing, predict, post-process, evaluate; returns the record.

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
    def tell(doing: str) -> None:
        write_json(run.folder / PROGRESS, {"doing": doing})

    choice = None if run.postprocessing is None else asdict(run.postprocessing)
    begun, before = read(run.folder / STARTED), read(run.folder / RECORD)
    if begun is not None and "postprocessing" not in begun and before is None:
        shutil.rmtree(run.folder / PREDICTIONS, ignore_errors=True)  # the version of then may have left half a file
    if choice is not None and (begun or {}).get("postprocessing") != choice:
        _forget_postprocessing(run)
    write_json(run.folder / STARTED, {"settings": run.settings(), "postprocessing": choice})
    if not trained(run):
        _train(run, tell)
    cost = read(run.folder / TRAINED) or before or _cost(run)
    record: dict[str, Any] = {"settings": run.settings(), **{name: cost[name] for name in _COSTS}}
    predictions = Predictions(run, tell)
    if choice is not None:
        record["postprocessing"] = {"choice": choice}
        try:
            predictions.predict(predictions.choose())
        except NotPostprocessedError as error:
            record["postprocessing"]["failed"] = str(error)
    predictions.predict()
    predictions.remove_probabilities()
    tell("evaluating")
    evaluate(run, PREDICTIONS)
    if choice is not None:
        record["postprocessing"]["seconds"] = (read(run.folder / SECONDS) or {}).get("seconds", 0.0)
        if "failed" not in record["postprocessing"]:
            evaluate(run, POSTPROCESSED)
    write_json(run.folder / RECORD, record)
    tell("done")
    return record


def _train(run: Run, tell: Any) -> None:
    from nnunet_topo.nnunet.pipeline import environment, train

    shutil.rmtree(run.folder / PREDICTIONS, ignore_errors=True)  # of another network
    _forget_postprocessing(run)
    run.checkpoint.unlink(missing_ok=True)  # of a process that was killed while it wrote; the one before is still there
    # patches are made in this process, so that the seed decides them
    with environment(nnUNet_results=str(run.results), nnUNet_n_proc_DA="0"):
        tell("starting")
        begun = any(run.checkpoint.parent.glob("checkpoint_*.pth"))
        train(run.dataset, run.configuration, run.trainer, run.plans, fold=run.fold, device=run.device,
              epochs=run.epochs, iterations=run.iterations, validation_iterations=run.validation_iterations,
              continue_training=begun, seed=run.seed, save_every=run.save_every,
              on_epoch=lambda epoch, epochs: tell(f"epoch {epoch} of {epochs}"))
    write_json(run.folder / TRAINED, _cost(run))


def _forget_postprocessing(run: Run) -> None:
    """Remove what was chosen in another way, and what came of it."""
    for name in (CHOSEN, SECONDS):
        (run.folder / name).unlink(missing_ok=True)
    for name in (VALIDATION, POSTPROCESSED, EVALUATION_OF[POSTPROCESSED]):
        shutil.rmtree(run.folder / name, ignore_errors=True)


def _cost(run: Run) -> dict[str, float]:
    """Seconds of all epochs, also of those before a kill, and the process's largest memory."""
    import torch

    checkpoint = torch.load(run.checkpoint, map_location="cpu", weights_only=False)
    log = checkpoint["logging"]
    seconds = sum(end - start for start, end in zip(log["epoch_start_timestamps"], log["epoch_end_timestamps"],
                                                    strict=True))
    if run.device == "cuda":
        memory = float(torch.cuda.max_memory_allocated())
    else:
        memory = _largest_memory()
    return dict(zip(_COSTS, (seconds, memory / 1e9), strict=True))


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
