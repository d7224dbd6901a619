"""nnUNetv2_train ID CONFIGURATION FOLD -tr nnUNetTrainerTopograph"""

from nnunet_topo.losses import TopographLoss
from nnunet_topo.nnunet import Term, TopologyTrainer


class nnUNetTrainerTopograph(TopologyTrainer):
    """nnU-Net's own loss plus Topograph (Lux et al., ICLR 2025): no region of errors may change the topology."""

    # the first predictions are wrong in regions of all sizes, most of which say nothing about the topology
    topograph = Term(TopographLoss, start_epoch=50, ramp_epochs=50)
