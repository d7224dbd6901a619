"""Pictures and pages of results."""

from nnunet_topo.report.betti_matching_figure import betti_matching_figure
from nnunet_topo.report.case_picture import case_picture
from nnunet_topo.report.topology_figure import topology_figure

__all__ = ["betti_matching_figure", "case_picture", "topology_figure"]
