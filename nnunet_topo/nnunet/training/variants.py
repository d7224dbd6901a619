"""Variants of a trainer by its name: ``nnUNetTrainerClDice_NoMirroring``, ``nnUNetTrainerClDice_250epochs``, or both.

nnU-Net's idiom is ``class A_B(A, B): pass``, a file for each. Here the suffixes of a name say which variants, nnU-Net's
own, RandHue and self-distillation, are mixed in, so that no file is needed for each cross product. nnU-Net looks a
trainer up by asking modules for an attribute, which a module may make when it is asked (PEP 562); see
``trainers/_nnunet_topo_variants.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

_EPOCHS = re.compile(r"([1-9]\d{0,6})epochs?")
SUFFIXES = ("NoMirroring", "onlyMirror01", "NoDeepSupervision", "RandHue", "SelfDistillation")
_OURS = {"RandHue", "SelfDistillation"}  # with these nnU-Net's own trainer is varied too


def variant(name: str, trainer_named: Callable[[str], type | None]) -> type:
    """The trainer of a name ``TRAINER_SUFFIX...``, made from the trainer before the suffixes.

    Suffixes, each at most once and in any order: ``NoMirroring`` (for left and right, which a mirror image exchanges),
    ``onlyMirror01``, ``NoDeepSupervision``, as nnU-Net's variants of these names, ``RandHue``
    (:class:`~nnunet_topo.nnunet.training.rand_hue.RandHueTrainer`), ``SelfDistillation``
    (:class:`~nnunet_topo.nnunet.distillation.trainer.SelfDistillationTrainer`), and a number with ``epochs``. With one
    of ours, ``RandHue`` or ``SelfDistillation``, nnU-Net's own ``nnUNetTrainer`` has variants too.

    Args:
        name: of the variant.
        trainer_named: gives the trainer class of a name, or None where there is none.

    Raises:
        AttributeError: the name is not a variant of a trainer; what a module raises for what it does not have.
    """
    base_name, *suffixes = name.split("_")
    kinds = ["epochs" if _EPOCHS.fullmatch(suffix) else suffix for suffix in suffixes]
    mirrored = [kind for kind in kinds if "mirror" in kind.lower()]
    if not kinds or len(set(kinds)) < len(kinds) or len(mirrored) > 1 or not set(kinds) <= {*SUFFIXES, "epochs"}:
        raise AttributeError(f"{name!r} is not a variant of a trainer; suffixes are {', '.join(SUFFIXES)}, 250epochs, "
                             "...")
    plain = base_name == nnUNetTrainer.__name__ and _OURS & set(kinds)
    base = nnUNetTrainer if plain else trainer_named(base_name)
    if base is None:
        raise AttributeError(f"{name!r} is not a variant of a trainer of this package.")
    epochs = [int(match[1]) for suffix in suffixes if (match := _EPOCHS.fullmatch(suffix))]
    around, behind = _mixed_in(suffixes)
    if any(issubclass(base, parent) for parent in (*around, *behind)):
        raise AttributeError(f"{name!r}: {base_name} has one of these suffixes already.")
    parents = (*around, *behind) if plain else (*around, base, *behind)  # which all derive from nnU-Net's own
    body = {"__module__": __name__, "__doc__": f"{base.__doc__}\n\nAs {base_name}, with {', '.join(suffixes)}."}
    result = type(name, parents, body)
    if epochs:
        result.__init__ = _init_with_epochs(result, epochs[0])  # type: ignore[misc]
    return result


def _mixed_in(suffixes: Sequence[str]) -> tuple[list[type], list[type]]:
    """The classes of these suffixes: those that work around the trainer, and those that it works around."""
    from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerNoMirroring import (
        nnUNetTrainer_onlyMirror01,
        nnUNetTrainerNoMirroring,
    )
    from nnunetv2.training.nnUNetTrainer.variants.network_architecture.nnUNetTrainerNoDeepSupervision import (
        nnUNetTrainerNoDeepSupervision,
    )

    from nnunet_topo.nnunet.distillation.trainer import SelfDistillationTrainer
    from nnunet_topo.nnunet.training.rand_hue import RandHueTrainer

    classes = dict(zip(SUFFIXES, (nnUNetTrainerNoMirroring, nnUNetTrainer_onlyMirror01, nnUNetTrainerNoDeepSupervision,
                                  RandHueTrainer, SelfDistillationTrainer), strict=True))
    chosen = [classes[suffix] for suffix in suffixes if suffix in classes]
    return ([cls for cls in chosen if cls is SelfDistillationTrainer],
            [cls for cls in chosen if cls is not SelfDistillationTrainer])


def _init_with_epochs(cls: type, epochs: int) -> Callable[..., None]:
    def __init__(  # noqa: N807 - it becomes the class's
        self: nnUNetTrainer,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008 - nnU-Net's signature, which it inspects
    ) -> None:
        super(cls, self).__init__(plans, configuration, fold, dataset_json, device)  # type: ignore[arg-type, misc]
        self.num_epochs = epochs

    return __init__
