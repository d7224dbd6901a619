"""nnUNetv2_train ID CONFIGURATION FOLD -tr nnUNetTrainerClDice"""

from nnunet_topo.losses import ClDiceLoss
from nnunet_topo.nnunet import Term, TopologyTrainer


class nnUNetTrainerClDice(TopologyTrainer):
    """nnU-Net's own loss plus clDice (Shit et al., CVPR 2021): vessels and roads that stay connected."""

    cl_dice = Term(ClDiceLoss)
