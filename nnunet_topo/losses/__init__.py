"""Topology losses: one file each, with a Module and, for most, the function of tensors that it calls."""

from nnunet_topo.losses.betti_matching import BettiMatchingLoss
from nnunet_topo.losses.cb_dice import CbDiceLoss, cb_dice_loss
from nnunet_topo.losses.cl_ce import ClCELoss, cl_ce_loss
from nnunet_topo.losses.cl_dice import ClDiceLoss, cl_dice_loss
from nnunet_topo.losses.contract import TopologyLoss
from nnunet_topo.losses.critical_components import CriticalComponentsLoss
from nnunet_topo.losses.mip import MIPLoss, mip_loss
from nnunet_topo.losses.scnp import SCNPLoss, scnp_logits
from nnunet_topo.losses.skeleton_recall import SkeletonRecallLoss, skeleton_recall_loss
from nnunet_topo.losses.topo import TopoLoss
from nnunet_topo.losses.topograph import TopographLoss
from nnunet_topo.losses.topological_interaction import TopologicalInteractionLoss
from nnunet_topo.losses.warping import WarpingLoss

__all__ = [
    "BettiMatchingLoss",
    "CbDiceLoss",
    "ClCELoss",
    "ClDiceLoss",
    "CriticalComponentsLoss",
    "MIPLoss",
    "SCNPLoss",
    "SkeletonRecallLoss",
    "TopoLoss",
    "TopographLoss",
    "TopologicalInteractionLoss",
    "TopologyLoss",
    "WarpingLoss",
    "cb_dice_loss",
    "cl_ce_loss",
    "cl_dice_loss",
    "mip_loss",
    "scnp_logits",
    "skeleton_recall_loss",
]
