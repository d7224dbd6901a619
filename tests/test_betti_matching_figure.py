"""The picture of Betti matchings."""

from __future__ import annotations

import matplotlib.image
import numpy as np
import pytest

from nnunet_topo.report import betti_matching_figure


def ring(*shape: int) -> np.ndarray:
    target = np.zeros(shape, bool)
    target[..., 4:-4, 4:-4] = True
    target[..., 8:-8, 8:-8] = False
    return target


@pytest.mark.parametrize("shape", [(28, 32), (3, 28, 32)], ids=str)
def test_draws_images_and_projected_volumes(shape, tmp_path):
    target = ring(*shape)
    prediction = np.where(target, 0.9, 0.1)
    prediction[..., 14, :] = np.minimum(prediction[..., 14, :], 0.3)
    betti_matching_figure({"ring": (prediction, target)}, tmp_path / "ring.png")
    pixels = matplotlib.image.imread(tmp_path / "ring.png")[..., :3]

    def coloured(red: float, green: float, blue: float) -> int:
        return int((np.abs(pixels - (red, green, blue)).max(-1) < 0.02).sum())

    matched, unmatched = coloured(0x35 / 255, 0xE0 / 255, 0xA1 / 255), coloured(1, 0x38 / 255, 0x60 / 255)
    assert matched > 100 and unmatched > 100  # the hole, and the second piece above 0.3
    betti_matching_figure({"ring": (prediction, target)}, tmp_path / "long.png", shortest=0.7)
    pixels = matplotlib.image.imread(tmp_path / "long.png")[..., :3]
    assert coloured(1, 0x38 / 255, 0x60 / 255) < unmatched  # but for the legend, nothing unmatched is left


def test_a_failure_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="same shape"):
        betti_matching_figure({"a": (np.zeros((8, 8)), np.zeros((8, 9)))}, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
