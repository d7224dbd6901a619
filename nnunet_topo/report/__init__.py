"""Pictures and pages of results."""

from nnunet_topo.report.topology_figure import topology_figure

__all__ = ["topology_figure"]
