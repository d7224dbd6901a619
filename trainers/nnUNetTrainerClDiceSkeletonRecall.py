"""nnUNetv2_train ID CONFIGURATION FOLD -tr nnUNetTrainerClDiceSkeletonRecall"""

from nnunet_topo.losses import ClDiceLoss, SkeletonRecallLoss
from nnunet_topo.nnunet import Term, TopologyTrainer


class nnUNetTrainerClDiceSkeletonRecall(TopologyTrainer):
    """nnU-Net's own loss plus clDice and Skeleton Recall, as WilliWillsWissen had it at TopCoW 2023."""

    cl_dice = Term(ClDiceLoss)
    skeleton_recall = Term(SkeletonRecallLoss)
