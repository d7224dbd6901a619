"""What the picture of a registration shows: both bones from three sides, their outlines and skeletons in a slice."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  its customary name
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.path import Path

from nnunet_topo.registration import Quality, Registration
from nnunet_topo.report import registration_figure as module

SHAPE = (20, 24, 40)
QUALITY = Quality(None, *[1.0] * 10, True, None, {}, [])


def bar(shift: int) -> sitk.Image:
    values = np.zeros(SHAPE, np.uint8)
    values[8:13, 6 + shift : 11 + shift, 5:35] = 1
    return sitk.GetImageFromArray(values)


@pytest.fixture(scope="module")
def figure(tmp_path_factory) -> Figure:
    """Of a bar, and of another that was moved onto it but for three voxels."""
    drawn: list[Figure] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "Figure", lambda **options: drawn.append(Figure(**options)) or drawn[0])
        result = Registration(sitk.Euler3DTransform(), bar(3), None, QUALITY, [])
        path = tmp_path_factory.mktemp("figure") / "a.png"
        module.registration_figure(bar(0), bar(9), result, path)
    assert path.stat().st_size > 1000
    return drawn[0]


def test_projections_show_where_each_bone_lies_before_and_after(figure):
    for row, shift in ((0, 9), (1, 3)):
        picture = figure.axes[3 * row + 2].images[0].get_array()  # along x: (z, y)
        white = (picture == 1).all(-1)
        expected = np.zeros(SHAPE[:2], bool)
        expected[8:13, 6:11] = expected[8:13, 6 + shift : 11 + shift] = True
        assert np.array_equal(~white, expected)
        fixed, moving = picture[10, 6], picture[10, 10 + shift]
        assert np.allclose(fixed, 1 - 0.75 * (1 - np.array(to_rgb(module._FIXED))))
        assert np.allclose(moving, 1 - 0.75 * (1 - np.array(to_rgb(module._MOVING))))


def test_a_slice_has_the_outline_and_the_skeleton_of_each(figure):
    panel = figure.axes[6 + 2]  # along x: (z, y)
    for number, (shift, colour) in enumerate(((0, module._FIXED), (3, module._MOVING))):
        outline, dots = panel.collections[2 * number : 2 * number + 2]
        assert np.allclose(outline.get_edgecolor()[0][:3], to_rgb(colour))
        assert np.allclose(dots.get_facecolor()[0][:3], to_rgb(colour))
        (path,) = outline.get_paths()
        low, high = path.get_extents().min, path.get_extents().max
        assert low.tolist() == [5.5 + shift, 7.5] and high.tolist() == [10.5 + shift, 12.5]
        assert dots.get_offsets().tolist() == [[8 + shift, 10]]  # the middle of the bar
        assert isinstance(path, Path)
