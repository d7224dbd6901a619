"""Operations on predictions that correct their topology, and their choice on validation data."""

from nnunet_topo.postprocessing.operations import close_gaps, drop_specks, fill_holes, keep_pieces

__all__ = ["close_gaps", "drop_specks", "fill_holes", "keep_pieces"]
