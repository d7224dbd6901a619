"""Topology-aware training for nnU-Net v2: losses as trainers, skeletons, homology, metrics.

Kept empty on purpose: it is imported at every start of the interpreter by ``nnunet_topo.pth``, so nothing heavy may be
imported here.
"""

__version__ = "0.2.0"
