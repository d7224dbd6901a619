"""Pictures and pages of results."""

from nnunet_topo.report.case_pictures import case_picture
from nnunet_topo.report.errors_figure import postprocessing_figure, topology_figure
from nnunet_topo.report.matching_figure import betti_matching_figure

__all__ = ["betti_matching_figure", "case_picture", "postprocessing_figure", "topology_figure"]
