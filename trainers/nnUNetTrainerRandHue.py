"""nnUNetv2_train ID CONFIGURATION FOLD -tr nnUNetTrainerRandHue"""

from nnunet_topo.nnunet.training.rand_hue import RandHueTrainer


class nnUNetTrainerRandHue(RandHueTrainer):
    """nnU-Net's own loss, and colours drawn at random in half of the training patches (Valverde et al., BMVC 2025)."""
