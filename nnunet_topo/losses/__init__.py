"""Topology losses: one file each, a pure function and a thin Module."""

from nnunet_topo.losses.cl_dice import ClDiceLoss, cl_dice_loss

__all__ = ["ClDiceLoss", "cl_dice_loss"]
