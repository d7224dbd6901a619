"""nnUNetv2_train ID CONFIGURATION FOLD -tr nnUNetTrainerSkeletonRecall"""

from nnunet_topo.losses import SkeletonRecallLoss
from nnunet_topo.nnunet import Term, TopologyTrainer


class nnUNetTrainerSkeletonRecall(TopologyTrainer):
    """nnU-Net's own loss plus Skeleton Recall (Kirchhoff et al., ECCV 2024): thin tubes found at hardly any cost."""

    skeleton_recall = Term(SkeletonRecallLoss)
