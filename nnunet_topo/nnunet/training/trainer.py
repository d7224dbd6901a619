"""The trainer that all trainers of the package derive from: nnU-Net's own, plus topology terms in its loss."""

from __future__ import annotations

from pathlib import Path
from time import time
from typing import Any

import numpy as np
import torch
import torch.distributed
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from nnunetv2.paths import nnUNet_preprocessed, nnUNet_results
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_topo.files import written_at_once
from nnunet_topo.losses import TopologyLoss
from nnunet_topo.nnunet.training.checks import (
    require_axes,
    require_classes,
    require_path,
    require_room,
    require_stages,
    require_terms_in_time,
    require_writable,
)
from nnunet_topo.nnunet.training.compound_loss import CompoundLoss
from nnunet_topo.nnunet.training.label_settings import settings_from_labels
from nnunet_topo.nnunet.training.prepared_targets import PreparedTargets, split_target
from nnunet_topo.nnunet.training.progress import plot_parts
from nnunet_topo.nnunet.training.terms import PLANS_KEY, Term, declared_terms, resolve_terms
from nnunet_topo.nnunet.training.validation import write_validation_summary

# Under mixed precision a batch may overflow and the gradient scaler skips it, so one bad batch does no harm there.
_PATIENCE_WITH_SCALER = 10


class TopologyTrainer(nnUNetTrainer):
    """nnU-Net's trainer with topology terms added to its loss.

    A subclass declares its terms as class attributes (:class:`~nnunet_topo.nnunet.training.terms.Term`); trainers
    combine by inheritance, ``class A_B(A, B): pass``. Everything else is nnU-Net's: planning, data, network,
    optimiser, base loss, validation, files. Beside nnU-Net's files the fold's folder holds ``progress_topology.png``
    and, once validated, ``validation/summary_topology.json``; the resolved settings stand in the log and in the
    checkpoints (``init_args["nnunet_topo"]``).
    """

    loss: CompoundLoss

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008 - nnU-Net's signature, which it inspects
    ) -> None:
        self.terms: dict[str, Term] = resolve_terms(declared_terms(type(self)), plans, configuration)
        axes = len(PlansManager(plans).get_configuration(configuration).patch_size)
        require_axes(axes, self.terms, type(self).__name__)
        labels = PlansManager(plans).get_label_manager(dataset_json)
        require_classes(len(labels.foreground_labels or []), labels.has_regions, self.terms, type(self).__name__)
        for variable in (nnUNet_preprocessed, nnUNet_results):
            require_path(variable.env_var_name)
        require_writable(nnUNet_results.require())
        super().__init__(plans, configuration, fold, dataset_json, device)
        self._settings_of_checkpoint: dict[str, Any] | None = None
        self._not_finite_in_a_row = 0
        self._said: set[str] = set()
        for key in self._log_keys():
            self.logger.local_logger.my_fantastic_logging[key] = []

    def _build_loss(self) -> CompoundLoss:  # type: ignore[override]
        if self.enable_deep_supervision:
            require_stages(len(self._get_deep_supervision_scales()) + 1, type(self).__name__)
        base = super()._build_loss()
        self.terms = settings_from_labels(self, self.terms)
        self.my_init_kwargs[PLANS_KEY] = {name: term.settings() for name, term in self.terms.items()}
        for name, settings in self.my_init_kwargs[PLANS_KEY].items():
            self.print_to_log_file(f"Topology term {name}: {settings}")
        return CompoundLoss(
            base,
            self.terms,
            level_weights=base.weight_factors if isinstance(base, DeepSupervisionWrapper) else [1.0],
            has_regions=self.label_manager.has_regions,
            ignore_label=self.label_manager.ignore_label,
        )

    def on_train_start(self) -> None:
        self._refuse_other_settings()
        require_terms_in_time(self.terms, self.num_epochs)
        super().on_train_start()
        self._compile_kernels()
        parameters = sum(parameter.numel() for parameter in self.network.parameters())
        # weights and momentum in float32, for the best, the latest and the final checkpoint
        require_room(self.output_folder, 3 * 2 * 4 * parameters)

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.loss.epoch = self.current_epoch
        self.loss.take_means()

    def get_training_transforms(self, patch_size: Any, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        return self._with_prepared_targets(super().get_training_transforms(patch_size, *args, **kwargs))

    def get_validation_transforms(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        return self._with_prepared_targets(super().get_validation_transforms(*args, **kwargs))

    def _with_prepared_targets(self, transforms: Any) -> Any:
        manager = self.label_manager
        prepare = PreparedTargets(
            self.terms,
            ignore_label=None if manager.has_regions else manager.ignore_label,
            region_channels=len(manager.foreground_regions) if manager.has_regions else None,
        )
        if not prepare.terms:
            return transforms
        prepare.compile(len(self.configuration_manager.patch_size))
        return ComposeTransforms([transforms, prepare])

    def _take_prepared(self, batch: dict) -> dict:
        """The batch with nnU-Net's targets alone; what the loader made for the terms goes to the loss."""
        if not self.loss.preparing(0):
            return batch
        manager, target = self.label_manager, batch["target"]
        own = len(manager.foreground_regions) + int(manager.has_ignore_label) if manager.has_regions else 1
        pairs = [split_target(level, own, self.loss.preparing(i))
                 for i, level in enumerate(target if isinstance(target, list) else [target])]
        self.loss.prepared = [{name: tensor.to(self.device, non_blocking=True) for name, tensor in made.items()}
                              for _, made in pairs]
        return {**batch, "target": [own for own, _ in pairs] if isinstance(target, list) else pairs[0][0]}

    def validation_step(self, batch: dict) -> dict:
        return super().validation_step(self._take_prepared(batch))

    def train_step(self, batch: dict) -> dict:
        result = super().train_step(self._take_prepared(batch))
        self._stop_if_not_finite(float(result["loss"]))
        return result

    def on_train_epoch_end(self, train_outputs: list[dict]) -> None:
        super().on_train_epoch_end(train_outputs)
        self._log_parts("train")
        for name, term in self.terms.items():
            self.logger.log(_key("weight", name), term.weight_at(self.loss.epoch), self.current_epoch)

    def on_validation_epoch_end(self, val_outputs: list[dict]) -> None:
        super().on_validation_epoch_end(val_outputs)
        self._log_parts("validation")

    def on_epoch_end(self) -> None:
        log = self.logger.local_logger.my_fantastic_logging
        for split in ("train", "validation"):
            parts = {name: round(log[_key(split, name)][-1], 4) for name in self.loss.part_names}
            self.print_to_log_file(f"Parts of the {split} loss, unweighted: {parts}")
        for sentence in self.loss.notices():
            if sentence not in self._said:
                self._said.add(sentence)
                self.print_to_log_file(f"NOTE: {sentence}")
        super().on_epoch_end()
        if self.local_rank == 0:
            plot_parts(
                Path(self.output_folder) / "progress_topology.png",
                {name: log[_key("train", name)] for name in self.loss.part_names},
                {name: log[_key("validation", name)] for name in self.loss.part_names},
                {name: log[_key("weight", name)] for name in self.terms},
            )

    def save_checkpoint(self, filename: str) -> None:
        """As nnU-Net's, but a full disk or a kill while writing leaves the previous checkpoint whole."""
        if self.local_rank != 0 or self.disable_checkpointing:
            super().save_checkpoint(filename)
            return
        with written_at_once(filename) as temporary:
            super().save_checkpoint(str(temporary))

    def load_checkpoint(self, filename_or_checkpoint: dict | str) -> None:
        super().load_checkpoint(filename_or_checkpoint)
        self._settings_of_checkpoint = self.my_init_kwargs.get(PLANS_KEY)
        log = self.logger.local_logger.my_fantastic_logging
        for key in self._log_keys():  # a key that is short of values would empty nnU-Net's progress.png
            log.setdefault(key, []).extend([float("nan")] * (self.current_epoch - len(log.get(key, []))))

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """As nnU-Net's, and ``summary_topology.json`` beside its ``summary.json``."""
        super().perform_actual_validation(save_probabilities)
        if self.local_rank == 0:
            write_validation_summary(self)

    def _compile_kernels(self) -> None:
        """What terms compile at their first use, before the first epoch's clock runs."""
        for name, term in self.loss.terms.items():
            if type(term).compile_kernels is TopologyLoss.compile_kernels or self.terms[name].weight == 0:
                continue
            self.print_to_log_file(f"{name}: compiling; up to a minute once on a machine, later read from the disk.")
            start = time()
            term.compile_kernels(len(self.configuration_manager.patch_size))
            self.print_to_log_file(f"{name}: ready after {time() - start:.1f} s.")

    def _refuse_other_settings(self) -> None:
        before = self._settings_of_checkpoint
        if before is None:
            return
        now = {name: term.settings() for name, term in self.terms.items()}
        flat_before, flat_now = _flat(before), _flat(now)
        changed = [f"{key}: {flat_before.get(key, 'not there')} -> {flat_now.get(key, 'not there')}"
                   for key in sorted(flat_before.keys() | flat_now.keys())
                   if flat_before.get(key) != flat_now.get(key)]
        if changed:
            raise RuntimeError(
                f"This training was started with other topology settings ({'; '.join(changed)}), so continuing it with "
                f"--c would mix two losses. Restore the settings in the plans' {PLANS_KEY!r} entry, or train under "
                "another plans name (its own plans file and plans_name)."
            )

    def _stop_if_not_finite(self, loss: float) -> None:
        self._not_finite_in_a_row = 0 if np.isfinite(loss) else self._not_finite_in_a_row + 1
        if self._not_finite_in_a_row >= (_PATIENCE_WITH_SCALER if self.grad_scaler is not None else 1):
            raise FloatingPointError(
                f"The loss is not finite (NaN or infinity) in {self._not_finite_in_a_row} batches in a row, epoch "
                f"{self.current_epoch}. Look for NaN in the preprocessed images, lower the learning rate "
                "('initial_lr'), and continue from the last checkpoint with --c."
            )

    def _log_parts(self, split: str) -> None:
        means = self.loss.take_means()
        if self.is_ddp:
            gathered: list[Any] = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(gathered, means)
            means = {name: float(np.mean([rank[name] for rank in gathered])) for name in means}
        for name, value in means.items():
            self.logger.log(_key(split, name), value, self.current_epoch)

    def _log_keys(self) -> list[str]:
        parts = [_key(split, name) for split in ("train", "validation") for name in ("base", *self.terms)]
        return parts + [_key("weight", name) for name in self.terms]


def _key(split: str, part: str) -> str:
    return f"topology/{split}/{part}"


def _flat(settings: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {f"{term}.{name}": value for term, options in settings.items() for name, value in options.items()}
