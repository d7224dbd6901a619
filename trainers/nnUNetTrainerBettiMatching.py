"""nnUNetv2_train ID CONFIGURATION FOLD -tr nnUNetTrainerBettiMatching"""

from nnunet_topo.losses import BettiMatchingLoss
from nnunet_topo.nnunet import Term, TopologyTrainer


class nnUNetTrainerBettiMatching(TopologyTrainer):
    """nnU-Net's own loss plus Betti matching (Stucki et al., ICML 2023): features counted where they lie."""

    # nothing of the first predictions' topology is worth matching
    betti_matching = Term(BettiMatchingLoss, start_epoch=50, ramp_epochs=50)
