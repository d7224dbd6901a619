"""Homology of masks and of probability maps on the pixel or voxel grid."""

from nnunet_topo.homology.betti import betti_numbers
from nnunet_topo.homology.contacts import (
    REACHES,
    Reach,
    count_contacts,
    forbidden_contacts,
    half_offsets,
    offsets_within,
    touching_labels,
    without_surroundings,
)
from nnunet_topo.homology.error_regions import Outside, WrongRegions, critical_components, critical_regions
from nnunet_topo.homology.image_matching import BettiMatching, DimensionMatching, Pairs, betti_matching, betti_matchings
from nnunet_topo.homology.mask_matching import matched_betti_numbers
from nnunet_topo.homology.masks import Connectivity, check_connectivity
from nnunet_topo.homology.persistence import Persistence, persistence_pairs
from nnunet_topo.homology.warping import critical_voxels, warped

__all__ = [
    "REACHES",
    "BettiMatching",
    "Connectivity",
    "DimensionMatching",
    "Outside",
    "Pairs",
    "Persistence",
    "Reach",
    "WrongRegions",
    "betti_matching",
    "betti_matchings",
    "betti_numbers",
    "check_connectivity",
    "count_contacts",
    "critical_components",
    "critical_regions",
    "critical_voxels",
    "forbidden_contacts",
    "half_offsets",
    "matched_betti_numbers",
    "offsets_within",
    "persistence_pairs",
    "touching_labels",
    "warped",
    "without_surroundings",
]
