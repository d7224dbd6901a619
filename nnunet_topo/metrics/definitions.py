"""What each reported metric is: the one source of the report's and the documentation's definitions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from nnunet_topo.homology.masks import Connectivity

FOREGROUND = "foreground 8 (2D) or 26 (3D), background 4 or 6"
BACKGROUND = "foreground 4 (2D) or 6 (3D), background 8 or 26"


@dataclass(frozen=True)
class MetricDefinition:
    """One reported number, or several that differ in a dimension or tolerance.

    Attributes:
        names: pattern of the names in ``summary_topology.json``; "#" stands for a number.
        title: for people; with "#" as in the names.
        unit: "1" for a share.
        better: which values are better, "" where neither is, as for a description of a mask.
        definition: in a sentence or two, without markup.
        connectivity: "" where it does not matter.
        both_empty, empty_prediction, empty_reference: the value where both masks, only the prediction or only the
            reference is empty: a number, "nan", "inf", or in words what is counted then.
    """

    names: str
    title: str
    unit: str
    better: Literal["higher", "lower", "nearer to 0", ""]
    definition: str
    connectivity: str
    both_empty: str
    empty_prediction: str
    empty_reference: str

    def matches(self, name: str) -> re.Match[str] | None:
        """The match of a metric's name, with the number for "#", or None."""
        return re.fullmatch(re.escape(self.names).replace(r"\#", "([0-9.e+-]+)"), name)


_Row = tuple[str, str, str, Literal["higher", "lower", "nearer to 0", ""], str, str, str, str, str]
_ROWS: Sequence[_Row] = (
    ("dice", "Dice", "1", "higher",
     "Dice coefficient: twice the shared volume over the sum of both volumes.", "", "nan", "0", "0"),
    ("iou", "IoU", "1", "higher",
     "Intersection over union: shared volume over the volume of both masks together.", "", "nan", "0", "0"),
    ("volume_difference_mm3", "Volume difference", "mm³ (2D: mm²)", "nearer to 0",
     "Volume of the prediction minus that of the reference; above 0 where too much is predicted.", "", "0",
     "minus the reference's volume", "the prediction's volume"),
    ("nsd_#mm", "NSD # mm", "1", "higher",
     "Normalised surface Dice: share of both surfaces that lies within the tolerance of the other surface.", "",
     "nan", "0", "0"),
    ("hausdorff_mm", "HD", "mm", "lower",
     "Hausdorff distance: the largest distance from a point of one surface to the other surface.", "", "nan", "inf",
     "inf"),
    ("hausdorff_95_mm", "HD95", "mm", "lower",
     "The larger of the two directed 95th percentiles, by area and without interpolation, of the distances from one "
     "surface to the other.", "", "nan",
     "inf", "inf"),
    ("average_symmetric_surface_distance_mm", "ASSD", "mm", "lower",
     "Average symmetric surface distance: mean of the distances from both surfaces to the other.", "", "nan", "inf",
     "inf"),
    ("cl_dice", "clDice", "1", "higher",
     "Centreline Dice: harmonic mean of its precision and sensitivity.", FOREGROUND, "nan", "0", "0"),
    ("cl_dice_precision", "clDice precision", "1", "higher",
     "Share of the prediction's centreline, by voxels, that lies in the reference.", FOREGROUND, "nan", "nan", "0"),
    ("cl_dice_sensitivity", "clDice sensitivity", "1", "higher",
     "Share of the reference's centreline, by voxels, that lies in the prediction.", FOREGROUND, "nan", "0", "nan"),
    ("betti_#", "Betti number #", "count", "",
     "Betti number of the prediction: components (0), holes (1) in 2D; components (0), tunnels (1), cavities (2) in "
     "3D.", FOREGROUND, "0", "0", "the prediction's number"),
    ("betti_#_reference", "Betti number #, reference", "count", "",
     "Betti number of the reference.", FOREGROUND, "0", "the reference's number", "0"),
    ("betti_#_error", "Betti error #", "count", "lower",
     "Absolute difference of the Betti numbers of the masks. It only counts: a false component makes up for a missing "
     "one.", FOREGROUND, "0", "the reference's number", "the prediction's number"),
    ("betti_error_sum", "Betti error", "count", "lower",
     "Sum of the Betti errors over dimensions.", FOREGROUND, "0", "the reference's numbers",
     "the prediction's numbers"),
    ("betti_matching_error_#", "Betti matching error #", "count", "lower",
     "Features of either mask (components, holes; in 3D components, tunnels, cavities) that the other does not have at "
     "the same place.", FOREGROUND, "0", "all features of the reference", "all features of the prediction"),
    ("betti_matching_error_sum", "Betti matching error", "count", "lower",
     "Sum of the Betti matching errors over dimensions.", FOREGROUND, "0", "all features of the reference",
     "all features of the prediction"),
    ("missed_components", "Missed components", "count", "lower",
     "Components of the reference of which no voxel is predicted.", FOREGROUND, "0", "all components", "0"),
    ("missed_volume_mm3", "Missed components, volume", "mm³ (2D: mm²)", "lower",
     "Their volume.", FOREGROUND, "0", "the reference's volume", "0"),
    ("spurious_components", "Spurious components", "count", "lower",
     "Components of the prediction of which no voxel is in the reference.", FOREGROUND, "0", "0", "all components"),
    ("spurious_volume_mm3", "Spurious components, volume", "mm³ (2D: mm²)", "lower",
     "Their volume.", FOREGROUND, "0", "0", "the prediction's volume"),
    ("skeleton_length_mm", "Skeleton length", "mm", "",
     "Length of the reference's centreline.", FOREGROUND, "0", "the reference's length", "0"),
    ("skeleton_covered_share", "Skeleton covered", "1", "higher",
     "Share of the length of the reference's centreline that is predicted.", FOREGROUND, "nan", "0", "nan"),
)
DEFINITIONS = tuple(MetricDefinition(*row) for row in _ROWS)
_COUNTS = ("betti_", "missed_", "spurious_")  # metrics whose connectivity can be chosen

INTRODUCTION = (
    "Every metric is computed for each case and each label or region, of two masks: the prediction and the reference. "
    "What lies outside of the image is background, and so is, in both, what has the ignore label in the reference. "
    "Lengths are in mm by the spacing of the file; formats without one (PNG, BMP, TIFF) count as 1 mm a pixel.",
    "Connectivity says which voxels are neighbours: in 2D the 4 that share an edge or the 8 that share an edge or "
    "corner, in 3D the 6 that share a face or the 26 that share a face, edge or corner. Centrelines are skeletons by "
    "topology-preserving thinning, of the connectivity given.",
    "Betti numbers, Betti matching and components have the connectivity of the foreground, which is that of label maps "
    "as people draw them. With --connectivity background they have the other one, and Betti matching is counted in its "
    "published form, for comparison with papers: ties are broken by position, so that the count depends on the "
    "orientation of the image and may be too small, and the first component of either mask always has a match. Numbers "
    "of different connectivities are not comparable.",
    "A file that is one slice along an axis, whichever, is measured in 2D with the spacing of the other axes. Where "
    "such cases stand among volumes, their areas are in no mean of volumes. A 3D TIFF without a spacing file is "
    "taken to have the spacing of the file that it is compared with.",
    "nan means that there is nothing to measure; such values are left out of means, and the number of values is "
    "reported. inf means that the distance to an empty mask has no value; one inf makes a mean inf.",
)

DIFFERENCES = (
    "Surface distances are between the corners of voxels at which foreground and background meet, weighted by the "
    "area of surface at each, which is summed as vectors. DeepMind's surface-distance has the same corners with "
    "areas from a table for marching cubes, so that distances of elements are equal and weights are not. MONAI "
    "measures between centres of the outermost voxels, all of one weight, and interpolates percentiles, which is not "
    "done here. In 24 synthetic pairs of masks in 3D (vessels and blobs), at a spacing of 1 mm and of 2.5, 0.7 and "
    "0.7 mm: beside DeepMind's numbers HD and HD95 were equal, NSD at 1 mm was at most 0.003 apart and ASSD at most "
    "0.053 mm; beside MONAI's HD was at most 0.12 mm apart, HD95 at most one voxel, NSD at most 0.003 and ASSD at "
    "most 0.061 mm.",
    "Thinning goes by the parity of places, so centrelines move a little when both masks are shifted by a voxel or "
    "their axes are turned round. Over the 4 (2D) or 8 (3D) such shifts of the same kinds of masks, the range of "
    "clDice was at most 0.001 in 2D and 0.012 in 3D (thin vessels; median 0.007), that of the covered share at most "
    "0.020. The range of the skeleton length was at most 3.2 % for vessels in 2D, 3.8 % for thin and 11.5 % for "
    "thick vessels in 3D, and 20.5 % for blobs, which have no centreline to speak of. So do not make much of smaller "
    "differences in a single case; they are larger where masks are smaller or rougher. All other metrics stay the "
    "same under every shift.",
)


def definitions_at(connectivity: Connectivity) -> tuple[MetricDefinition, ...]:
    """The definitions of an evaluation with the given connectivity."""
    if connectivity == "foreground":
        return DEFINITIONS
    return tuple(replace(row, connectivity=BACKGROUND + (", published form" if "matching" in row.names else ""))
                 if row.names.startswith(_COUNTS) else row for row in DEFINITIONS)


def definition_of(name: str) -> MetricDefinition | None:
    """The definition of a metric by its name in the summary, or None for a name that is not one of ours."""
    return next((definition for definition in DEFINITIONS if definition.matches(name)), None)


def title_of(name: str) -> str:
    """The title of a metric for people, with its dimension or tolerance; the name itself where it is not ours."""
    for definition in DEFINITIONS:
        match = definition.matches(name)
        if match:
            return definition.title.replace("#", match[1] if match.groups() else "")
    return name


def definitions_as_markdown() -> str:
    """The page ``docs/metrics.md``."""
    head = ("metric", "name in the summary", "unit", "better", "definition", "connectivity", "both empty",
            "prediction empty", "reference empty")
    lines = ["# Metrics", "", *(line for text in INTRODUCTION for line in (text, "")),
             "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in DEFINITIONS:
        cells = (row.title, f"`{row.names}`", row.unit, row.better, row.definition, row.connectivity, row.both_empty,
                 row.empty_prediction, row.empty_reference)
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "## How the numbers differ from those of others", "", *(line for text in DIFFERENCES
                                                                         for line in (text, ""))]
    lines += ["Measured by `benchmarks/metric_conventions.py`.", ""]
    lines += ["\"#\" stands for a dimension or a tolerance. Papers, equations and exact conventions stand in the "
              "docstrings of `nnunet_topo.metrics`. This page is written by `definitions_as_markdown` in "
              "`nnunet_topo.metrics.definitions`, which the report shows too.", ""]
    return "\n".join(lines)
