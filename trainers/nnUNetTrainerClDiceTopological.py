"""nnUNetv2_train ID CONFIGURATION FOLD -tr nnUNetTrainerClDiceTopological"""

from nnunet_topo.losses import ClDiceLoss
from nnunet_topo.nnunet import Term, TopologyTrainer


class nnUNetTrainerClDiceTopological(TopologyTrainer):
    """nnU-Net's own loss plus clDice on the skeleton that keeps topology (Menten et al., ICCV 2023)."""

    cl_dice = Term(ClDiceLoss, options={"skeleton": "topological"})
