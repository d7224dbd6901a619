"""Topological errors are located where they were put, and the picture shows them."""

import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from skimage.io import imread

from nnunet_topo.metrics.topology_errors import topology_errors
from nnunet_topo.report import topology_figure
from nnunet_topo.report.error_painting import MARKS, MISSED, TOO_MUCH


def vessel(dimensions: int) -> np.ndarray:
    """A straight vessel of radius 1 along the last axis, 60 voxels long."""
    mask = np.zeros((20, 60) if dimensions == 2 else (20, 20, 60), dtype=bool)
    mask[(slice(9, 12),) * (dimensions - 1)] = True
    return mask


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("length", [1, 2, 8])
def test_a_gap_is_a_break_at_its_middle(dimensions, length):
    reference = vessel(dimensions)
    prediction = reference.copy()
    prediction[..., 20 : 20 + length] = False
    errors = topology_errors(prediction, reference)
    assert errors.counts["missed_segments"] == len(errors.breaks) == 1
    assert errors.counts["false_pieces"] == 0
    *across, along = errors.breaks[0].position
    assert across == [10] * (dimensions - 1)
    assert abs(along - (20 + (length - 1) / 2)) <= 0.5
    assert np.flatnonzero(errors.missed_segments.reshape(-1, 60).any(axis=0)).tolist() == list(range(20, 20 + length))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_gap_that_the_prediction_goes_around_is_no_break(dimensions):
    reference = vessel(dimensions)
    prediction = reference.copy()
    prediction[..., 20:22] = False
    prediction[..., 8, 18:24] = True
    prediction[..., 9, 18:24] = True
    if dimensions == 3:
        prediction[:8] = prediction[13:] = False
    errors = topology_errors(prediction, reference)
    assert errors.breaks == []
    assert errors.counts["missed_segments"] == 0


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_lost_end_is_missed_but_no_break(dimensions):
    reference = vessel(dimensions)
    prediction = reference.copy()
    prediction[..., 40:] = False
    errors = topology_errors(prediction, reference)
    assert errors.counts["missed_segments"] == 1
    assert errors.breaks == []
    assert errors.missed_segments.any()


def test_an_interrupted_loop_is_a_break_though_the_prediction_is_in_one_piece():
    reference = np.zeros((40, 40), dtype=bool)
    reference[5:35, 5:35] = True
    reference[8:32, 8:32] = False
    prediction = reference.copy()
    prediction[4:9, 18:22] = False
    errors = topology_errors(prediction, reference)
    assert len(errors.breaks) == 1
    assert errors.breaks[0].position[0] in (5, 6, 7)
    assert errors.breaks[0].position[1] in (19, 20)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_only_pieces_that_touch_no_vessel_are_false(dimensions):
    reference = vessel(dimensions)
    prediction = reference.copy()
    prediction[2:4, ..., 2:4] = True
    prediction[11:14, ..., 30] |= reference.any(axis=0)[..., 30]  # a bulge
    errors = topology_errors(prediction, reference)
    assert errors.counts["false_pieces"] == 1
    expected = np.zeros_like(reference)
    expected[2:4, ..., 2:4] = True
    expected &= ~topology_errors(reference, reference).false_pieces
    if dimensions == 2:
        assert np.array_equal(errors.false_pieces, expected)
    assert not (errors.false_pieces & reference).any()


def test_empty_masks_have_no_errors_of_their_own():
    reference = vessel(2)
    empty = np.zeros_like(reference)
    nothing = topology_errors(empty, empty)
    assert (nothing.counts["false_pieces"], nothing.counts["missed_segments"], nothing.breaks) == (0, 0, [])
    lost = topology_errors(empty, reference)
    assert (lost.counts["false_pieces"], lost.counts["missed_segments"], lost.breaks) == (0, 1, [])
    invented = topology_errors(reference, empty)
    assert (invented.counts["false_pieces"], invented.counts["missed_segments"]) == (1, 0)
    assert np.array_equal(invented.false_pieces, reference)


def pixels_of(picture: np.ndarray, colour: str) -> int:
    return int((picture[..., :3] == np.rint(255 * np.array(to_rgb(colour)))).all(axis=-1).sum())


@pytest.mark.parametrize("dimensions", [2, 3])
def test_picture_shows_errors_in_their_colours_and_only_where_there_are_some(tmp_path, dimensions):
    reference = vessel(dimensions)
    prediction = reference.copy()
    prediction[..., 20:28] = False
    prediction[2:5, ..., 2:5] = True
    image = reference + 0.1 * np.random.default_rng(0).random(reference.shape)
    topology_figure({"broken": prediction}, reference, tmp_path / "broken.png", image=image)
    topology_figure({"perfect": reference}, reference, tmp_path / "perfect.png", image=image)
    broken, perfect = (imread(tmp_path / name) for name in ("broken.png", "perfect.png"))
    assert broken.shape == perfect.shape
    for colour in (TOO_MUCH, MISSED, MARKS["breaks"].colour):
        # The legend has its patches in both.
        assert pixels_of(broken, colour) > pixels_of(perfect, colour) + 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.png", "perfect.png"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dimensions", [2, 3])
def test_empty_masks_and_spacing_are_drawn_without_a_warning(tmp_path, dimensions):
    empty = np.zeros_like(vessel(dimensions))
    spacing = (3.0, 1.0, 0.5)[-dimensions:]
    predictions = {"empty": empty, "a $name_": vessel(dimensions), "full": ~empty}
    topology_figure(predictions, empty, tmp_path / "a.png", image=empty.astype(np.float32), spacing=spacing)
    assert imread(tmp_path / "a.png").ndim == 3


def test_matplotlib_of_the_caller_is_left_alone(tmp_path):
    def settings() -> dict[str, object]:
        # Reading the backend would choose one.
        return {name: matplotlib.rcParams[name] for name in matplotlib.rcParams if name != "backend"}

    backend, before = matplotlib.get_backend(auto_select=False), settings()
    had_pyplot = "matplotlib.pyplot" in sys.modules
    topology_figure({"same": vessel(2)}, vessel(2), tmp_path / "a.png", image=vessel(2).astype(float))
    assert matplotlib.get_backend(auto_select=False) == backend
    assert settings() == before
    assert had_pyplot or "matplotlib.pyplot" not in sys.modules


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predictions": {}}, "at least one prediction"),
        ({"image": np.zeros((3, 3))}, r"the image has \(3, 3\)"),
        ({"predictions": {"a": np.zeros((3, 3), bool)}}, r"prediction has \(3, 3\)"),
        ({"predictions": {"a": np.zeros((20, 60))}}, "boolean numpy array"),
        ({"spacing": (1, 1, 1)}, "2 positive numbers in mm"),
        ({"spacing": (1, 0)}, "2 positive numbers in mm"),
    ],
)
def test_unfit_arguments_are_refused_with_a_sentence_and_no_file(tmp_path, change, message):
    arguments = {"image": np.zeros((20, 60)), "reference": vessel(2), "predictions": {"a": vessel(2)}, "spacing": None}
    arguments |= change
    with pytest.raises(ValueError, match=message):
        topology_figure(**arguments, path=tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
