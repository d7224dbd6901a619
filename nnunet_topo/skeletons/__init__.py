"""Skeletons of probability maps and of masks, in 2D and 3D."""

from nnunet_topo.skeletons.soft import soft_skeleton, soft_skeleton_iterations, soft_skeleton_of_mask

__all__ = ["soft_skeleton", "soft_skeleton_iterations", "soft_skeleton_of_mask"]
