"""What the trainers add around nnU-Net's steps, on trainers without data; test_training.py has them with data."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_topo.fingerprint.labels import LabelFingerprint
from nnunet_topo.nnunet.distillation.trainer import SelfDistillationTrainer
from nnunet_topo.nnunet.training import label_settings, progress
from nnunet_topo.nnunet.training.seeds import fix_seed
from nnunet_topo.nnunet.training.trainer import TopologyTrainer


def bare(trainer_class: type, **attributes: Any) -> Any:
    """A trainer that was not constructed, with the attributes that a step needs."""
    trainer = trainer_class.__new__(trainer_class)
    for name, value in attributes.items():
        setattr(trainer, name, value)
    return trainer


def logger(log: dict[str, list[float]]) -> Any:
    return SimpleNamespace(local_logger=SimpleNamespace(my_fantastic_logging=log))


@pytest.mark.parametrize(("scaler", "patience"), [(None, 1), (object(), 10)], ids=["full", "mixed precision"])
def test_a_loss_that_stays_not_finite_ends_the_training(scaler, patience, monkeypatch):
    losses = iter([math.nan] * (patience - 1) + [1.0] + [math.inf] * patience)
    monkeypatch.setattr(nnUNetTrainer, "train_step", lambda self, batch: {"loss": next(losses)})
    trainer = bare(TopologyTrainer, grad_scaler=scaler, current_epoch=3, _not_finite_in_a_row=0,
                   loss=SimpleNamespace(preparing=lambda level: []))
    for _ in range(2 * patience - 1):
        trainer.train_step({})
    with pytest.raises(FloatingPointError, match=rf"not finite .* in {patience} batches in a row, epoch 3"):
        trainer.train_step({})


def test_what_a_term_notices_stands_in_nnunets_log_once(monkeypatch):
    monkeypatch.setattr(nnUNetTrainer, "on_epoch_end", lambda self: None)
    lines: list[str] = []
    trainer = bare(TopologyTrainer, local_rank=1, logger=logger({}), print_to_log_file=lines.append, _said=set(),
                   loss=SimpleNamespace(part_names=[], notices=lambda: ["cl_dice: too thick"]))
    trainer.on_epoch_end()
    trainer.on_epoch_end()
    assert [line for line in lines if "too thick" in line] == ["NOTE: cl_dice: too thick"]


def test_keys_of_the_log_that_a_checkpoint_lacks_are_as_long_as_nnunets(monkeypatch):
    monkeypatch.setattr(nnUNetTrainer, "load_checkpoint", lambda self, checkpoint: None)
    log = {"topology/train/base": [0.5], "train_losses": [0.5, 0.4, 0.3]}
    trainer = bare(TopologyTrainer, current_epoch=3, terms={"cl_dice": None}, my_init_kwargs={}, logger=logger(log))
    trainer.load_checkpoint({})
    np.testing.assert_equal(log.pop("topology/train/base"), [0.5, math.nan, math.nan])
    assert log.pop("train_losses") == [0.5, 0.4, 0.3]
    assert len(log) == 4 and all(len(values) == 3 and np.isnan(values).all() for values in log.values())


def test_a_round_starts_without_the_best_epoch_and_the_gradient_scale_of_the_one_before(monkeypatch):
    class Scaler:
        scale = 65536.0

    new, scaler = torch.nn.Linear(2, 1), Scaler()
    scaler.scale = 8.0
    trainer = bare(SelfDistillationTrainer, network=torch.nn.Linear(2, 1), is_ddp=False, grad_scaler=scaler,
                   _best_ema=0.9, _new_network=lambda: new, configure_optimizers=lambda: ("optimizer", "scheduler"))
    trainer._start_anew()
    assert trainer._best_ema is None
    assert type(trainer.grad_scaler) is Scaler and trainer.grad_scaler.scale == 65536
    assert torch.equal(trainer.network.weight, new.weight) and trainer.optimizer == "optimizer"


@pytest.mark.parametrize("ending", [".npz", "_seg.b2nd"])
def test_labels_that_change_are_measured_again(ending, tmp_path, monkeypatch):
    folder = tmp_path / "nnUNetPlans_2d"
    folder.mkdir()
    labels = {}

    class Dataset:
        identifiers = ("a",)

        def __init__(self, folder: str) -> None: ...

        def load_case(self, case: str) -> tuple[None, np.ndarray]:
            return None, labels[case][None, None]

    def measured() -> LabelFingerprint:
        return label_settings._fingerprint(trainer, {"voxels": lambda mask: int(mask.sum())}, {})

    def write(size: int) -> None:
        labels["a"] = np.zeros((8, 8), int)
        labels["a"][:size] = 1
        (folder / f"a{ending}").write_text("x" * size)

    monkeypatch.setattr(label_settings, "infer_dataset_class", lambda folder: Dataset)
    trainer: Any = SimpleNamespace(
        preprocessed_dataset_folder=folder, configuration_manager=SimpleNamespace(patch_size=(8, 8)),
        label_manager=SimpleNamespace(has_regions=False, foreground_labels=[1]), print_to_log_file=print)
    write(2)
    assert measured().largest("voxels") == (16, "a", "1")
    labels.clear()
    assert measured().largest("voxels") == (16, "a", "1")  # from the record
    write(3)
    assert measured().largest("voxels") == (24, "a", "1")


def test_the_progress_shows_the_parts_and_the_weights(tmp_path, monkeypatch):
    drawn: list[Figure] = []
    monkeypatch.setattr(progress, "Figure", lambda **options: drawn.append(Figure(**options)) or drawn[0])
    train, validation = ({"base": [0.9 - by, 0.5 - by], "cl_dice": [math.nan, 0.3 - by]} for by in (0.0, 0.1))
    progress.plot_parts(tmp_path / "a.png", train, validation, {"cl_dice": [0.0, 0.5]})
    assert (tmp_path / "a.png").stat().st_size > 1000
    curves = [{line.get_label(): list(line.get_ydata()) for line in axes.lines} for axes in drawn[0].axes]
    expected = [{"training": train[name], "validation": validation[name]} for name in train] + [{"weight": [0.0, 0.5]}]
    np.testing.assert_equal(curves, expected)


def test_a_seed_makes_cudnn_deterministic(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    fix_seed(SimpleNamespace(initialize=None, on_epoch_start=None, save_checkpoint=None), 1)
    assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
