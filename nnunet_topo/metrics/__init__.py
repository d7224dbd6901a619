"""What evaluation reports: one function a metric, called with prediction and reference."""

from nnunet_topo.metrics.betti import betti_error
from nnunet_topo.metrics.betti_matching import betti_matching_error
from nnunet_topo.metrics.centreline_dice import ClDiceParts, cl_dice, cl_dice_parts
from nnunet_topo.metrics.collection import all_metrics
from nnunet_topo.metrics.components import ComponentErrors, component_errors
from nnunet_topo.metrics.coverage import SkeletonCoverage, skeleton_coverage
from nnunet_topo.metrics.neighbours import invalid_neighbours
from nnunet_topo.metrics.overlap import dice, iou, volume_difference_mm3
from nnunet_topo.metrics.surfaces import SurfaceDistances, surface_distances

__all__ = [
    "ClDiceParts",
    "ComponentErrors",
    "SkeletonCoverage",
    "SurfaceDistances",
    "all_metrics",
    "betti_error",
    "betti_matching_error",
    "cl_dice",
    "cl_dice_parts",
    "component_errors",
    "dice",
    "invalid_neighbours",
    "iou",
    "skeleton_coverage",
    "surface_distances",
    "volume_difference_mm3",
]
