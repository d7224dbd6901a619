"""nnU-Net's own commands in processes of their own, with nothing exported but nnU-Net's three folders."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from training import NUMBERS, PATCHES, make_raw

from nnunet_topo.nnunet.pipeline import environment, nnunet_folders, write_small_plans

SHORT = """
from nnunet_topo.trainers.nnUNetTrainerClDice import nnUNetTrainerClDice


class nnUNetTrainerClDice_short(nnUNetTrainerClDice):
    def __init__(self, plans, configuration, fold, dataset_json, device):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs, self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 1, 2, 1
"""


def run(command: str) -> str:
    name, *arguments = command.split()
    executable = shutil.which(name, path=os.path.dirname(sys.executable))
    assert executable, f"{name} is not installed beside {sys.executable}"
    done = subprocess.run([executable, *arguments], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.slow
def test_plan_train_and_predict_from_the_command_line(tmp_path):
    try:
        importlib.metadata.distribution("nnunet_topo")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("nnunet_topo is not installed: pip install -e '.[test]'")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "short.py").write_text(SHORT)
    # the .pth of the installation appends the package's trainers in each process
    with nnunet_folders(tmp_path), environment(nnUNet_extTrainer=None, nnUNet_n_proc_DA="1"):
        raw = make_raw("classes")
        run("nnUNetv2_plan_and_preprocess -d 701 -c 2d -np 1 --verify_dataset_integrity")
        write_small_plans(Path(os.environ["nnUNet_preprocessed"]) / NUMBERS["classes"], {"2d": PATCHES["2d"]})
        assert "nnUNetTrainerClDice" in run("nnUNetv2_topo_doctor")
        with environment(nnUNet_extTrainer=str(tmp_path / "own")):
            run("nnUNetv2_train 701 2d 0 -tr nnUNetTrainerClDice_short -p nnUNetTopoSmallPlans -device cpu --npz")
            run(f"nnUNetv2_predict -d 701 -c 2d -f 0 -tr nnUNetTrainerClDice_short -p nnUNetTopoSmallPlans "
                f"-device cpu -npp 1 -nps 1 -i {raw / 'imagesTs'} -o {tmp_path / 'predicted'}")
    model = tmp_path / "nnUNet_results" / NUMBERS["classes"] / "nnUNetTrainerClDice_short__nnUNetTopoSmallPlans__2d"
    assert (model / "fold_0" / "validation" / "summary.json").exists()
    assert (model / "fold_0" / "progress_topology.png").exists()
    prediction = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "predicted" / "tiny_6.nii.gz")))
    assert set(np.unique(prediction)) <= {0, 1, 2}
