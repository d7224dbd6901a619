"""What a data set's labels say about its topology, and the settings that follow."""

from nnunet_topo.fingerprint.labels import LabelFingerprint, measure_labels

__all__ = ["LabelFingerprint", "measure_labels"]
