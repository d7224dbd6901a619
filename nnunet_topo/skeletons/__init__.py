"""Skeletons of probability maps and of masks, in 2D and 3D."""

from nnunet_topo.skeletons.centred import centred_skeleton
from nnunet_topo.skeletons.soft import soft_skeleton, soft_skeleton_iterations, soft_skeleton_of_mask
from nnunet_topo.skeletons.thinning import thin
from nnunet_topo.skeletons.topological import TopologicalSkeleton
from nnunet_topo.skeletons.tubes import tubed_skeleton

__all__ = ["TopologicalSkeleton", "centred_skeleton", "soft_skeleton", "soft_skeleton_iterations",
           "soft_skeleton_of_mask", "thin", "tubed_skeleton"]
