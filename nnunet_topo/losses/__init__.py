"""Topology losses: one file each, a pure function and a thin Module."""

from nnunet_topo.losses.betti_matching import BettiMatchingLoss
from nnunet_topo.losses.cl_dice import ClDiceLoss, cl_dice_loss
from nnunet_topo.losses.skeleton_recall import SkeletonRecallLoss, skeleton_recall_loss
from nnunet_topo.losses.topo_loss import TopoLoss
from nnunet_topo.losses.warping import WarpingLoss

__all__ = [
    "BettiMatchingLoss",
    "ClDiceLoss",
    "SkeletonRecallLoss",
    "TopoLoss",
    "WarpingLoss",
    "cl_dice_loss",
    "skeleton_recall_loss",
]
