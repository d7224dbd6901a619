"""nnUNetv2_train ID CONFIGURATION FOLD -tr nnUNetTrainerTopoLoss"""

from nnunet_topo.losses import TopoLoss
from nnunet_topo.nnunet import Term, TopologyTrainer


class nnUNetTrainerTopoLoss(TopologyTrainer):
    """nnU-Net's own loss plus TopoLoss (Hu et al., NeurIPS 2019): as many features as the label has."""

    # the first predictions have hundreds of features, of which it would keep the wrong ones
    topo = Term(TopoLoss, start_epoch=50, ramp_epochs=50)
