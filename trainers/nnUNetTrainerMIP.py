"""nnUNetv2_train ID 3D_CONFIGURATION FOLD -tr nnUNetTrainerMIP"""

from nnunet_topo.losses import MIPLoss
from nnunet_topo.nnunet import Term, TopologyTrainer


class nnUNetTrainerMIP(TopologyTrainer):
    """nnU-Net's own loss plus the MIP loss (SPOCKMIP, 2024) along all three axes: vessels whole in every projection."""

    mip = Term(MIPLoss)
