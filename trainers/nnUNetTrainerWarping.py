"""nnUNetv2_train ID CONFIGURATION FOLD -tr nnUNetTrainerWarping"""

from nnunet_topo.losses import WarpingLoss
from nnunet_topo.nnunet import Term, TopologyTrainer


class nnUNetTrainerWarping(TopologyTrainer):
    """nnU-Net's own loss plus Warping (Hu, NeurIPS 2022): more weight for the voxels on which the topology turns."""

    # the first predictions differ from the labels nearly everywhere
    warping = Term(WarpingLoss, start_epoch=50, ramp_epochs=50)
