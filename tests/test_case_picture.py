"""Merges, holes and spurious parts are located where they were put, and the picture of a case shows all errors."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from skimage.io import imread

from nnunet_topo.metrics.topology_errors import TopologyErrors, topology_errors
from nnunet_topo.report.case_pictures import case_picture
from nnunet_topo.report.error_painting import MARKS, MISSED, SPURIOUS

KINDS = ("missed_segments", "spurious_segments", "missed_pieces", "false_pieces", "breaks", "merges", "false_holes",
         "filled_holes")


def two_bars(dimensions: int) -> np.ndarray:
    """Two parallel bars, 5 voxels thick and 9 apart, along the last axis."""
    mask = np.zeros((9, 40, 60)[3 - dimensions :], bool)
    for start in (8, 22):
        mask[(*[slice(2, 7)] * (dimensions - 2), slice(start, start + 5), slice(4, 56))] = True
    return mask


def errors_that_are_there(errors: TopologyErrors) -> dict[str, int]:
    return {kind: count for kind, count in errors.counts.items() if count}


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_bridge_between_two_pieces_is_a_merge_in_its_middle(dimensions):
    reference = two_bars(dimensions)
    prediction = reference.copy()
    prediction[(*[slice(3, 6)] * (dimensions - 2), slice(13, 22), slice(30, 33))] = True
    errors = topology_errors(prediction, reference)
    assert errors_that_are_there(errors) == {"spurious_segments": 1, "merges": 1}
    *_, row, column = errors.merges[0].position
    assert abs(row - 17) <= 1 and abs(column - 31) <= 1
    assert errors.merges[0].radius >= 3


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_bridge_between_branches_of_one_piece_is_a_merge_too(dimensions):
    reference = two_bars(dimensions)
    reference[(*[slice(2, 7)] * (dimensions - 2), slice(8, 27), slice(4, 9))] = True
    prediction = reference.copy()
    prediction[(*[slice(3, 6)] * (dimensions - 2), slice(13, 22), slice(40, 43))] = True
    assert errors_that_are_there(topology_errors(prediction, reference)) == {"spurious_segments": 1, "merges": 1}


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_network_of_bridges_is_a_merge_though_its_pieces_are_joined_further_away(dimensions):
    reference = two_bars(dimensions)
    reference[(*[slice(2, 7)] * (dimensions - 2), slice(8, 27), slice(4, 9))] = True
    prediction = reference.copy()
    for place in ((slice(13, 22), slice(24, 27)), (slice(13, 22), slice(44, 47)), (slice(16, 19), slice(9, 47))):
        prediction[(*[slice(3, 6)] * (dimensions - 2), *place)] = True
    errors = topology_errors(prediction, reference)
    assert errors_that_are_there(errors) == {"spurious_segments": 1, "merges": 1}


@pytest.mark.parametrize("dimensions", [2, 3])
def test_errors_of_exchanged_masks_are_exchanged(dimensions):
    rng = np.random.default_rng(0)
    one, two = (rng.random((2, *(12, 40, 44)[3 - dimensions :])) < 0.4)
    errors, other = topology_errors(one, two), topology_errors(two, one)
    for kind, partner in (("missed_segments", "spurious_segments"), ("missed_pieces", "false_pieces"),
                          ("breaks", "merges"), ("false_holes", "filled_holes")):
        assert errors.counts[kind] == other.counts[partner] and errors.counts[partner] == other.counts[kind]
        assert np.array_equal(getattr(errors, kind), getattr(other, partner))


def slab() -> np.ndarray:
    mask = np.zeros((10, 20, 22), bool)
    mask[2:8, 3:17, 3:19] = True
    return mask


@pytest.mark.parametrize("gap", [(slice(4, 6), slice(9, 12), slice(9, 12)), (slice(2, 8), slice(9, 12), slice(9, 12))],
                         ids=["cavity", "tunnel"])
def test_cavities_and_tunnels_inside_of_the_reference_are_false_holes(gap):
    reference = slab()
    prediction = reference.copy()
    prediction[gap] = False
    errors, other = topology_errors(prediction, reference), topology_errors(reference, prediction)
    assert [place.position[1:] for place in errors.false_holes] == [(10, 10)] and not errors.filled_holes
    assert [place.position[1:] for place in other.filled_holes] == [(10, 10)] and not other.false_holes


@pytest.mark.parametrize("gap", [
    (slice(2, 4), slice(9, 12), slice(9, 12)),  # a dent
    (slice(2, 8), slice(3, 6), slice(9, 12)),  # a notch, open on three sides
    (slice(2, 8), slice(9, 12), slice(3, 19)),  # a cut through all of it
])
def test_what_opens_no_way_through_is_no_hole(gap):
    prediction = slab()
    prediction[gap] = False
    assert topology_errors(prediction, slab()).false_holes == []


def test_a_hole_in_an_image_is_false_where_the_reference_has_none_and_filled_where_the_prediction_has_none():
    reference = np.zeros((30, 30), bool)
    reference[3:27, 3:27] = True
    reference[6:10, 6:10] = False
    prediction = reference.copy()
    prediction[6:10, 6:10] = True
    prediction[20, 20] = False
    errors = topology_errors(prediction, reference)
    assert [place.position for place in errors.false_holes] == [(20, 20)]
    assert len(errors.filled_holes) == 1 and all(6 <= index <= 9 for index in errors.filled_holes[0].position)
    shifted = np.roll(reference, 2, 0)  # the holes overlap: neither is false nor filled
    assert not topology_errors(shifted, reference).false_holes and not topology_errors(shifted, reference).filled_holes


@pytest.mark.parametrize("dimensions", [2, 3])
def test_places_are_those_of_the_whole_image_wherever_the_masks_lie(dimensions):
    reference = two_bars(dimensions)
    prediction = reference.copy()
    prediction[..., 8:13, 30:33] = False
    here = topology_errors(prediction, reference)
    wide = [np.pad(mask, 6) for mask in (prediction, reference)]
    there = topology_errors(*wide)
    assert there.counts == here.counts and len(here.breaks) == 1
    assert there.breaks[0].position == tuple(index + 6 for index in here.breaks[0].position)
    assert np.array_equal(there.missed_segments[(slice(6, -6),) * dimensions], here.missed_segments)


def with_all_errors() -> tuple[np.ndarray, np.ndarray]:
    reference = np.zeros((60, 90), bool)
    reference[5:12, 5:85] = reference[30:37, 5:85] = True
    reference[32:35, 60:64] = False  # a hole that is filled
    prediction = reference.copy()
    prediction[32:35, 60:64] = True
    prediction[4:13, 40:44] = False  # a break
    prediction[12:30, 20:23] = True  # a merge
    prediction[7:9, 70:72] = False  # a false hole
    prediction[50:56, 40:70] = True  # a false piece
    return prediction, reference


def pixels_of(picture: np.ndarray, colour: str) -> int:
    return int((picture[..., :3] == np.rint(255 * np.array(to_rgb(colour)))).all(axis=-1).sum())


@pytest.mark.parametrize("dimensions", [2, 3])
def test_picture_shows_each_error_in_its_colour_and_returns_the_numbers(tmp_path, dimensions):
    prediction, reference = with_all_errors()
    if dimensions == 3:
        prediction, reference = (np.stack([mask] * 4) for mask in (prediction, reference))
    spacing = (2.0, 1.0, 0.7)[-dimensions:]
    counts = case_picture(prediction, reference, tmp_path / "a.png", spacing=spacing)
    perfect = case_picture(reference, reference, tmp_path / "b.png", spacing=spacing)
    assert counts == topology_errors(prediction, reference).counts and set(counts) == set(KINDS)
    assert min(counts[kind] for kind in ("breaks", "merges", "false_holes", "filled_holes", "false_pieces")) >= 1
    assert not any(perfect.values())
    shown, clean = (imread(tmp_path / name) for name in ("a.png", "b.png"))
    for colour in (MISSED, SPURIOUS, *(mark.colour for mark in MARKS.values())):
        assert pixels_of(shown, colour) > pixels_of(clean, colour)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(40, 50), (1, 7), (3, 40, 50), (60, 4, 5), (1, 1, 1)])
def test_empty_full_flat_and_narrow_masks_are_drawn_without_a_warning(tmp_path, shape):
    empty, full = np.zeros(shape, bool), np.ones(shape, bool)
    image = np.random.default_rng(0).normal(size=shape)
    for number, (prediction, reference) in enumerate([(empty, empty), (full, empty), (empty, full), (full, full)]):
        case_picture(prediction, reference, tmp_path / f"{number}.png", spacing=(5.0, 0.5, 0.5)[-len(shape) :],
                     image=image)
        assert imread(tmp_path / f"{number}.png").ndim == 3


@pytest.mark.parametrize(("change", "message"), [
    ({"image": np.zeros((3, 3))}, r"image has the shape \(3, 3\)"), ({"spacing": (1, 1, 1)}, "2 positive lengths"),
    ({"prediction": np.zeros((3, 3), bool)}, r"prediction has \(3, 3\)")])
def test_unfit_arguments_are_refused_with_a_sentence_and_no_file(tmp_path, change, message):
    arguments = {"prediction": np.ones((8, 9), bool), "reference": np.ones((8, 9), bool), "spacing": (1, 1)} | change
    with pytest.raises(ValueError, match=message):
        case_picture(**arguments, path=tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
