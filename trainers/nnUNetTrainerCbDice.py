"""nnUNetv2_train ID CONFIGURATION FOLD -tr nnUNetTrainerCbDice"""

from nnunet_topo.losses import CbDiceLoss
from nnunet_topo.nnunet import Term, TopologyTrainer


class nnUNetTrainerCbDice(TopologyTrainer):
    """nnU-Net's own loss plus cbDice (Shi et al., MICCAI 2024): thin and thick vessels alike, centre and width."""

    cb_dice = Term(CbDiceLoss)
