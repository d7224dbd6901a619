"""The kernels' compiler under its former name."""

from nnunet_topo.kernels.jit import jit

__all__ = ["jit"]
