"""nnU-Net's own check of a raw data set says what it found, whichever of its processes found it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from nnunet_topo.files import write_json
from nnunet_topo.nnunet.integrity import require_integrity


@pytest.fixture
def folder(tmp_path):
    """A data set of one case."""
    for part, suffix in (("imagesTr", "_0000"), ("labelsTr", "")):
        (tmp_path / part).mkdir()
        Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / part / f"a{suffix}.png")
    write_json(tmp_path / "dataset.json", {"channel_names": {"0": "x"}, "labels": {"background": 0, "line": 1},
                                           "numTraining": 1, "file_ending": ".png"})
    return tmp_path


def test_what_nnunets_processes_print_comes_with_the_error_and_nothing_otherwise(folder, capfd):
    Image.fromarray(3 * np.eye(8, dtype=np.uint8)).save(folder / "labelsTr" / "a.png")
    with pytest.raises(ValueError, match=r"(?s)wrong: Some segm.*Unexpected labels found in file .*a.png"):
        require_integrity(folder)
    assert "".join(capfd.readouterr()) == ""


def test_a_sound_data_set_passes_without_a_word(folder, quick_integrity, capfd):
    require_integrity(folder)
    assert "".join(capfd.readouterr()) == ""


def test_what_is_wrong_with_the_whole_is_said_too(folder, quick_integrity):
    write_json(folder / "dataset.json", {"channel_names": {"0": "x"}, "labels": {"background": 0, "line": 1},
                                         "numTraining": 2, "file_ending": ".png"})
    with pytest.raises(ValueError, match="Did not find the expected number of training cases"):
        require_integrity(folder)
