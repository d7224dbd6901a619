"""Homology of masks and of probability maps on the pixel or voxel grid."""

from nnunet_topo.homology.betti_numbers import betti_numbers

__all__ = ["betti_numbers"]
