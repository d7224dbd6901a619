"""nnUNetv2_train ID CONFIGURATION FOLD -tr nnUNetTrainerSCNP"""

from nnunet_topo.losses import SCNPLoss
from nnunet_topo.nnunet import Term, TopologyTrainer


class nnUNetTrainerSCNP(TopologyTrainer):
    """nnU-Net's own loss of logits where a voxel is as bad as its worst neighbour (Valverde et al., CVPR 2026)."""

    scnp = Term(SCNPLoss, levels=None)
