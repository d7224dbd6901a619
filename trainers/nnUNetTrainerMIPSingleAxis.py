"""nnUNetv2_train ID 3D_CONFIGURATION FOLD -tr nnUNetTrainerMIPSingleAxis"""

from nnunet_topo.losses import MIPLoss
from nnunet_topo.nnunet import Term, TopologyTrainer


class nnUNetTrainerMIPSingleAxis(TopologyTrainer):
    """nnU-Net's own loss plus the MIP loss (SPOCKMIP, 2024) along the first axis of nnU-Net's patches.

    nnU-Net transposes images so that this is the axis of the largest spacing: the projection through the slices, which
    has the finest pixels and the shortest rays.
    """

    mip = Term(MIPLoss, options={"axes": (0,)})
