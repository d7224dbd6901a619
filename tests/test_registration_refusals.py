"""What a registration refuses in a sentence, and what it reports as not sure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  its customary name

from nnunet_topo.registration import SIMILARITIES, procedure, register, search, stages
from nnunet_topo.registration.procedure import linear_fit
from nnunet_topo.synthetic import mandible_pair


def ball(radius=12.0, size=40, offset=0.0):
    z, y, x = np.indices((size,) * 3) - size / 2 + offset
    return sitk.GetImageFromArray((z**2 + y**2 + x**2 < radius**2).astype(np.uint8))


def test_a_shape_that_fits_in_many_poses_is_not_sure_and_written_as_such(tmp_path):
    result = register(ball(), ball(offset=1.0))
    (tmp_path / "transform.tfm").touch()  # of an earlier registration
    assert not result.sure and "slides" in " ".join(result.quality.warnings)
    assert all(file.name.startswith("UNSURE_") for file in result.write(tmp_path))


@pytest.mark.slow
def test_different_bones_are_not_sure():
    pair = mandible_pair(11, coarseness=2)
    z, y, x = np.indices((60, 60, 60)) - 30.0
    other = sitk.GetImageFromArray(((z / 25) ** 2 + (y / 18) ** 2 + (x / 9) ** 2 < 1).astype(np.uint8))
    assert not register(pair.fixed, other).sure


def bones(*starts, size=40):
    values = np.zeros((size,) * 3, np.uint8)
    for start in starts:
        values[start:start + 12, 8:20, 8:26] = 1
    return sitk.GetImageFromArray(values)


def skewed(image):
    image = sitk.Image(image)
    image.SetDirection((1, 0.5, 0, 0, 1, 0, 0, 0, 1))
    return image


@pytest.mark.parametrize("fixed, moving, options, words", [
    (bones(), bones(5), {}, "fixed segmentation is empty"),
    (bones(5), sitk.GetImageFromArray(np.ones((20, 20, 20), np.uint8)), {}, "foreground everywhere"),
    (bones(5), sitk.GetImageFromArray((np.random.default_rng(0).random((30, 30, 30)) > 0.5).astype(np.uint8)), {},
     "moving segmentation reaches the border of its image on all sides"),
    (bones(5)[:, :, 8], bones(5), {}, "needs 3D volumes"),
    (bones(5), skewed(bones(5)), {}, "missing or sheared"),
    (bones(3, 22), bones(5), {}, "holds 2 separate bones"),
    (bones(5) * 2, bones(5), {}, r"labels \[2\], the moving one \[1\]"),
    (bones(5), bones(5), {"label": 3}, "has no label 3"),
    (sitk.Cast(bones(5), sitk.sitkUInt16) * 300, bones(5), {}, r"labels \[300\], the moving one \[1\]"),
    (bones(5), bones(5), {"transform": "elastic"}, "transform must be one of"),
    (bones(5), bones(5), {"by": "looks"}, "by must be one of"),
    (bones(5), bones(5), {"by": "intensity"}, "give fixed_image and moving_image"),
    (bones(5), bones(5), {"moved_skeleton": 1.0}, "moved_skeleton is a weight"),
    (bones(5), bones(5), {"fixed_image": sitk.Image(5, 5, 5, sitk.sitkFloat32)}, "differ in size"),
    (bones(5), bones(5), {"moving_image": sitk.GetImageFromArray(np.full((40, 40, 40), np.nan, np.float32))},
     "moving image holds 64000 values that are not finite numbers"),
    (bones(5), bones(5), {"fixed_landmarks": {"a": np.zeros(3)}}, "needed for both images"),
])
def test_bad_input_is_refused_in_a_sentence(fixed, moving, options, words):
    with pytest.raises(ValueError, match=words):
        register(sitk.Cast(fixed, sitk.sitkUInt16), sitk.Cast(moving, sitk.sitkUInt16), **options)


def test_the_table_of_similarities_cannot_be_changed_for_everyone():
    with pytest.raises(TypeError):
        SIMILARITIES["combined"] = ()


def few_iterations(monkeypatch):
    """Each stage stops after one iteration."""
    ladder = tuple(replace(stage, iterations=1) for stage in stages.SIMILARITIES["combined"])
    for module in (stages, search):
        monkeypatch.setattr(module, "SIMILARITIES", {**stages.SIMILARITIES, "combined": ladder})


def test_a_search_that_did_not_come_to_rest_is_not_sure(monkeypatch):
    few_iterations(monkeypatch)
    result = register(bones(5), bones(9))
    assert not result.quality.converged and "did not come to rest" in " ".join(result.quality.warnings)


def test_a_pose_that_fits_as_well_turned_over_is_not_sure():
    result = register(bones(5), bones(9))
    assert result.quality.runner_up_gap < 0.15 and "A different pose fits nearly as well" in result.quality.warnings[0]


def test_poses_without_a_common_field_of_view_are_refused(monkeypatch):
    def apart(pair, *_):
        best, gap = linear_fit(pair, "rigid")
        best.parameters[:3] += 500
        return best, gap

    monkeypatch.setattr(procedure, "linear_fit", apart)
    with pytest.raises(ValueError, match="fields of view do not overlap"):
        register(bones(5), bones(9))


def halves():
    """The left part of a mandible in one image, its right part in the other."""
    pair = mandible_pair(11, coarseness=2, cut_mm=0, thinning="none")
    middle = pair.fixed.GetSize()[0] // 2
    return pair.fixed[: middle - 4], pair.fixed[middle + 4:]


def test_different_parts_of_a_bone_are_never_sure():
    result = register(*halves())
    assert not result.sure and "not the same part of it" in " ".join(result.quality.warnings)


def test_arrays_are_refused():
    with pytest.raises(TypeError, match="must be a SimpleITK image"):
        register(np.zeros((5, 5, 5)), bones(5))


def test_two_pieces_of_a_bone_cut_by_the_field_of_view_are_one_bone():
    cut = bones(0, 28)
    assert register(cut, cut).quality.mask_dice > 0.99
