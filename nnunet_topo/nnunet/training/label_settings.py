"""Settings that the training labels decide: read from the preprocessed data set, once."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed
from nnunetv2.configuration import default_num_processes
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_topo.fingerprint import Case, LabelFingerprint, MapMeasure, Measure, measure_labels
from nnunet_topo.nnunet.training.contact_rules import contacts_of, described, learn_rules
from nnunet_topo.nnunet.training.terms import Term


def settings_from_labels(trainer: nnUNetTrainer, terms: dict[str, Term]) -> dict[str, Term]:
    """Fill the options that are None and that a loss wants from the labels (its ``from_labels``).

    Also checks that no training label map holds a value that dataset.json does not name.
    """
    measures: dict[str, Measure] = {_name(function): function for term in terms.values()
                                    for function, _, _ in _wanted(term).values()}
    learning = {name for name, term in terms.items() if _learns_rules(term)}
    fingerprint = _on_first_rank(trainer, measures, {"contacts": _contacts(trainer)} if learning else {})
    _refuse_foreign_labels(trainer, fingerprint)
    filled = {name: _filled(trainer, name, term, fingerprint) for name, term in terms.items()}
    return {name: _with_rules(trainer, name, term, fingerprint) if name in learning else term
            for name, term in filled.items()}


def _filled(trainer: nnUNetTrainer, name: str, term: Term, fingerprint: LabelFingerprint) -> Term:
    options: dict[str, Any] = dict(term.options)
    for option, (function, low, high) in _wanted(term).items():
        value, case, region = fingerprint.largest(_name(function))
        options[option] = min(max(value, low), high)
        trainer.print_to_log_file(f"{name}.{option} = {options[option]}, from the training labels: the largest need is "
                                  f"{value} (label {region} of {case}), bounded to {low}..{high}.")
        if value > high:
            trainer.print_to_log_file(
                f"NOTE: {name}.{option}: label {region} of {case} needs {value}, more than the bound of {high}; its "
                f"thick parts are not scored by this term. Set it in the plans, "
                f'"nnunet_topo": {{"{name}": {{"{option}": {value}}}}}, if they matter; the cost grows with it.')
    return replace(term, options=options)


def _wanted(term: Term) -> dict[str, tuple[Measure, int, int]]:
    """Options that are None and that the loss takes from the labels, with their measure and its bounds."""
    settings = term.settings()
    return {option: rule for option, rule in term.loss.from_labels(settings).items() if settings[option] is None}


def _learns_rules(term: Term) -> bool:
    return term.loss.rules_from_labels and term.weight > 0 and term.settings()["apart"] is None


def _contacts(trainer: nnUNetTrainer) -> MapMeasure:
    manager = trainer.label_manager
    return partial(contacts_of, classes=1 + len(manager.foreground_labels), ignored=manager.ignore_label,
                   in_slices=len(trainer.configuration_manager.patch_size) == 2)


def _with_rules(trainer: nnUNetTrainer, name: str, term: Term, fingerprint: LabelFingerprint) -> Term:
    """The rules that hold in all training cases, with the number of cases, in the log and in the term."""
    settings, classes = term.settings(), 1 + len(trainer.label_manager.foreground_labels)
    flat = len(trainer.configuration_manager.patch_size) == 2
    spacing = settings["spacing"] or (None if flat else tuple(map(float, trainer.configuration_manager.spacing)))
    rules, slips = learn_rules(fingerprint.of_maps["contacts"], fingerprint.labels, classes,
                               spacing=spacing, min_cases=settings["min_cases"])
    for sentence in described(rules, classes):
        trainer.print_to_log_file(f"{name}: {sentence}.")
    for sentence in slips:
        trainer.print_to_log_file(f"NOTE: {name}: {sentence}")
    if not rules and not settings["enclosed"]:
        raise RuntimeError(f"{name}: in the {len(fingerprint.labels)} training cases no two labels that occur together "
                           f"in {settings['min_cases']} of them or more never touch, so there is no rule to train "
                           "with. Lower 'min_cases', give rules by hand as 'apart' or 'enclosed' in the plans' "
                           "'nnunet_topo' entry, or take another trainer.")
    apart = tuple((*rule.labels, rule.reach) for rule in rules)
    trainer.print_to_log_file(f"{name}: to train with these rules again, whatever the labels, set "
                              f'"nnunet_topo": {{"{name}": {{"apart": {json.dumps(apart)}}}}} in the plans.')
    return replace(term, options={**term.options, "apart": apart, "spacing": spacing})


def _on_first_rank(
    trainer: nnUNetTrainer, measures: dict[str, Measure], of_maps: dict[str, MapMeasure]
) -> LabelFingerprint:
    if not trainer.is_ddp:
        return _fingerprint(trainer, measures, of_maps)
    result: list[Any] = [_fingerprint(trainer, measures, of_maps) if trainer.local_rank == 0 else None]
    torch.distributed.broadcast_object_list(result, src=0)
    return result[0]


def _fingerprint(
    trainer: nnUNetTrainer, measures: dict[str, Measure], of_maps: dict[str, MapMeasure]
) -> LabelFingerprint:
    folder = Path(trainer.preprocessed_dataset_folder)
    if not folder.is_dir():
        raise RuntimeError(f"The preprocessed data {folder} do not exist. Run nnUNetv2_plan_and_preprocess for this "
                           f"dataset and configuration {trainer.configuration_name!r} first.")
    dataset = infer_dataset_class(str(folder))(str(folder))
    manager = trainer.label_manager

    def read(case: str) -> np.ndarray:
        return np.asarray(dataset.load_case(case)[1][:])[0]

    # beside nnU-Net's files: a further file type inside the configuration's folder would confuse its dataset class
    cache = folder.parent / f"nnunet_topo_labels__{folder.name}__{len(trainer.configuration_manager.patch_size)}d.json"
    return measure_labels(
        [Case(case, _stamp(folder, case), lambda case=case: read(case)) for case in dataset.identifiers],  # type: ignore[misc]
        manager.foreground_regions if manager.has_regions else manager.foreground_labels,
        measures,
        cache=cache,
        per_slice=len(trainer.configuration_manager.patch_size) == 2,
        threads=default_num_processes,
        say=trainer.print_to_log_file,
        of_maps=of_maps,
    )


def _stamp(folder: Path, case: str) -> list[int]:
    """Size and time of the files that may hold the case's label map."""
    files = [folder / f"{case}_seg.b2nd", folder / f"{case}.npz"]
    return [number for file in files if file.exists() for number in (file.stat().st_size, file.stat().st_mtime_ns)]


def _refuse_foreign_labels(trainer: nnUNetTrainer, fingerprint: LabelFingerprint) -> None:
    manager = trainer.label_manager
    ignore = [] if manager.ignore_label is None else [manager.ignore_label]
    foreign = fingerprint.foreign_labels([-1, *manager.all_labels, *ignore])  # -1: outside of nnU-Net's nonzero mask
    if foreign:
        case, labels = next(iter(foreign.items()))
        raise ValueError(
            f"{len(foreign)} training case(s) hold labels that dataset.json does not name: {case} holds {labels}, "
            f"dataset.json names {manager.all_labels + ignore}. Correct the label files or dataset.json, then run "
            "nnUNetv2_plan_and_preprocess --verify_dataset_integrity again."
        )


def _name(function: Measure) -> str:
    return function.__name__
