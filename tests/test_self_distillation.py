"""Rounds of training on the soft predictions of the round before, through nnU-Net."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from nnunetv2.run import run_training
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.training.logging.nnunet_logger import LocalLogger
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.loss.nnUNetTrainerCELoss import nnUNetTrainerCELoss
from training import PLANS, checkpoint_of, short

from nnunet_topo.nnunet.distillation import soft_prediction
from nnunet_topo.nnunet.distillation.rounds import Round, Rounds
from nnunet_topo.nnunet.distillation.soft_targets import in_thousandths
from nnunet_topo.nnunet.distillation.trainer import SelfDistillationTrainer
from nnunet_topo.nnunet.pipeline import write_small_plans
from nnunet_topo.nnunet.training.rand_hue import RandHueTrainer
from nnunet_topo.trainers import _nnunet_topo_variants as variants
from nnunet_topo.trainers.nnUNetTrainerClDice import nnUNetTrainerClDice

PLAIN = "nnUNetTrainer_SelfDistillation_NoMirroring"  # without mirroring predictions take an eighth of the time
CL_DICE = "nnUNetTrainerClDice_SelfDistillation_NoMirroring"


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """The progress of so short trainings takes longer to draw than they do."""
    monkeypatch.setattr(LocalLogger, "plot_progress_png", lambda self, folder: None)
    monkeypatch.setattr("nnunet_topo.nnunet.training.trainer.plot_parts", lambda *arguments: None)


@pytest.mark.parametrize(("epochs", "parts"), [
    (3, [(0, 1), (1, 1), (2, 1)]), (12, [(0, 4), (4, 4), (8, 4)]), (10, [(0, 3), (3, 3), (6, 4)]),
    (11, [(0, 3), (3, 4), (7, 4)]), (1000, [(0, 333), (333, 333), (666, 334)]),
])
def test_epochs_are_divided_into_rounds(epochs, parts):
    rounds = Rounds(epochs, 3)
    assert [rounds[i] for i in range(3)] == [Round(i, *part) for i, part in enumerate(parts)]
    expected = [i for i, (_, length) in enumerate(parts) for _ in range(length)]
    assert [rounds.at(epoch).index for epoch in range(epochs)] == expected
    assert rounds.at(epochs).index == 2


def test_mixes_with_any_trainer_by_its_name_and_with_nnunets_own():
    made = variants.nnUNetTrainerClDice_SelfDistillation
    assert issubclass(made, SelfDistillationTrainer) and issubclass(made, nnUNetTrainerClDice)
    assert [cls.__name__ for cls in made.__mro__[1:3]] == ["SelfDistillationTrainer", "nnUNetTrainerClDice"]
    plain = variants.nnUNetTrainer_SelfDistillation
    assert plain.__mro__[1:3] == (SelfDistillationTrainer, nnUNetTrainer)
    both = variants.nnUNetTrainer_RandHue_SelfDistillation_30epochs
    assert issubclass(both, SelfDistillationTrainer) and issubclass(both, RandHueTrainer)
    assert issubclass(variants.nnUNetTrainerRandHue_SelfDistillation_NoDeepSupervision, RandHueTrainer)


class Killed(BaseException):
    pass


def test_each_round_starts_anew_and_learns_what_the_one_before_predicts(datasets, monkeypatch, tmp_path):
    dataset, seen = datasets("classes"), []
    step = nnUNetTrainer.train_step

    def train_step(self, batch):
        new = all(not parameter.any() for name, parameter in self.network.named_parameters() if name.endswith("bias"))
        hands = self.loss.base
        soft = None if hands.soft is None else [tuple(level.shape[1:]) for level in hands.soft]
        seen.append((self.current_epoch, new, len(self.optimizer.state) == 0, self.loss.epoch, soft))
        if soft:
            assert all(torch.allclose(level.sum(1), torch.ones(())) for level in hands.soft)
            # the labels, which the terms see, are those of the soft targets, but for what thousandths make equal
            differing = hands.soft[0].argmax(1) != batch["target"][0][:, 0]
            assert differing.float().mean() < 0.02
        return step(self, batch)

    def keep(done, _):
        fold = Path(os.environ["nnUNet_results"]) / dataset / f"{CL_DICE}__{PLANS}__3d_fullres" / "fold_0"
        found = sorted(folder.name for folder in (fold / "soft_targets").glob("*"))
        assert found == [[], [], ["round_2"], ["round_2"], ["round_3"], ["round_3"]][done]
        if done == 1:
            shutil.copy(fold / "checkpoint_latest.pth", fold / "round_1.pth")
        if done == 2:
            shutil.copytree(fold / "soft_targets" / "round_2", tmp_path / "round_2")

    monkeypatch.setattr(nnUNetTrainer, "train_step", train_step)
    drawn = SpatialTransform.get_parameters
    monkeypatch.setattr(SpatialTransform, "get_parameters", lambda *a, **k: drawn(*a, **k) | {"grid": None})  # a crop
    model = short(dataset, "3d_fullres", CL_DICE, epochs=5, on_epoch=keep)
    shapes = [(3, 16, 32, 32), (3, 8, 16, 16)]
    first = [(0, True, True, 0, None), (1, True, True, 0, shapes), (3, True, True, 0, shapes)]
    assert seen[::2] == [first[0], first[1], (2, False, False, 1, shapes), first[2], (4, False, False, 1, shapes)]
    assert not (model / "fold_0" / "soft_targets").exists()

    log = checkpoint_of(model)["logging"]
    half = 0.01 * 0.5**0.9
    assert log["lrs"] == pytest.approx([0.01, 0.01, half, 0.01, half], rel=1e-12)
    assert log["ema_fg_dice"][1] == log["mean_fg_dice"][1] and log["ema_fg_dice"][3] == log["mean_fg_dice"][3]
    for epoch in range(5):
        parts = log["topology/train/base"][epoch] + log["topology/train/cl_dice"][epoch]
        assert log["train_losses"][epoch] == pytest.approx(parts, abs=1e-4)
    assert_predicted_by(model, "round_1.pth", tmp_path / "round_2", dataset)


def assert_predicted_by(model: Path, checkpoint: str, folder: Path, dataset: str) -> None:
    import blosc2
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), (0,), checkpoint)
    predictor.network.load_state_dict(predictor.list_of_parameters[0])
    preprocessed = Path(os.environ["nnUNet_preprocessed"]) / dataset
    cases = json.loads((preprocessed / "splits_final.json").read_text())[0]["train"]
    assert sorted(file.name for file in folder.iterdir()) == [f"{case}.b2nd" for case in sorted(cases)]
    data = preprocessed / "nnUNetPlans_3d_fullres"
    for case in cases[:2]:
        image = infer_dataset_class(str(data))(str(data), [case]).load_case(case)[0][:]
        logits = predictor.predict_sliding_window_return_logits(torch.from_numpy(image))
        probabilities = torch.softmax(logits.float(), 0)
        found = blosc2.open(str(folder / f"{case}.b2nd"))[:]
        assert found.dtype == np.int16 and np.abs(found[1:] - 1000 * probabilities[1:].numpy()).max() <= 1.001
        assert (found[0] == probabilities.argmax(0).numpy()).all()
        assert np.array_equal(found[1:], in_thousandths(probabilities, has_regions=False).numpy())


@pytest.mark.slow  # trains twice and predicts five times
def test_a_training_that_was_killed_anywhere_ends_as_one_that_was_not(datasets, monkeypatch):
    dataset = datasets("classes")
    folder = Path(os.environ["nnUNet_preprocessed"]) / dataset
    write = soft_prediction.write_soft_targets
    ends, deaths = {}, []

    def dying_at(place):
        def on_epoch(done, _):
            if done == place:
                deaths.append(place)
                raise Killed

        def write_soft_targets(folder, case, *arguments, **options):
            write(folder, case, *arguments, **options)
            if place == f"{folder.name} {case}":
                deaths.append(place)
                raise Killed

        monkeypatch.setattr(soft_prediction, "write_soft_targets", write_soft_targets)
        return on_epoch

    def train_with(plans, kills):
        write_small_plans(folder, {"2d": (32, 32)}, name=plans, features=(4, 8, 8))
        for place in kills:
            arguments = {"epochs": 6, "seed": 3, "save_every": 3, "on_epoch": dying_at(place)}
            try:
                model = short(dataset, "2d", PLAIN, plans, continue_training=place != kills[0], **arguments)
            except Killed:
                pass
        ends[plans] = checkpoint_of(model)

    train_with("TopoWhole", [None])
    cases = json.loads((folder / "splits_final.json").read_text())[0]["train"]  # made by the first training
    # within a round, at its end, while the next one's targets are predicted, and before a checkpoint of the last one
    places = [1, 2, f".round_2.part {sorted(cases)[1]}", 3, 5, None]
    train_with("TopoKilled", places)
    assert deaths == places[:-1]
    whole, killed = ends.values()
    assert whole["network_weights"].keys() == killed["network_weights"].keys()
    assert all(torch.equal(value, killed["network_weights"][name]) for name, value in whole["network_weights"].items())
    for key in ("train_losses", "val_losses", "lrs", "ema_fg_dice"):
        assert whole["logging"][key] == killed["logging"][key]
    assert whole["_best_ema"] == killed["_best_ema"]


@pytest.mark.parametrize(("kind", "configuration", "trainer"), [
    ("regions_ignore", "3d_fullres", "nnUNetTrainerSkeletonRecall_SelfDistillation_NoMirroring"),
    ("ignore", "2d", "nnUNetTrainer_NoDeepSupervision_SelfDistillation_NoMirroring"),
    pytest.param("regions", "2d", "nnUNetTrainerSCNP_SelfDistillation_NoMirroring", marks=pytest.mark.slow),
])
def test_every_kind_of_labels_is_trained_on_soft_targets(datasets, kind, configuration, trainer, monkeypatch):
    handed = []
    step = nnUNetTrainer.train_step

    def train_step(self, batch):
        soft = self._hands.soft
        target, deep = batch["target"], isinstance(batch["target"], list)
        if soft is not None:
            for level, own in zip(soft if deep else [soft], target if deep else [target], strict=True):
                assert level.shape == (len(own), self.label_manager.num_segmentation_heads, *own.shape[2:])
                assert own.shape[1] == {"regions_ignore": 3, "ignore": 1, "regions": 2}[kind]
                assert own.dtype == (torch.bool if "regions" in kind else torch.int16)
        handed.append(soft is not None)
        return step(self, batch)

    monkeypatch.setattr(nnUNetTrainer, "train_step", train_step)
    log = checkpoint_of(short(datasets(kind), configuration, trainer, epochs=3))["logging"]
    assert handed == [False, False, True, True, True, True]
    assert np.isfinite(log["train_losses"]).all() and np.isfinite(log["val_losses"]).all()


def test_processes_of_a_distributed_training_share_the_cases_and_start_anew_together(datasets, monkeypatch, tmp_path):
    """One process with gloo: what it does as one of two, and what it asks the others to take over."""
    trainer = run_training.get_trainer_from_args(datasets("classes"), "2d", 0, PLAIN, PLANS, False, torch.device("cpu"))
    trainer.num_epochs, trainer.current_epoch = 3, 1
    trainer.on_train_start()
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        trainer.network, trainer.is_ddp = torch.nn.parallel.DistributedDataParallel(trainer.network), True
        shares = []
        for rank in (0, 1):
            (tmp_path / str(rank)).mkdir()
            with monkeypatch.context() as two:
                two.setattr(torch.distributed, "get_world_size", lambda: 2)
                two.setattr(trainer, "local_rank", rank)
                soft_prediction._predict(trainer, tmp_path / str(rank))
            shares.append(sorted(file.stem for file in (tmp_path / str(rank)).iterdir()))
        assert len(shares[0]) == len(shares[1]) == 2 and sorted(shares[0] + shares[1]) == sorted(trainer.do_split()[0])

        sent = []
        broadcast = torch.distributed.broadcast
        monkeypatch.setattr(torch.distributed, "broadcast", lambda *a: sent.append(a[0]) or broadcast(*a))
        before = {name: value.clone() for name, value in trainer.network.module.state_dict().items()}
        trainer._begin(trainer.rounds[1])
        after = trainer.network.module.state_dict()
        assert [tensor.data_ptr() for tensor in sent] == [tensor.data_ptr() for tensor in after.values()]
        assert all(not torch.equal(after[name], value) for name, value in before.items()
                   if name.endswith("conv.weight"))
        assert len(list((Path(trainer.output_folder) / "soft_targets" / "round_2").iterdir())) == 4
        trainer.network.train()
        assert np.isfinite(trainer.train_step(next(trainer.dataloader_train))["loss"])
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_trains_the_second_stage_of_a_cascade(datasets):
    dataset = datasets("classes")
    preprocessed = Path(os.environ["nnUNet_preprocessed"]) / dataset
    plans = json.loads((preprocessed / f"{PLANS}.json").read_text()) | {"plans_name": "TopoSoftCascade"}
    plans["configurations"]["3d_lowres"] = plans["configurations"]["3d_fullres"] | {"next_stage": "3d_cascade_fullres"}
    plans["configurations"]["3d_cascade_fullres"] = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    (preprocessed / "TopoSoftCascade.json").write_text(json.dumps(plans))
    folder = preprocessed / plans["configurations"]["3d_fullres"]["data_identifier"]
    first_stage = Path(os.environ["nnUNet_results"]) / dataset / f"{PLAIN}__TopoSoftCascade__3d_lowres" \
        / "predicted_next_stage" / "3d_cascade_fullres"
    first_stage.mkdir(parents=True)
    labels = infer_dataset_class(str(folder))(str(folder))
    for case in labels.identifiers:  # the label itself stands in for the first stage's prediction
        labels.save_seg(np.maximum(labels.load_case(case)[1][:], 0)[0].astype(np.uint8), str(first_stage / case))
    log = checkpoint_of(short(dataset, "3d_cascade_fullres", PLAIN, "TopoSoftCascade", epochs=3))["logging"]
    assert len(log["train_losses"]) == 3 and np.isfinite(log["train_losses"]).all()


def test_what_cannot_be_divided_into_rounds_or_learn_probabilities_is_refused(datasets, monkeypatch):
    dataset = datasets("classes")
    with pytest.raises(ValueError, match=r"into 3 rounds of at least one epoch, but this training has 2 epoch\(s\)"):
        short(dataset, "2d", PLAIN, epochs=2)
    late = {"cl_dice": {"start_epoch": 2}}
    folder = Path(os.environ["nnUNet_preprocessed"]) / dataset
    write_small_plans(folder, {"2d": (32, 32)}, name="TopoLateInRound", settings=late)
    with pytest.raises(RuntimeError, match=r"in epoch 2, but each round of this training has 2 epoch\(s\)"):
        short(dataset, "2d", CL_DICE, "TopoLateInRound", epochs=8)

    class nnUNetTrainerWrongOrder(nnUNetTrainerClDice, SelfDistillationTrainer):
        pass

    class nnUNetTrainerOtherLoss(SelfDistillationTrainer, nnUNetTrainerCELoss):
        pass

    for trainer, error, sentence in (
        (nnUNetTrainerWrongOrder, TypeError, "must name SelfDistillationTrainer before the other trainers"),
        (nnUNetTrainerOtherLoss, NotImplementedError, "but this trainer's loss is RobustCrossEntropyLoss"),
    ):
        monkeypatch.setattr(run_training, "recursive_find_trainer_class_by_name", lambda name, trainer=trainer: trainer)
        with pytest.raises(error, match=sentence):
            short(dataset, "2d", epochs=3)


def test_goes_on_only_with_the_targets_of_its_round_and_the_same_rounds(datasets):
    dataset = datasets("classes")
    write_small_plans(Path(os.environ["nnUNet_preprocessed"]) / dataset, {"2d": (32, 32)}, name="TopoGoesOn",
                      features=(4, 8, 8))

    def kill(done, _):
        if done == 3:
            raise Killed

    arguments = {"trainer": PLAIN, "plans": "TopoGoesOn", "iterations": 1, "save_every": 1}
    with pytest.raises(Killed):
        short(dataset, "2d", epochs=6, on_epoch=kill, **arguments)
    with pytest.raises(RuntimeError, match="3 rounds in 6 epochs and cannot be continued with 3 rounds in 9 epochs"):
        short(dataset, "2d", epochs=9, continue_training=True, **arguments)
    shutil.rmtree(Path(os.environ["nnUNet_results"]) / dataset / f"{PLAIN}__TopoGoesOn__2d" / "fold_0" / "soft_targets")
    with pytest.raises(RuntimeError, match=r"lacks the soft targets of 4 training case\(s\), such as 'tiny_"):
        short(dataset, "2d", epochs=6, continue_training=True, **arguments)
