"""The part of the package that calls nnU-Net: training, distillation, evaluation, its files and its data sets.

What is named here is imported when it is used, since nnU-Net's trainer takes seconds to import and a summary of an
evaluation, say, is read without it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnunet_topo.nnunet.evaluation.folders import evaluate_folder as evaluate_folder
    from nnunet_topo.nnunet.pipeline import predict as predict
    from nnunet_topo.nnunet.pipeline import train as train
    from nnunet_topo.nnunet.training.compound_loss import CompoundLoss as CompoundLoss
    from nnunet_topo.nnunet.training.terms import Term as Term
    from nnunet_topo.nnunet.training.trainer import TopologyTrainer as TopologyTrainer

_HOMES = {
    "CompoundLoss": "training.compound_loss",
    "Term": "training.terms",
    "TopologyTrainer": "training.trainer",
    "evaluate_folder": "evaluation.folders",
    "predict": "pipeline",
    "train": "pipeline",
}
__all__ = ["CompoundLoss", "Term", "TopologyTrainer", "evaluate_folder", "predict", "train"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
