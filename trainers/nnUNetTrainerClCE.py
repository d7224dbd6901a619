"""nnUNetv2_train ID CONFIGURATION FOLD -tr nnUNetTrainerClCE"""

from nnunet_topo.losses import ClCELoss
from nnunet_topo.nnunet import Term, TopologyTrainer


class nnUNetTrainerClCE(TopologyTrainer):
    """nnU-Net's own loss plus the cross-entropy along centrelines (Acebes et al., MICCAI 2024)."""

    # the sum of two cross-entropies, half of each
    cl_ce = Term(ClCELoss, weight=0.5)
