"""nnUNetv2_train ID CONFIGURATION FOLD -tr nnUNetTrainerInteraction"""

from nnunet_topo.losses import TopologicalInteractionLoss
from nnunet_topo.nnunet import Term, TopologyTrainer


class nnUNetTrainerInteraction(TopologyTrainer):
    """nnU-Net's own loss plus topological interactions (Gupta et al., ECCV 2022): what never touches in the training
    labels must not touch in predictions."""

    # the first predictions break all rules everywhere
    topological_interaction = Term(TopologicalInteractionLoss, start_epoch=50, ramp_epochs=50)
