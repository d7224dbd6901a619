"""Homology of masks and of probability maps on the pixel or voxel grid."""

from nnunet_topo.homology.betti import betti_numbers
from nnunet_topo.homology.error_regions import Outside, WrongRegions, critical_components, critical_regions
from nnunet_topo.homology.image_matching import BettiMatching, DimensionMatching, Pairs, betti_matching, betti_matchings
from nnunet_topo.homology.mask_matching import matched_betti_numbers
from nnunet_topo.homology.masks import Connectivity, check_connectivity
from nnunet_topo.homology.persistence import Persistence, persistence_pairs
from nnunet_topo.homology.warping import critical_voxels, warped

__all__ = [
    "BettiMatching",
    "Connectivity",
    "DimensionMatching",
    "Outside",
    "Pairs",
    "Persistence",
    "WrongRegions",
    "betti_matching",
    "betti_matchings",
    "betti_numbers",
    "check_connectivity",
    "critical_components",
    "critical_regions",
    "critical_voxels",
    "matched_betti_numbers",
    "persistence_pairs",
    "warped",
]
