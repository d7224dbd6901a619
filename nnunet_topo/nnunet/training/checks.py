"""What must hold before a training starts; each check raises one sentence that says how to fix it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping

from nnunet_topo.nnunet.training.terms import Term


def require_path(variable: str) -> None:
    """An nnU-Net path variable is set."""
    if not os.environ.get(variable):
        raise RuntimeError(f"{variable} is not set, so nnU-Net does not know where to read or write. Set it, e.g. "
                           f"export {variable}=/path/to/{variable}, and run nnUNetv2_topo_doctor to check the rest.")


def require_writable(
    folder: str | os.PathLike[str], *, elsewhere: str = "let nnUNet_results point to another folder"
) -> None:
    """The folder exists or can be made, and a file can be written into it; ``elsewhere`` is how to take another."""
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"nnunet_topo")
            file.flush()
    except OSError as error:
        raise RuntimeError(f"The folder {os.fspath(folder)} cannot be written to ({error.strerror}), so this training "
                           f"could keep nothing. Make room or give write permission, or {elsewhere}.") from error


def require_room(folder: str | os.PathLike[str], bytes_needed: int) -> None:
    """The disk that holds the folder has room."""
    free = shutil.disk_usage(folder).free
    if free < bytes_needed:
        raise RuntimeError(f"The disk of {os.fspath(folder)} has {free / 1e6:.0f} MB free, but the checkpoints of this "
                           f"network need about {bytes_needed / 1e6:.0f} MB. Make room, or let nnUNet_results point to "
                           "another disk.")


def require_axes(axes: int, terms: Mapping[str, Term], trainer: str) -> None:
    """Every term works on patches of so many axes; those that a loss is for are its ``spatial_axes``."""
    for name, term in terms.items():
        supported = term.loss.spatial_axes
        if axes not in supported and term.weight > 0:
            needed = " or ".join(f"{number}D" for number in supported)
            raise ValueError(f"{trainer}: its term {name!r} ({term.loss.__name__}) is for {needed} configurations, but "
                             f"this one is {axes}D. Train a {needed} configuration (such as "
                             f"{'3d_fullres' if 3 in supported else '2d'}), or this one with another trainer.")


def require_classes(classes: int, has_regions: bool, terms: Mapping[str, Term], trainer: str) -> None:
    """Two classes or more, that do not overlap, where a loss has an attribute ``classes_only`` that is true."""
    for name, term in terms.items():
        if not term.loss.classes_only or term.weight == 0:
            continue
        what = f"{trainer}: its term {name!r} ({term.loss.__name__}) is about classes that touch each other, but"
        if has_regions:
            raise ValueError(f"{what} this data set has regions, which overlap. Train it with another trainer, or plan "
                             "it with classes.")
        if classes < 2:
            raise ValueError(f"{what} this data set has {classes} class beside the background, so that nothing "
                             "interacts. Train it with another trainer.")


def require_stages(stages: int, trainer: str) -> None:
    """Enough stages for nnU-Net's deep-supervision weights, which are 0/0 for two stages."""
    if stages < 3:
        raise RuntimeError(f"{trainer}: this configuration's network has {stages} stages. nnU-Net gives the coarsest "
                           "deep-supervision output the weight 0, so with fewer than 3 stages all weights are not a "
                           "number and nothing is learnt. Plan a network of at least 3 stages (a larger patch), or "
                           "switch deep supervision off (a trainer with enable_deep_supervision = False, e.g. combined "
                           "with nnUNetTrainerNoDeepSupervision).")


def require_terms_in_time(terms: Mapping[str, Term], epochs: int, what: str = "this training") -> None:
    """Every term that counts at all begins before the training, or what else has so many epochs, ends."""
    for name, term in terms.items():
        if term.weight > 0 and term.start_epoch >= epochs:
            raise RuntimeError(f"Term {name!r} begins in epoch {term.start_epoch}, but {what} has {epochs} "
                               "epoch(s), so it would never count. Set a smaller 'start_epoch' in the plans' "
                               "'nnunet_topo' entry (or weight 0), or train for longer.")
