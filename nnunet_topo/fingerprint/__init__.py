"""What a data set's labels say about its topology, and the settings that follow."""

from nnunet_topo.fingerprint.labels import Case, LabelFingerprint, MapMeasure, Measure, Region, measure_labels

__all__ = ["Case", "LabelFingerprint", "MapMeasure", "Measure", "Region", "measure_labels"]
