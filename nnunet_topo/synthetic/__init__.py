"""Vessel trees whose topology is known, for demonstrations and tests that need no patient's data."""

from nnunet_topo.synthetic.dataset import write_dataset
from nnunet_topo.synthetic.vessels import Vessels, vessel_tree

__all__ = ["Vessels", "vessel_tree", "write_dataset"]
