"""The only part of the package that knows nnU-Net: trainer, compound loss, settings, data."""

from nnunet_topo.nnunet.compound_loss import CompoundLoss
from nnunet_topo.nnunet.terms import Term
from nnunet_topo.nnunet.trainer import TopologyTrainer

__all__ = ["CompoundLoss", "Term", "TopologyTrainer"]
