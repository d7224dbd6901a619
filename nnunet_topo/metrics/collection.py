"""All metrics of two masks at once, each part of them computed once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.homology import Connectivity, betti_numbers, check_connectivity
from nnunet_topo.metrics.betti_matching import betti_matching_error
from nnunet_topo.metrics.centreline_dice import cl_dice_of_skeletons
from nnunet_topo.metrics.components import component_errors
from nnunet_topo.metrics.coverage import coverage_of_skeleton
from nnunet_topo.metrics.masks import check_masks, check_spacing, even_box
from nnunet_topo.metrics.overlap import dice, iou, volume_difference_mm3
from nnunet_topo.metrics.surfaces import surface_distances
from nnunet_topo.skeletons import thin


def all_metrics(
    prediction: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    spacing: Sequence[float],
    tolerances_mm: Sequence[float] = (1.0, 2.0),
    ignore: NDArray[np.bool_] | None = None,
    *,
    connectivity: Connectivity = "foreground",
) -> dict[str, float | int]:
    """All metrics of two boolean masks of the same shape, 2D or 3D, by name.

    Args:
        prediction: the predicted mask; outside of the image is background.
        reference: the true mask.
        spacing: size of a voxel in mm along each axis.
        tolerances_mm: tolerances of the normalised surface Dice, each with an entry of its own.
        ignore: voxels of no known label, background in both masks; None for none.
        connectivity: of Betti numbers, Betti matching and components: "foreground", 8 in 2D and 26 in 3D with a
            background of 4 or 6; "background", the other way round, as papers on Betti matching have it, with the
            published form of its error.

    Returns:
        A dictionary in this order, with values for masks that are both empty, and for exactly one that is:

        ========================================= ===== ========== ========= ===========================================
        name                                      unit  both empty one empty definition
        ========================================= ===== ========== ========= ===========================================
        dice                                      1     nan        0         :func:`.dice`
        iou                                       1     nan        0         :func:`.iou`
        volume_difference_mm3                     mm3   0          +-volume  :func:`.volume_difference_mm3`; 2D: mm2
        nsd_1mm, nsd_2mm, ...                     1     nan        0         normalised surface Dice, by tolerance
        hausdorff_mm                              mm    nan        inf       largest distance of the surfaces
        hausdorff_95_mm                           mm    nan        inf       its 95th percentile
        average_symmetric_surface_distance_mm     mm    nan        inf       these four: :class:`.SurfaceDistances`
        cl_dice                                   1     nan        0         :func:`.cl_dice`
        cl_dice_precision, cl_dice_sensitivity    1     nan        nan or 0  nan is the empty skeleton's
        betti_0, ... betti_2 (2D: betti_1)        count 0          counts    Betti numbers of the prediction
        betti_0_reference, ...                    count 0          counts    of the reference
        betti_0_error, ...                        count 0          counts    :func:`.betti_error`
        betti_error_sum                           count 0          counts    its sum over dimensions
        betti_matching_error_0, ..., ..._sum      count 0          counts    :func:`.betti_matching_error`
        missed_components, spurious_components    count 0          all       :func:`.component_errors`
        missed_volume_mm3, spurious_volume_mm3    mm3   0          all       the same; 2D: mm2
        skeleton_length_mm                        mm    0          length    the reference's: :func:`.skeleton_coverage`
        skeleton_covered_share                    1     nan        nan or 0  0 if the prediction is the empty one
        ========================================= ===== ========== ========= ===========================================

        Skeletons are of a foreground that is 8-connected in 2D and 26-connected in 3D, with a background that is 4- or
        6-connected, whatever the connectivity of the rest.

    Raises:
        ValueError: masks or ``ignore`` of different shapes, another type, or other than two or three axes; a spacing
            that does not fit; a tolerance that is negative; another connectivity.
    """
    check_masks(prediction, reference)
    check_spacing(spacing, prediction)
    check_connectivity(connectivity)
    if ignore is not None:
        _check_ignore(ignore, reference)
        prediction, reference = prediction & ~ignore, reference & ~ignore
    box = even_box(prediction | reference)
    prediction, reference = prediction[box], reference[box]
    names = {f"nsd_{tolerance:g}mm": tolerance for tolerance in tolerances_mm}

    surfaces = surface_distances(prediction, reference, spacing)
    skeleton = thin(reference)
    centreline = cl_dice_of_skeletons(prediction, reference, thin(prediction), skeleton)
    betti, true_betti = betti_numbers(prediction, connectivity), betti_numbers(reference, connectivity)
    errors = [abs(number - true) for number, true in zip(betti, true_betti, strict=True)]
    matching_errors = betti_matching_error(
        prediction, reference, connectivity, published=connectivity == "background"
    )
    components = component_errors(prediction, reference, spacing, connectivity)
    coverage = coverage_of_skeleton(prediction, skeleton, spacing)

    results: dict[str, float | int] = {
        "dice": dice(prediction, reference),
        "iou": iou(prediction, reference),
        "volume_difference_mm3": volume_difference_mm3(prediction, reference, spacing),
    }
    results |= {name: surfaces.normalised_surface_dice(tolerance) for name, tolerance in names.items()}
    results |= {
        "hausdorff_mm": surfaces.hausdorff_mm(),
        "hausdorff_95_mm": surfaces.hausdorff_mm(percentile=95),
        "average_symmetric_surface_distance_mm": surfaces.average_symmetric_mm(),
        "cl_dice": centreline.cl_dice,
        "cl_dice_precision": centreline.precision,
        "cl_dice_sensitivity": centreline.sensitivity,
    }
    results |= {f"betti_{k}": number for k, number in enumerate(betti)}
    results |= {f"betti_{k}_reference": number for k, number in enumerate(true_betti)}
    results |= {f"betti_{k}_error": error for k, error in enumerate(errors)} | {"betti_error_sum": sum(errors)}
    results |= {f"betti_matching_error_{k}": error for k, error in enumerate(matching_errors)}
    results |= {"betti_matching_error_sum": sum(matching_errors)}
    results |= components._asdict()
    return results | {"skeleton_length_mm": coverage.length_mm, "skeleton_covered_share": coverage.covered_share}


def _check_ignore(ignore: NDArray[np.bool_], mask: NDArray[np.bool_]) -> None:
    if not isinstance(ignore, np.ndarray) or ignore.dtype != np.bool_ or ignore.shape != mask.shape:
        given = f"{type(ignore).__name__} {getattr(ignore, 'dtype', '')} {tuple(getattr(ignore, 'shape', ()))}"
        raise ValueError(f"ignore must be a boolean numpy array of the masks' shape {mask.shape}, not {given}.")
