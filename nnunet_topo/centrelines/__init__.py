"""Skeletons as graphs: branches with lengths and radii in mm, and files that other programs open."""

from nnunet_topo.centrelines.extraction import centreline_graph
from nnunet_topo.centrelines.files import FORMATS, Placement
from nnunet_topo.centrelines.graph import Branch, CentrelineGraph, Node

__all__ = ["FORMATS", "Branch", "CentrelineGraph", "Node", "Placement", "centreline_graph"]
