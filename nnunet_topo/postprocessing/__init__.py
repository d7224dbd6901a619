"""Operations on predictions that correct their topology, and their choice on validation data."""

from nnunet_topo.postprocessing.application import apply_postprocessing
from nnunet_topo.postprocessing.finding import find_postprocessing
from nnunet_topo.postprocessing.label_maps import postprocess_labels
from nnunet_topo.postprocessing.labels import LabelScheme
from nnunet_topo.postprocessing.operations import close_gaps, drop_specks, fill_holes, keep_pieces
from nnunet_topo.postprocessing.settings import Operations, Postprocessing, read_postprocessing, write_postprocessing

__all__ = ["LabelScheme", "Operations", "Postprocessing", "apply_postprocessing", "close_gaps", "drop_specks",
           "fill_holes", "find_postprocessing", "keep_pieces", "postprocess_labels", "read_postprocessing",
           "write_postprocessing"]
