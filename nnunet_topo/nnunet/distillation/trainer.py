"""Self-distillation: rounds of training, each from new weights, on what the one before predicts of the training images.

J. M. Valverde et al., "TopoMortar: A dataset to evaluate image segmentation methods focused on topology accuracy",
BMVC 2025: three rounds of equal length within the whole number of iterations, which helped more with noisy labels than
most topology losses did. In the published code the learning-rate scheduler belongs to the first round's optimiser and
to the whole length, so that the first round ends at 0.0069 and the others keep 0.01; here it decays in each round.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import distributed

from nnunet_topo.nnunet.distillation.rounds import Round, Rounds, SchedulerOfRound
from nnunet_topo.nnunet.distillation.soft_loss import HandsSoftTargets, with_soft_targets
from nnunet_topo.nnunet.distillation.soft_prediction import predict_soft_targets
from nnunet_topo.nnunet.distillation.soft_targets import (
    AppendSoftTargets,
    TakeSoftTargets,
    WithSoftTargets,
    every_head,
    require_soft_targets,
    split_soft_targets,
)
from nnunet_topo.nnunet.training.checks import require_terms_in_time
from nnunet_topo.nnunet.training.compound_loss import CompoundLoss
from nnunet_topo.nnunet.training.trainer import TopologyTrainer

_KEY = "self_distillation"  # in a checkpoint's init_args


class SelfDistillationTrainer(nnUNetTrainer):
    """nnU-Net's trainer in rounds; before another trainer, ``class C(SelfDistillationTrainer, A)``, it mixes with it.

    The epochs are divided into ``ROUNDS`` rounds. After each but the last, the network predicts the training cases,
    with the mirroring of its validation; the next round starts from new weights and learns these probabilities with
    nnU-Net's own loss. Topology terms, and what decides where the ignore label is, see label maps: those that the
    probabilities stand for, with the data set's ignored voxels. Validation, and which foreground patches are centred
    on, keep to the data set's labels. Within a round the learning rate decays as in a training of its length, and terms
    begin and rise. New weights are nnU-Net's initialisation, also where the first round had pretrained ones.

    The probabilities lie in the fold's folder, ``soft_targets/round_2`` and so on, until the next round has its own. A
    checkpoint is kept at the end of each round, so that a training that was killed can go on anywhere.

    Raises:
        ValueError: fewer epochs than rounds.
        NotImplementedError: the trainer's own loss does not take probabilities; before the first epoch.
    """

    ROUNDS = 3
    _soft_targets: Path | None = None  # what the training loader reads; None for the data set's labels
    _hands: HandsSoftTargets
    num_epochs: int
    optimizer: Any
    lr_scheduler: Any
    grad_scaler: Any

    @property
    def rounds(self) -> Rounds:
        return Rounds(self.num_epochs, self.ROUNDS)  # made each time, since num_epochs may be set at any time

    @property
    def _soft_channels(self) -> int:
        manager = self.label_manager
        return manager.num_segmentation_heads - (0 if manager.has_regions else 1)

    def _build_loss(self) -> Any:
        order = type(self).__mro__
        if TopologyTrainer in order and order.index(TopologyTrainer) < order.index(SelfDistillationTrainer):
            raise TypeError(f"{type(self).__name__} must name SelfDistillationTrainer before the other trainers that "
                            "it derives from, since self-distillation works around all that they do.")
        loss: Any = super()._build_loss()
        if isinstance(loss, CompoundLoss):
            loss.base = self._hands = with_soft_targets(loss.base, type(self).__name__)
        else:
            loss = self._hands = with_soft_targets(loss, type(self).__name__)
        return loss

    def configure_optimizers(self) -> tuple[Any, Any]:
        """As the trainer's own, of a training as long as the round."""
        whole, part = self.num_epochs, self.rounds.at(self.current_epoch)
        self.num_epochs = part.length
        try:
            optimizer, scheduler = super().configure_optimizers()
        finally:
            self.num_epochs = whole
        return optimizer, SchedulerOfRound(scheduler, part.start)

    def load_checkpoint(self, filename_or_checkpoint: dict | str) -> None:
        super().load_checkpoint(filename_or_checkpoint)
        state = self.optimizer.state_dict()
        self.optimizer, self.lr_scheduler = self.configure_optimizers()  # of the round that is known only now
        self.optimizer.load_state_dict(state)

    def on_train_start(self) -> None:
        rounds = self.rounds
        settings = {"rounds": rounds.count, "epochs": rounds.epochs}
        before = self.my_init_kwargs.setdefault(_KEY, settings)
        if before != settings:
            raise RuntimeError(f"This training was started with {before['rounds']} rounds in {before['epochs']} epochs "
                               f"and cannot be continued with {rounds.count} rounds in {rounds.epochs} epochs, which "
                               "begin elsewhere. Continue it as it was started, or train this fold from the start.")
        require_terms_in_time(getattr(self, "terms", {}), rounds[0].length, "each round of this training")
        part = rounds.at(self.current_epoch)
        self._soft_targets = None
        if part.index > 0 and part.start < self.current_epoch < self.num_epochs:
            self._soft_targets = require_soft_targets(self._folder_of(part), self.do_split()[0])
        super().on_train_start()

    def on_epoch_start(self) -> None:
        super().on_epoch_start()
        part = self.rounds.at(self.current_epoch)
        if part.index > 0 and part.start == self.current_epoch:
            self._begin(part)

    def _begin(self, part: Round) -> None:
        """Let the network predict what this round learns, and start afresh; the same after a kill as without one."""
        self._finish_loaders()
        self.print_to_log_file(f"Self-distillation: the network of round {part.index} predicts its training cases.")
        self._soft_targets = self._folder_of(part)
        predict_soft_targets(self, self._soft_targets)
        if self.local_rank == 0:
            for other in self._soft_targets.parent.iterdir():
                if other.is_dir() and other != self._soft_targets:  # a file browser may leave files there
                    shutil.rmtree(other)
        self._start_anew()
        self.dataloader_train, self.dataloader_val = self.get_dataloaders()
        self.print_to_log_file(f"Self-distillation: round {part.index + 1} of {self.ROUNDS}, {part.length} epoch(s), "
                               "starts from new weights.")

    def _start_anew(self) -> None:
        network: Any = self.network.module if self.is_ddp else self.network
        network = getattr(network, "_orig_mod", network)  # under torch.compile
        network.load_state_dict(self._new_network().state_dict())
        if self.is_ddp:
            for tensor in network.state_dict().values():
                distributed.broadcast(tensor, 0)
        self.optimizer, self.lr_scheduler = self.configure_optimizers()
        if self.grad_scaler is not None:
            self.grad_scaler = type(self.grad_scaler)()
        self._best_ema = None

    def _new_network(self) -> torch.nn.Module:
        settings = self.configuration_manager
        what: tuple[Any, ...] = (self.plans_manager, settings)
        if "plans_manager" not in inspect.signature(self.build_network_architecture).parameters:  # nnU-Net's old way
            what = (settings.network_arch_class_name, settings.network_arch_init_kwargs,
                    settings.network_arch_init_kwargs_req_import)
        return self.build_network_architecture(*what, self.num_input_channels,
                                               self.label_manager.num_segmentation_heads, self.enable_deep_supervision)

    def _finish_loaders(self) -> None:
        for loader in (self.dataloader_train, self.dataloader_val):
            if hasattr(loader, "_finish"):  # it has worker processes
                with contextlib.redirect_stdout(io.StringIO()):
                    loader._finish()

    def _folder_of(self, part: Round) -> Path:
        return Path(self.output_folder) / "soft_targets" / f"round_{part.index + 1}"

    def get_tr_and_val_datasets(self) -> tuple[Any, Any]:
        training, validation = super().get_tr_and_val_datasets()
        return training if self._soft_targets is None else WithSoftTargets(training, self._soft_targets), validation

    def get_training_transforms(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        transforms = super().get_training_transforms(*args, **kwargs)
        if self._soft_targets is None:
            return transforms
        return ComposeTransforms([TakeSoftTargets(self._soft_channels), transforms, AppendSoftTargets()])

    def train_step(self, batch: dict) -> dict:
        if self._soft_targets is None:
            return super().train_step(batch)
        regions, target = self.label_manager.has_regions, batch["target"]
        pairs = [split_soft_targets(level, self._soft_channels, has_regions=regions)
                 for level in (target if isinstance(target, list) else [target])]
        own = [level for level, _ in pairs]
        soft = [every_head(level.to(self.device, non_blocking=True), has_regions=regions) for _, level in pairs]
        self._hands.soft = soft if isinstance(target, list) else soft[0]
        try:
            return super().train_step({**batch, "target": own if isinstance(target, list) else own[0]})
        finally:
            self._hands.soft = None

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        if isinstance(self.loss, CompoundLoss):
            self.loss.epoch = self.current_epoch - self.rounds.at(self.current_epoch).start

    def on_validation_epoch_end(self, val_outputs: list[dict]) -> None:
        super().on_validation_epoch_end(val_outputs)
        if self.current_epoch == self.rounds.at(self.current_epoch).start:
            # nnU-Net's moving average starts afresh too, so that the round's first network is not kept as its best
            self.logger.log("ema_fg_dice", self.logger.get_value("mean_fg_dice", step=-1), self.current_epoch)

    def on_epoch_end(self) -> None:
        super().on_epoch_end()
        done = self.current_epoch
        if done < self.num_epochs and done == self.rounds.at(done).start and done % self.save_every != 0:
            # from here on the targets of this round are not needed again
            self.current_epoch -= 1  # nnU-Net saves the number of the next epoch
            self.save_checkpoint(os.path.join(self.output_folder, "checkpoint_latest.pth"))
            self.current_epoch += 1

    def on_train_end(self) -> None:
        super().on_train_end()
        if self.local_rank == 0:
            shutil.rmtree(Path(self.output_folder) / "soft_targets", ignore_errors=True)
