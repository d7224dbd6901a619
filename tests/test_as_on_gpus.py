"""What nnU-Net does on GPUs alone, done on the CPU: several processes, a compiled network, mixed precision."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.training.nnUNetTrainer import nnUNetTrainer
from test_every_trainer import losses_of_three_steps, plans  # noqa: F401  the latter is a fixture

CASES = [("nnUNetTrainerClDice", "2d"), ("nnUNetTrainerClDiceTopological", "3d_fullres"),
         ("nnUNetTrainerSkeletonRecall", "2d"), ("nnUNetTrainerBettiMatching", "2d"), ("nnUNetTrainerSCNP", "2d"),
         ("nnUNetTrainerMIP", "3d_fullres")]


@pytest.mark.slow
@pytest.mark.parametrize(("trainer", "configuration"), CASES)
def test_two_processes_train_one_network_and_log_the_mean_of_their_parts(plans, trainer, configuration, tmp_path):  # noqa: F811
    dataset, name = plans(configuration)
    worker = Path(__file__).with_name("ddp_worker.py")
    commands = [[sys.executable, str(worker), str(rank), str(tmp_path), dataset, configuration, trainer, name]
                for rank in range(2)]
    environment = {**os.environ, "nnUNet_n_proc_DA": "0", "CUDA_VISIBLE_DEVICES": ""}
    processes = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                 for command in commands]
    try:
        printed = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(printed)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first["weights"] == second["weights"] and np.isfinite(first["weights"]).all()
    assert len(first["own means"]) == 2  # training and validation
    for split, *of_each in zip(("train", "validation"), first["own means"], second["own means"], strict=True):
        assert of_each[0] != of_each[1]  # they saw other batches
        for part in of_each[0]:
            (logged,) = first["logged"][f"topology/{split}/{part}"]
            assert logged == pytest.approx(np.mean([means[part] for means in of_each]), nan_ok=True)
    assert first["logged"].keys() == second["logged"].keys()


@pytest.mark.slow
@pytest.mark.parametrize(("trainer", "configuration"), CASES)
def test_a_compiled_network_and_dice_train_as_others(plans, trainer, configuration, monkeypatch):  # noqa: F811
    """Traced and differentiated as torch.compile does it, without the machine code, whose roundings differ."""
    dataset, name = plans(configuration)
    as_it_is = losses_of_three_steps(dataset, configuration, trainer, name, "cpu")
    calls = []

    def compile_and_count(function, backend):
        calls.append(function)
        return torch_compile(function, backend=backend)

    torch_compile = torch.compile
    monkeypatch.setattr(torch, "compile", functools.partial(compile_and_count, backend="aot_eager"))
    monkeypatch.setattr(nnUNetTrainer.nnUNetTrainer, "_do_i_compile", lambda self: True)
    compiled = losses_of_three_steps(dataset, configuration, trainer, name, "cpu")
    torch.compiler.reset()
    assert len(calls) == 2 and compiled == pytest.approx(as_it_is, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("trainer", "configuration"), CASES)
def test_mixed_precision_trains_as_full_precision_does(plans, trainer, configuration, monkeypatch):  # noqa: F811
    dataset, name = plans(configuration)
    full = losses_of_three_steps(dataset, configuration, trainer, name, "cpu")
    monkeypatch.setattr(nnUNetTrainer, "dummy_context", lambda: torch.autocast("cpu", dtype=torch.bfloat16))
    mixed = losses_of_three_steps(dataset, configuration, trainer, name, "cpu")
    assert mixed != full and mixed == pytest.approx(full, rel=0.02)
