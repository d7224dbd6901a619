"""Skeletons of probability maps and of masks, in 2D and 3D.

Kernels are imported at their first call: nnU-Net's lookup imports all trainers, and with them this package, and must
find them where numba is missing or broken, which the doctor then says, and need not wait for it.
"""

from nnunet_topo.skeletons.centred import centred_skeleton
from nnunet_topo.skeletons.soft import soft_skeleton, soft_skeleton_iterations, soft_skeleton_of_mask
from nnunet_topo.skeletons.thinning import thin
from nnunet_topo.skeletons.topological import TopologicalSkeleton
from nnunet_topo.skeletons.tubes import tubed_skeleton

__all__ = ["TopologicalSkeleton", "centred_skeleton", "soft_skeleton", "soft_skeleton_iterations",
           "soft_skeleton_of_mask", "thin", "tubed_skeleton"]
