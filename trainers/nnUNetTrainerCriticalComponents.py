"""nnUNetv2_train ID CONFIGURATION FOLD -tr nnUNetTrainerCriticalComponents"""

from nnunet_topo.losses import CriticalComponentsLoss
from nnunet_topo.nnunet import Term, TopologyTrainer


class nnUNetTrainerCriticalComponents(TopologyTrainer):
    """nnU-Net's own loss plus critical components (Grim et al., AAAI 2025): no error may split or merge components."""

    # the first predictions are wrong in regions of all sizes, most of which say nothing about the topology
    critical_components = Term(CriticalComponentsLoss, start_epoch=50, ramp_epochs=50)
