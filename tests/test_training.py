"""nnU-Net's real trainer, from preprocessed data to a prediction, in every kind of label and both dimensions."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch
from training import NUMBERS, PLANS, checkpoint_of, log_of, short

from nnunet_topo.nnunet.pipeline import environment, predict, write_small_plans

KINDS = ["classes", "regions", "ignore", "regions_ignore"]
CONFIGURATIONS = ["2d", "3d_fullres"]
TERMS = {"nnUNetTrainerClDice": "cl_dice", "nnUNetTrainerSkeletonRecall": "skeleton_recall"}


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("trainer", TERMS)
def test_trains_and_predicts(datasets, trainer, kind, configuration, tmp_path):
    model = short(datasets(kind), configuration, trainer)
    parts = checkpoint_of(model)["logging"]
    term = parts[f"topology/train/{TERMS[trainer]}"][0]
    assert 0 < term <= 1
    assert parts["train_losses"][0] == pytest.approx(parts["topology/train/base"][0] + term, abs=1e-4)
    assert (model / "fold_0" / "progress_topology.png").stat().st_size > 1000
    assert (model / "fold_0" / "progress.png").exists()

    images = Path(os.environ["nnUNet_raw"]) / NUMBERS[kind] / "imagesTs"
    predict(model, images, tmp_path, mirroring=False)
    prediction = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "tiny_6.nii.gz")))
    assert prediction.shape == (20, 40, 40)
    assert set(np.unique(prediction)) <= {0, 1, 2}


def test_takes_the_iterations_from_the_training_labels_and_records_them(datasets):
    model = short(datasets("classes"), "3d_fullres")
    settings = checkpoint_of(model)["init_args"]["nnunet_topo"]["cl_dice"]
    # the bar is 5 x 5 voxels thick and 16 of 20 slices long: D = 3 in its middle, 2 iterations; the least bound is 3
    assert settings["iterations"] == 3
    assert "cl_dice.iterations = 3, from the training labels: the largest need is 2" in log_of(model)
    folder = Path(os.environ["nnUNet_preprocessed"]) / NUMBERS["classes"]
    record = folder / "nnunet_topo_labels__nnUNetPlans_3d_fullres__3d.json"
    assert set(json.loads(record.read_text())["cases"]) == {f"tiny_{i}" for i in range(6)}


def test_settings_of_the_plans_file_reach_the_loss_the_log_and_the_checkpoint(datasets):
    dataset = datasets("classes")
    small_plans(dataset, "TopoSettings", {"cl_dice": {"weight": 0.5, "iterations": 7, "start_epoch": 1}})
    model = short(dataset, "2d", plans="TopoSettings", epochs=2)
    checkpoint = checkpoint_of(model)
    assert checkpoint["init_args"]["nnunet_topo"]["cl_dice"].items() >= {"weight": 0.5, "iterations": 7}.items()
    assert checkpoint["logging"]["topology/weight/cl_dice"] == [0.0, 0.5]
    history = checkpoint["logging"]["topology/train/cl_dice"]
    assert np.isnan(history[0]) and history[1] > 0
    assert "'iterations': 7" in log_of(model)


def test_resumes_with_the_history_of_the_parts_and_refuses_changed_settings(datasets):
    dataset = datasets("classes")
    small_plans(dataset, "TopoResume", {"cl_dice": {"weight": 0.5}})
    model = short(dataset, "2d", plans="TopoResume")
    before = checkpoint_of(model)["logging"]["topology/train/cl_dice"]
    short(dataset, "2d", plans="TopoResume", epochs=2, continue_training=True)
    after = checkpoint_of(model)["logging"]["topology/train/cl_dice"]
    assert len(after) == 2 and after[0] == before[0]

    small_plans(dataset, "TopoResume", {"cl_dice": {"weight": 0.25}})
    with pytest.raises(RuntimeError, match=r"cl_dice\.weight: 0\.5 -> 0\.25"):
        short(dataset, "2d", plans="TopoResume", epochs=3, continue_training=True)


def test_weight_zero_trains_exactly_as_nnunet_does(datasets):
    dataset = datasets("classes")
    small_plans(dataset, "TopoZero", {"cl_dice": {"weight": 0.0}})
    losses = []
    for trainer, plans in (("nnUNetTrainer", PLANS), ("nnUNetTrainerClDice", "TopoZero")):
        torch.manual_seed(0)
        np.random.seed(0)
        losses.append(checkpoint_of(short(dataset, "2d", trainer, plans))["logging"]["train_losses"][0])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_asking_for_more_deep_supervision_levels_than_the_network_has_is_refused(datasets):
    dataset = datasets("classes")
    small_plans(dataset, "TopoLevels", {"cl_dice": {"levels": 2}}, features=(8, 16, 32, 32))
    short(dataset, "2d", plans="TopoLevels")
    small_plans(dataset, "TopoLevels", {"cl_dice": {"levels": 3}}, features=(8, 16, 32, 32))
    with pytest.raises(ValueError, match="asks for 3 deep-supervision outputs"):
        short(dataset, "2d", plans="TopoLevels")


@pytest.mark.parametrize(("settings", "sentence"), [
    ({"cl_dicce": {}}, "unknown term 'cl_dicce'"),
    ({"cl_dice": {"iteratons": 3}}, "unknown key\\(s\\) 'iteratons'"),
    ({"cl_dice": {"weight": "1"}}, "must be a number"),
    ({"cl_dice": {"iterations": 2.5}}, "must be a whole number"),
    ({"cl_dice": {"weight": -1}}, "must be a number from 0"),
    ({"cl_dice": 3}, "must map names of settings"),
    ([], "must map names of terms"),
])
def test_wrong_settings_stop_before_anything_is_written(datasets, settings, sentence):
    dataset = datasets("classes")
    small_plans(dataset, "TopoWrong", {})
    path = Path(os.environ["nnUNet_preprocessed"]) / dataset / "TopoWrong.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"nnunet_topo": settings}))
    with pytest.raises(ValueError, match=sentence):
        short(dataset, "2d", plans="TopoWrong")
    assert not list(Path(os.environ["nnUNet_results"]).glob(f"{dataset}/*TopoWrong*"))


def test_two_stages_are_refused(datasets):
    dataset = datasets("classes")
    small_plans(dataset, "TopoTwoStages", {}, features=(8, 16))
    with pytest.raises(RuntimeError, match="network has 2 stages"):
        short(dataset, "2d", plans="TopoTwoStages")


def test_labels_that_the_dataset_does_not_name_are_refused(datasets):
    dataset = datasets("classes")
    folder = Path(os.environ["nnUNet_preprocessed"]) / dataset
    original = (folder / "dataset.json").read_text()
    (folder / "dataset.json").write_text(json.dumps(json.loads(original) | {"labels": {"background": 0, "trunk": 1}}))
    try:
        with pytest.raises(ValueError, match=r"hold labels that dataset.json does not name: tiny_0 holds \[2\]"):
            short(dataset, "2d")
    finally:
        (folder / "dataset.json").write_text(original)


def test_an_image_with_nan_is_refused_by_the_first_batch(datasets, monkeypatch):
    from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader

    generate = nnUNetDataLoader.generate_train_batch

    def with_nan(self):
        batch = generate(self)
        batch["data"][0, 0, 0] = float("nan")
        return batch

    monkeypatch.setattr(nnUNetDataLoader, "generate_train_batch", with_nan)
    with pytest.raises(FloatingPointError, match="not finite"):
        short(datasets("classes"), "2d")


def test_a_missing_path_is_named(datasets):
    with environment(nnUNet_results=None), pytest.raises(RuntimeError, match="nnUNet_results is not set"):
        short(datasets("classes"), "2d")


def test_an_output_folder_that_cannot_be_written_is_named(datasets, tmp_path):
    (tmp_path / "file").write_text("")
    with environment(nnUNet_results=str(tmp_path / "file" / "results")), \
            pytest.raises(RuntimeError, match="cannot be written to"):
        short(datasets("classes"), "2d")


def test_a_disk_without_room_for_the_checkpoints_is_named(datasets, monkeypatch):
    from nnunet_topo.nnunet.training import checks

    monkeypatch.setattr(checks.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1000})())
    with pytest.raises(RuntimeError, match="has 0 MB free, but the checkpoints of this network need about"):
        short(datasets("classes"), "2d")


def test_trains_the_second_stage_of_a_cascade(datasets):
    from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

    dataset = datasets("classes")
    preprocessed = Path(os.environ["nnUNet_preprocessed"]) / dataset
    plans = json.loads((preprocessed / f"{PLANS}.json").read_text()) | {"plans_name": "TopoCascade"}
    configurations = plans["configurations"]
    configurations["3d_lowres"] = configurations["3d_fullres"] | {"next_stage": "3d_cascade_fullres"}
    configurations["3d_cascade_fullres"] = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    (preprocessed / "TopoCascade.json").write_text(json.dumps(plans))
    # the label itself stands in for the first stage's prediction
    folder = preprocessed / configurations["3d_fullres"]["data_identifier"]
    first_stage = Path(os.environ["nnUNet_results"]) / dataset / "nnUNetTrainerClDice__TopoCascade__3d_lowres" \
        / "predicted_next_stage" / "3d_cascade_fullres"
    first_stage.mkdir(parents=True)
    labels = infer_dataset_class(str(folder))(str(folder))
    for case in labels.identifiers:
        labels.save_seg(np.maximum(labels.load_case(case)[1][:], 0)[0].astype(np.uint8), str(first_stage / case))

    model = short(dataset, "3d_cascade_fullres", plans="TopoCascade")
    assert 0 < checkpoint_of(model)["logging"]["topology/train/cl_dice"][0] <= 1


def test_a_failure_while_a_checkpoint_is_written_leaves_the_previous_one(datasets, monkeypatch):
    model = short(datasets("classes"), "2d")
    before = (model / "fold_0" / "checkpoint_final.pth").read_bytes()

    def full_disk(content, filename):
        Path(filename).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match=r"checkpoint_best\.pth could not be written: the disk of .* is full"):
        short(datasets("classes"), "2d")
    assert (model / "fold_0" / "checkpoint_final.pth").read_bytes() == before
    assert not list((model / "fold_0").glob(".*"))


@pytest.mark.parametrize(("kind", "configuration"), [
    ("classes", "2d"), pytest.param("regions_ignore", "3d_fullres", marks=pytest.mark.slow)])
def test_validation_of_a_fold_also_writes_the_topology_summary(datasets, kind, configuration):
    model = short(datasets(kind), configuration, validate=True)
    folder = model / "fold_0" / "validation"
    theirs = json.loads((folder / "summary.json").read_text())
    ours = json.loads((folder / "summary_topology.json").read_text())
    assert ours["mean"].keys() == theirs["mean"].keys() and not ours["failed"] and not ours["missing_predictions"]
    expected = {Path(case["prediction_file"]).name: case["metrics"] for case in theirs["metric_per_case"]}
    found = {Path(case["prediction_file"]).name: case["metrics"] for case in ours["metric_per_case"]}
    assert expected.keys() == found.keys() and len(found) > 0
    for case, metrics in expected.items():
        for label, values in metrics.items():
            assert found[case][label]["dice"] == pytest.approx(values["Dice"], nan_ok=True)
    names = {"1": "trunk", "2": "branch"} if kind == "classes" else {"(1, 2)": "tree", "(2,)": "branch"}
    assert ours["settings"]["label_names"] == names
    assert (folder / "summary_topology.csv").exists() and not list(folder.glob("nnunet_topo_*"))
    assert "Topology of the validation cases, means (summary_topology.json): {'cl_dice':" in log_of(model)


def test_a_failing_topology_summary_is_said_and_does_not_fail_the_validation(datasets, monkeypatch):
    from nnunet_topo.nnunet.training import validation

    def failing(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(validation, "evaluate_folder", failing)
    model = short(datasets("classes"), "2d", validate=True)
    assert "summary_topology.json could not be written (OSError: [Errno 28] No space left" in log_of(model)
    assert (model / "fold_0" / "validation" / "summary.json").exists()


def test_trains_without_deep_supervision_and_combines_with_nnunets_own_variants(datasets, monkeypatch):
    from nnunetv2.run import run_training
    from nnunetv2.training.nnUNetTrainer.variants.network_architecture.nnUNetTrainerNoDeepSupervision import (
        nnUNetTrainerNoDeepSupervision,
    )

    from nnunet_topo.losses import ClDiceLoss
    from nnunet_topo.nnunet import Term, TopologyTrainer

    class nnUNetTrainerClDiceNoDeepSupervision(TopologyTrainer, nnUNetTrainerNoDeepSupervision):
        cl_dice = Term(ClDiceLoss)

    monkeypatch.setattr(run_training, "recursive_find_trainer_class_by_name",
                        lambda name: nnUNetTrainerClDiceNoDeepSupervision)
    model = short(datasets("classes"), "2d")
    assert 0 < checkpoint_of(model)["logging"]["topology/train/cl_dice"][0] <= 1


def test_a_term_is_not_computed_before_its_first_epoch(datasets):
    dataset = datasets("classes")
    small_plans(dataset, "TopoLate", {"betti_matching": {"start_epoch": 1, "ramp_epochs": 0, "crop_2d": 24}})
    model = short(dataset, "2d", "nnUNetTrainerBettiMatching", "TopoLate", epochs=2)
    before, after = checkpoint_of(model)["logging"]["topology/train/betti_matching"]
    assert np.isnan(before) and after > 0
    assert "betti_matching: ready after" in log_of(model)


def test_a_term_that_would_begin_after_the_last_epoch_is_refused_before_the_first(datasets):
    with pytest.raises(RuntimeError, match=r"'betti_matching' begins in epoch 50, but this training has 1 epoch"):
        short(datasets("classes"), "2d", "nnUNetTrainerBettiMatching")


def test_a_variant_trains_for_its_epochs_without_mirroring_and_predicts(datasets):
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    dataset, trainer = datasets("classes"), "nnUNetTrainerClDiceSkeletonRecall_NoMirroring_1epoch"
    model = short(dataset, "2d", trainer, epochs=None)
    checkpoint = checkpoint_of(model)
    assert checkpoint["trainer_name"] == trainer and checkpoint["current_epoch"] == 1
    assert checkpoint["inference_allowed_mirroring_axes"] is None
    assert all(0 < checkpoint["logging"][f"topology/train/{name}"][0] <= 1 for name in ("cl_dice", "skeleton_recall"))
    nnUNetPredictor(device=torch.device("cpu")).initialize_from_trained_model_folder(str(model), (0,))


@pytest.mark.parametrize("trainer", ["nnUNetTrainerMIP", "nnUNetTrainerMIPSingleAxis"])
def test_a_loss_for_volumes_is_refused_in_2d_before_anything_is_written(datasets, trainer):
    with pytest.raises(ValueError, match=rf"{trainer}: its term 'mip' \(MIPLoss\) is for 3D configurations, but this "
                                         r"one is 2D\. Train a 3D configuration \(such as 3d_fullres\)"):
        short(datasets("classes"), "2d", trainer)
    assert not list(Path(os.environ["nnUNet_results"]).glob(f"*/{trainer}__*__2d"))


@pytest.mark.parametrize("kind", ["ignore", "regions_ignore"])
def test_terms_combine_and_get_what_the_loader_prepared_at_every_level(datasets, kind, monkeypatch):
    from nnunetv2.run import run_training

    from nnunet_topo.losses import ClCELoss, ClDiceLoss, SkeletonRecallLoss
    from nnunet_topo.nnunet import Term, TopologyTrainer

    class nnUNetTrainerAll(TopologyTrainer):
        cl_dice = Term(ClDiceLoss, options={"skeleton": "topological"})
        cl_ce = Term(ClCELoss, levels=None, options={"skeleton": "topological"})
        skeleton_recall = Term(SkeletonRecallLoss, levels=2)

    class nnUNetTrainerAllNoDeepSupervision(nnUNetTrainerAll):
        skeleton_recall = Term(SkeletonRecallLoss)

        def __init__(self, plans, configuration, fold, dataset_json, device):
            super().__init__(plans, configuration, fold, dataset_json, device)
            self.enable_deep_supervision = False

    given = []
    original = SkeletonRecallLoss.forward

    def forward(self, probabilities, target, valid=None, prepared=None):
        given.append((probabilities.shape, prepared is not None and torch.equal(prepared, self.prepare(target))))
        return original(self, probabilities, target, valid, prepared)

    monkeypatch.setattr(SkeletonRecallLoss, "forward", forward)
    small_plans(datasets(kind), "TopoAll", {}, features=(8, 16, 32, 32))
    for trainer, levels in ((nnUNetTrainerAll, 2), (nnUNetTrainerAllNoDeepSupervision, 1)):
        given.clear()
        monkeypatch.setattr(run_training, "recursive_find_trainer_class_by_name", lambda name, trainer=trainer: trainer)
        parts = checkpoint_of(short(datasets(kind), "2d", plans="TopoAll"))["logging"]
        assert len(given) == 3 * levels and all(equal for _, equal in given)  # two batches, one of validation
        assert len({shape for shape, _ in given}) == levels
        total = sum(parts[f"topology/train/{name}"][0] for name in ("base", "cl_dice", "cl_ce", "skeleton_recall"))
        assert parts["train_losses"][0] == pytest.approx(total, abs=1e-4)


def small_plans(dataset: str, name: str, settings: dict, features=(8, 16, 32)) -> None:
    folder = Path(os.environ["nnUNet_preprocessed"]) / dataset
    write_small_plans(folder, {"2d": (32, 32)}, name=name, settings=settings, features=features)


MINE = '''
from nnunet_topo.losses import TopologyLoss
from nnunet_topo.nnunet import Term, TopologyTrainer


class MissedLoss(TopologyLoss):
    name = "missed"

    def __init__(self, *, exponent: float = 2.0):
        super().__init__()
        self.exponent = exponent

    def forward(self, probabilities, target, valid=None):
        missed = ((1 - probabilities) * target) ** self.exponent
        return missed.mean() if valid is None else (missed * valid).mean()


class nnUNetTrainerMissed(TopologyTrainer):
    missed = Term(MissedLoss)
'''


def test_a_users_own_loss_in_a_file_of_theirs_is_set_in_the_plans(datasets, tmp_path):
    (tmp_path / "nnUNetTrainerMissed.py").write_text(MINE)
    dataset = datasets("ignore")
    small_plans(dataset, "TopoMine", {"missed": {"weight": 0.25, "exponent": 3.0}})
    with environment(nnUNet_extTrainer=os.pathsep.join([os.environ["nnUNet_extTrainer"], str(tmp_path)])):
        checkpoint = checkpoint_of(short(dataset, "2d", "nnUNetTrainerMissed", "TopoMine"))
    settings = checkpoint["init_args"]["nnunet_topo"]["missed"]
    assert (settings["weight"], settings["exponent"]) == (0.25, 3.0)
    assert checkpoint["logging"]["topology/train/missed"][0] > 0
