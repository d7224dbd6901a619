"""Vessel trees whose topology is known, and mandibles whose motion is, for what needs no patient's data."""

from nnunet_topo.synthetic.dataset import write_dataset
from nnunet_topo.synthetic.mandible_motion import MandiblePair, mandible_pair
from nnunet_topo.synthetic.mandible_shape import Mandible, mandible
from nnunet_topo.synthetic.vessels import Vessels, vessel_tree

__all__ = ["Mandible", "MandiblePair", "Vessels", "mandible", "mandible_pair", "vessel_tree", "write_dataset"]
