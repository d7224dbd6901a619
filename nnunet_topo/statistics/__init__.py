"""Statistics over images and runs: paired tests, means and spreads."""

from nnunet_topo.statistics.averages import count, mean, spread
from nnunet_topo.statistics.paired_tests import PairedTest, holm, paired_test

__all__ = ["PairedTest", "count", "holm", "mean", "paired_test", "spread"]
