"""The test images of a run: predicted, and post-processed by what was chosen on the run's own validation images."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_topo.files import write_json
from nnunet_topo.study.run_files import CHOSEN, POSTPROCESSED, PREDICTIONS, SECONDS, read
from nnunet_topo.study.settings import Run

if TYPE_CHECKING:
    from nnunet_topo.nnunet.prediction import CasePredictor
    from nnunet_topo.postprocessing import Postprocessing
    from nnunet_topo.postprocessing.dataset import Dataset

VALIDATION, IN_WORK = "validation", "probabilities"  # folders that are removed after use, for their size


class NotPostprocessedError(Exception):
    """Why a run's predictions cannot be post-processed, in words; the predictions themselves can be used."""


class Predictions:
    """The steps from a trained run to its label maps of the test images, each going on where it was stopped.

    Args:
        run: whose training is done.
        tell: is told what is being done, and how far it is.
    """

    def __init__(self, run: Run, tell: Callable[[str], None]) -> None:
        self.run, self.tell = run, tell
        self.raw, self.processed = run.folder / PREDICTIONS, run.folder / POSTPROCESSED

    @cached_property
    def predictor(self) -> CasePredictor:
        from nnunet_topo.nnunet.prediction import CasePredictor

        return CasePredictor(self.run.model, folds=(self.run.fold,), device=self.run.device,
                             mirroring=self.run.mirroring)

    @cached_property
    def dataset(self) -> Dataset:
        from nnunet_topo.postprocessing.dataset import dataset_of

        with _in_words("Post-processing"):
            return dataset_of(self.run.model / "dataset.json", self.run.model / "plans.json")

    def choose(self) -> Postprocessing:
        """The settings that are best on the validation images of the run's fold, which no test image decides.

        The images are predicted with probabilities, mirrored as test images are, and compared with the label maps that
        nnU-Net keeps beside the preprocessed data. Probabilities are removed when the settings are written.
        """
        from nnunet_topo.nnunet.training.lookup import preprocessed, validation_cases
        from nnunet_topo.postprocessing import find_postprocessing, read_postprocessing, write_postprocessing
        from nnunet_topo.postprocessing.choice import Tolerances

        folder, file, choice = self.run.folder / VALIDATION, self.run.folder / CHOSEN, self.run.postprocessing
        assert choice is not None
        if not file.is_file():
            cases, data = validation_cases(self.run.dataset, self.run.fold), self.dataset
            if not cases:
                raise NotPostprocessedError(f"Fold {self.run.fold} trains on all images, so that no validation image "
                                            "is left to choose post-processing on.")
            with _counted(self.run):
                self._predict_validation(cases, folder)
            self.tell("choosing post-processing")
            with _counted(self.run), _in_words("No post-processing could be chosen on the validation images"):
                settings = find_postprocessing(
                    preprocessed(self.run.dataset) / "gt_segmentations", [folder], scheme=data.scheme,
                    file_ending=data.file_ending, reader_writer=data.reader_writer, processes=0, metric=choice.metric,
                    tolerances=Tolerances(choice.tolerance, choice.tolerance_cldice))
            write_postprocessing(file, settings)
        shutil.rmtree(folder, ignore_errors=True)
        with _in_words("The settings of post-processing cannot be used"):
            return read_postprocessing(file)

    def _predict_validation(self, cases: list[str], folder: Path) -> None:
        from nnunet_topo.nnunet.training.lookup import preprocessed

        for done, case in enumerate(cases):
            if not (folder / f"{case}{self.dataset.file_ending}").is_file():
                self.tell(f"predicting validation image {done + 1} of {len(cases)}")
                data = preprocessed(self.run.dataset) / self.predictor.nnunet.configuration_manager.data_identifier
                self.predictor.predict_training_case(data, case, folder)

    def predict(self, settings: Postprocessing | None = None) -> None:
        """Predict the test images, and with settings post-process them too.

        Where settings look at probabilities, those of one image are on the disk at a time.
        """
        from nnunet_topo.nnunet.raw_cases import channels_of
        from nnunet_topo.schema import read_json

        ending = read_json(self.run.model / "dataset.json")["file_ending"]
        images = channels_of(Path(os.environ["nnUNet_raw"]) / self.run.dataset / "imagesTs", ending)
        at_once = settings if settings is not None and settings.needs_probabilities else None
        work, last = self.run.folder / IN_WORK, self.raw if at_once is None else self.processed
        for done, (case, channels) in enumerate(sorted(images.items())):
            if (last / f"{case}{ending}").is_file():
                continue
            self.tell(f"predicting test image {done + 1} of {len(images)}")
            files = [channels[number] for number in sorted(channels)]
            if at_once is None:
                self.predictor.predict(files, self.raw)
                continue
            shutil.rmtree(work, ignore_errors=True)  # of a process that was killed
            self.predictor.predict(files, work, probabilities=True)
            self._keep_label_map(work)
            self._apply(at_once, work)
            shutil.rmtree(work)
        if settings is not None and at_once is None:
            self.tell("post-processing")
            self._apply(settings, self.raw)

    def remove_probabilities(self) -> None:
        """What a step that failed has left of them."""
        for name in (VALIDATION, IN_WORK):
            shutil.rmtree(self.run.folder / name, ignore_errors=True)

    def _keep_label_map(self, work: Path) -> None:
        """Copy what was predicted, without the probabilities, before it is post-processed."""
        from nnunet_topo.files import unfinished_folder

        self.raw.mkdir(parents=True, exist_ok=True)
        with unfinished_folder(self.raw) as folder:
            for file in work.iterdir():
                if file.is_file() and file.suffix not in (".npz", ".pkl"):
                    os.replace(shutil.copy2(file, folder / file.name), self.raw / file.name)

    def _apply(self, settings: Postprocessing, folder: Path) -> None:
        from nnunet_topo.postprocessing import apply_postprocessing

        data = self.dataset
        with _counted(self.run), _in_words("The test images could not be post-processed"):
            result = apply_postprocessing(folder, self.processed, settings, scheme=data.scheme, processes=0,
                                          file_ending=data.file_ending, reader_writer=data.reader_writer)
            if result["failed"]:
                raise ValueError("; ".join(f"{case}: {why}" for case, why in result["failed"].items()))


@contextmanager
def _in_words(what: str) -> Iterator[None]:
    """Raise NotPostprocessedError for what another try would meet again, which a full disk or memory is not."""
    try:
        yield
    except (OSError, MemoryError, NotPostprocessedError):
        raise
    except Exception as error:
        kind = "" if isinstance(error, (ValueError, RuntimeError)) else f"{type(error).__name__}: "
        raise NotPostprocessedError(f"{what} ({kind}{error}).") from error


@contextmanager
def _counted(run: Run) -> Iterator[None]:
    """Add the seconds of the block to those that the run's post-processing took before."""
    begun, file = time.monotonic(), run.folder / SECONDS
    try:
        yield
    finally:
        write_json(file, {"seconds": float((read(file) or {}).get("seconds", 0.0)) + time.monotonic() - begun})
