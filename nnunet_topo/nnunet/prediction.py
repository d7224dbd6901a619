"""A trained model that predicts one case at a time, into files that are there as a whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from nnunet_topo.disk import writing
from nnunet_topo.files import require_written, unfinished_folder

_ARGUMENTS = "predict_from_raw_data_args.json"  # of nnU-Net's, which names the cases of one call


class CasePredictor:
    """A model's folder, opened as ``nnUNetv2_predict`` opens it, without worker processes.

    Args:
        model: the folder with plans.json, dataset.json and the folds'.
        folds: whose networks are averaged.
        device: cpu, cuda or mps.
        mirroring: test-time mirroring.
        checkpoint: name of the file in each fold's folder.
    """

    def __init__(
        self, model: Path, *, folds: Sequence[int | str] = (0,), device: str = "cpu", mirroring: bool = True,
        checkpoint: str = "checkpoint_final.pth",
    ) -> None:  # fmt: skip
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        self.nnunet = nnUNetPredictor(use_mirroring=mirroring, device=torch.device(device), allow_tqdm=False,
                                      perform_everything_on_device=device == "cuda")
        self.nnunet.initialize_from_trained_model_folder(str(model), tuple(folds), checkpoint)
        self.ending: str = self.nnunet.dataset_json["file_ending"]

    def predict(self, channels: Sequence[Path], output: Path, *, probabilities: bool = False) -> None:
        """Predict a case from the files of its channels, in their order, into a folder.

        With ``probabilities``, as with ``--save_probabilities``, there is also a ``.npz`` with them (classes, *S).
        """
        with self._written_into(output) as folder:
            self.nnunet.predict_from_files_sequential([[str(file) for file in channels]], str(folder),
                                                      save_probabilities=probabilities)
            (folder / _ARGUMENTS).unlink(missing_ok=True)

    def predict_training_case(self, preprocessed: Path, case: str, output: Path) -> None:
        """Predict a case of a configuration's preprocessed folder, with probabilities, as nnU-Net's validation does.

        Unlike there, mirroring is as it is for other images, and images are exported in this process.
        """
        from nnunetv2.inference.export_prediction import export_prediction_from_logits
        from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

        image, _, _, properties = infer_dataset_class(str(preprocessed))(str(preprocessed), [case]).load_case(case)
        logits = self.nnunet.predict_logits_from_preprocessed_data(torch.from_numpy(np.array(image[:]))).cpu()
        with self._written_into(output) as folder:
            export_prediction_from_logits(logits, properties, self.nnunet.configuration_manager,
                                          self.nnunet.plans_manager, self.nnunet.dataset_json, str(folder / case), True)

    @contextmanager
    def _written_into(self, output: Path) -> Iterator[Path]:
        """A folder whose files are moved into the output at the end, the label map last."""
        output.mkdir(parents=True, exist_ok=True)
        with writing(output), unfinished_folder(output) as folder:
            yield folder
            files = sorted(folder.iterdir(), key=lambda file: file.name.endswith(self.ending))
            for file in files:
                if file.name.endswith(self.ending):  # its writers say nothing of a full disk
                    require_written(file, output / file.name)
            for file in files:
                os.replace(file, output / file.name)
