"""What evaluation reports: one function a metric, called with prediction and reference."""

from nnunet_topo.metrics.betti import betti_error
from nnunet_topo.metrics.overlap import dice

__all__ = ["betti_error", "dice"]
