"""Label maps and images as the metrics see them: one slice in any storage, spacing files, and what is refused."""

from __future__ import annotations

import json
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import SimpleITK
import tifffile
from evaluation_cases import command, dataset_files, evaluate, write
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO
from PIL import Image
from skimage import io

from nnunet_topo.files import write_json
from nnunet_topo.nnunet.evaluation.label_maps import read_label_map, require_same_grid
from nnunet_topo.nnunet.evaluation.scoring import score_predictions
from nnunet_topo.nnunet.reading import read_array
from nnunet_topo.nnunet.training.validation import write_validation_summary
from nnunet_topo.report.case_pictures import case_picture
from nnunet_topo.report.evaluation_pictures import PictureTask, draw_case

# --- One slice ---

TRUE, PREDICTED = np.zeros((2, 16, 20), np.uint8)
TRUE[2:6, 2:12], PREDICTED[2:6, 2:12], PREDICTED[3, 4] = 1, 1, 0  # a hole
PREDICTED[10, 2:12] = 1  # and a line, five rows below
SIDES = 0.8, 0.5  # mm, of rows and columns
STORAGES = ["(H, W)", "(1, H, W)", "(H, 1, W)", "(H, W, 1)"]


def store(array, file, storage, thickness=3.0):
    axis = None if storage == "(H, W)" else STORAGES.index(storage) - 1
    sides = list(SIDES)
    if axis is not None:
        array = np.expand_dims(array, axis)
        sides.insert(axis, thickness)
    write(array, file, sides)


def stored(folder, storage, ending=".nii.gz"):
    store(TRUE, folder / "true" / f"case{ending}", storage)
    store(PREDICTED, folder / "predicted" / f"case{ending}", storage)
    return folder / "true", folder / "predicted"


@pytest.mark.parametrize(("reader", "storage"), [(SimpleITKIO, "(H, W)"), *(
    (reader, storage) for reader in (SimpleITKIO, NibabelIO, NibabelIOWithReorient) for storage in STORAGES[1:])])
def test_one_slice_is_measured_in_2d_along_whichever_axis_it_is_stored(tmp_path, reader, storage):
    values = evaluate(stored(tmp_path, storage), tmp_path / "out", labels_or_regions=[1],
                      reader_writer=reader())["mean"]["1"]
    assert values["hausdorff_mm"] == pytest.approx(5 * SIDES[0])  # from the lower edge of row 10 to that of row 5
    assert [values[name] for name in ("betti_0_error", "betti_1_error")] == [1, 1] and "betti_2" not in values
    assert values["volume_difference_mm3"] == pytest.approx(9 * SIDES[0] * SIDES[1])
    in_2d = evaluate(stored(tmp_path / "flat", "(H, W)"), tmp_path / "flat", labels_or_regions=[1])["mean"]["1"]
    if reader is NibabelIOWithReorient:  # turns the axes round, and skeletons with them
        in_2d |= {name: values[name] for name in in_2d if name.startswith(("cl_dice", "skeleton"))}
    assert values == pytest.approx(in_2d)


@pytest.mark.parametrize("storage", STORAGES)
def test_a_slice_in_3d_and_a_2d_file_are_one_grid(tmp_path, storage):
    store(TRUE, tmp_path / "true" / "case.nii.gz", storage)
    store(PREDICTED, tmp_path / "predicted" / "case.nii.gz", "(H, W)")
    folders = tmp_path / "true", tmp_path / "predicted"
    for pair in (folders, folders[::-1]):
        summary = evaluate(pair, tmp_path / pair[0].name / "out", labels_or_regions=[1])
        assert not summary["failed"] and summary["mean"]["1"]["dice"] == pytest.approx(2 * 39 / (40 + 49))


def test_slices_of_different_planes_are_not_one_grid(tmp_path):
    store(TRUE, tmp_path / "axial.nii.gz", "(1, H, W)")
    store(TRUE, tmp_path / "coronal.nii.gz", "(H, 1, W)")
    axial, coronal = (read_label_map(tmp_path / f"{name}.nii.gz", SimpleITKIO()) for name in ("axial", "coronal"))
    with pytest.raises(ValueError, match="differ in direction"):
        require_same_grid(axial, coronal)


@pytest.mark.parametrize("storage", STORAGES[1:])
def test_scores_and_pictures_of_one_slice_are_those_of_a_2d_file(tmp_path, storage):
    dataset_files(tmp_path, "classes")
    rows, pictures = [], []
    for kind in (storage, "(H, W)"):
        folder = tmp_path / kind
        folders = stored(folder, kind)
        store(TRUE * np.arange(20, dtype=np.uint8), folder / "image.nii.gz", kind)
        rows.append(score_predictions(references=folders[0], predictions=folders[1], model=tmp_path))
        task = PictureTask(folders[1] / "case.nii.gz", folders[0] / "case.nii.gz", SimpleITKIO(), None,
                           ((1, folder / "case.png"),), folder / "image.nii.gz")
        draw_case(task)
        pictures.append(np.asarray(Image.open(folder / "case.png").convert("RGB")))
    assert rows[0] == rows[1] and [rows[0][0][f"b{k}"] for k in (0, 1)] == [2, 1] and "b2" not in rows[0][0]
    assert np.array_equal(*pictures)
    case_picture(PREDICTED == 1, TRUE == 1, tmp_path / "by_arrays.png", spacing=SIDES,
                 image=(TRUE * np.arange(20)).astype(np.float32))
    assert np.array_equal(pictures[0], np.asarray(Image.open(tmp_path / "by_arrays.png").convert("RGB")))


def test_a_slice_among_volumes_counts_in_no_mean_of_volumes_and_has_no_cavities(tmp_path, capsys):
    for folder, shift in (("true", 0), ("predicted", 1)):
        volume = np.zeros((6, 8, 8), np.uint8)
        volume[1:5, 1 + shift : 5 + shift, 1:5] = 1
        volume[2, 3, 3] = 0
        write(volume, tmp_path / folder / "a_volume.nii.gz", (1, 1, 1))
        write(volume[:, 3:4], tmp_path / folder / "a_slice.nii.gz", (1, 1, 1))
    assert command((tmp_path / "true", tmp_path / "predicted"), "-l", "1", "-o", str(tmp_path)) == 0
    summary = json.loads((tmp_path / "summary_topology.json").read_text())
    means, counts = summary["mean"]["1"], summary["count"]["1"]
    cases = {case["case"]: case["metrics"]["1"] for case in summary["metric_per_case"]}
    assert counts["dice"] == 2 and counts["betti_2_error"] == counts["volume_difference_mm3"] == 1
    assert means["volume_difference_mm3"] == cases["a_volume"]["volume_difference_mm3"]
    assert list(means) == list(cases["a_volume"])  # in their order
    sentence = "1 of 2 cases are one slice and are measured in 2D"
    assert sentence in summary["notes"][0] and sentence in capsys.readouterr().out


# --- Spacing files of 3D TIFF ---


def tiff_pair(folder, true_spacing, predicted_spacing):
    """A block and the same one slice further, with and without files of their spacing."""
    for name, shift, spacing in (("true", 0, true_spacing), ("predicted", 1, predicted_spacing)):
        array = np.zeros((6, 6, 6), np.uint8)
        array[1 + shift : 3 + shift, 1:5, 1:5] = 1
        (folder / name).mkdir()
        tifffile.imwrite(folder / name / "case.tif", array)
        if spacing is not None:
            write_json(folder / name / "case.json", spacing)
    return folder / "true", folder / "predicted"


KNOWN = {"spacing": [5.0, 1.0, 1.0]}


@pytest.mark.parametrize(("true", "predicted", "distance", "note"), [
    (KNOWN, KNOWN, 5, None), (None, None, 1, None), (None, KNOWN, 5, "The reference has no spacing file"),
    (KNOWN, None, 5, "The prediction has no spacing file")])
def test_a_tiff_without_a_spacing_file_has_that_of_the_other(tmp_path, capsys, true, predicted, distance, note):
    folders = tiff_pair(tmp_path, true, predicted)
    assert command(folders, "-l", "1", "-o", str(tmp_path)) == 0
    summary = json.loads((tmp_path / "summary_topology.json").read_text())
    assert summary["mean"]["1"]["hausdorff_mm"] == distance
    printed = capsys.readouterr().out
    assert (note in printed and note in summary["notes"][0]) if note else "has no spacing file" not in printed


def test_spacing_files_that_contradict_each_other_are_refused(tmp_path):
    folders = tiff_pair(tmp_path, KNOWN, {"spacing": [4.0, 1.0, 1.0]})
    reference, prediction = (read_label_map(folder / "case.tif", Tiff3DIO()) for folder in folders)
    with pytest.raises(ValueError, match="differ in spacing"):
        require_same_grid(prediction, reference)


@pytest.mark.parametrize("content", [[1, 1, 1], {"spacing": [1, 1]}, {"spacing": [1, 1, 0]}, {"spacing": None},
                                     {"spacing": ["a", 1, 1]}, {"x": 1}])
def test_a_spacing_file_of_another_form_is_named_itself(tmp_path, content):
    folders = tiff_pair(tmp_path, content, None)
    with pytest.raises(ValueError, match=r'case.json is to hold the spacing .* as nnU-Net 2 has it, {"spacing"'):
        read_label_map(folders[0] / "case.tif", Tiff3DIO())


# --- Other kinds than they seem ---


@pytest.mark.parametrize("slices", [3, 4, 5])
def test_a_stack_of_a_few_slices_is_a_volume_and_not_colours(tmp_path, slices):
    array = np.zeros((slices, 9, 9), np.uint8)
    array[1, 2:6, 2:6] = 1
    for name in ("true", "predicted"):
        (tmp_path / name).mkdir()
        Tiff3DIO().write_seg(array, str(tmp_path / name / "case.tif"), {"spacing": (2.0, 1.0, 1.0)})
    assert command((tmp_path / "true", tmp_path / "predicted"), "-l", "1") == 0
    summary = json.loads((tmp_path / "predicted" / "summary_topology.json").read_text())
    assert summary["settings"]["reader"] == "Tiff3DIO" and summary["mean"]["1"]["skeleton_length_mm"] < 4
    assert list(summary["settings"]["connectivity"]) == ["3D"]


def test_colours_and_2d_tiff_are_no_volumes(tmp_path, capsys):
    colours = np.zeros((9, 9, 3), np.uint8)
    for name, array, sentence in (("a.tif", colours, "2D image of 3 colours"), ("b.tiff", colours[..., 0],
                                                                               "Save 2D images as .png")):
        io.imsave(str(tmp_path / name), array, check_contrast=False)
        with pytest.raises(ValueError, match=sentence):
            read_label_map(tmp_path / name, Tiff3DIO())
        (tmp_path / "true").mkdir(exist_ok=True)
        (tmp_path / name).rename(tmp_path / "true" / name)
        assert command((tmp_path / "true", tmp_path / "true"), "-l", "1") == 1
        assert sentence in capsys.readouterr().err
        (tmp_path / "true" / name).unlink()


def test_grey_with_transparency_is_refused_with_the_way_out(tmp_path, capsys):
    Image.fromarray(np.zeros((9, 9, 2), np.uint8), "LA").save(tmp_path / "case.png")
    with pytest.raises(ValueError, match=r"case.png cannot be read .* without transparency \(alpha\)"):
        read_label_map(tmp_path / "case.png", NaturalImage2DIO())
    assert command((tmp_path, tmp_path), "-l", "1") == 1
    assert "without transparency (alpha)" in capsys.readouterr().err


@pytest.mark.parametrize("shape", [(1, 5, 6, 2), (4, 5, 6, 2), (5, 6, 2)])
def test_two_values_a_voxel_are_not_an_axis(tmp_path, shape):
    image = SimpleITK.GetImageFromArray(np.zeros(shape, np.uint8), isVector=True)
    SimpleITK.WriteImage(image, str(tmp_path / "case.mha"))
    with pytest.raises(ValueError, match=r"case.mha holds several values for each voxel"):
        read_label_map(tmp_path / "case.mha", SimpleITKIO())
    with pytest.raises(ValueError, match="Save one image with one value a voxel"):
        read_array([tmp_path / "case.mha"], SimpleITKIO(), "image")


@pytest.mark.parametrize("reader", [SimpleITKIO, NibabelIO])
def test_sheared_axes_are_refused_where_the_reader_keeps_them(tmp_path, reader):
    array = np.zeros((5, 6, 7), np.uint8)
    if reader is NibabelIO:
        affine = np.diag([1.0, 1, 2, 1])
        affine[0, 1] = 0.3
        nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / "case.nii.gz")
    else:
        write(array, tmp_path / "case.nrrd", direction=(1.0, 0.3, 0, 0, 1, 0, 0, 0, 1))
    with pytest.raises(ValueError, match="axes that are not at right angles"):
        read_label_map(next(tmp_path.iterdir()), reader())


def test_labels_that_32_bit_floats_merge_are_refused(tmp_path):
    array = np.zeros((4, 5, 6), np.int32)
    array[0, 0, :2] = 2**24 - 1, 2**24 - 2
    write(array, tmp_path / "case.nii.gz")
    assert read_label_map(tmp_path / "case.nii.gz", SimpleITKIO()).values() == [0, 2**24 - 2, 2**24 - 1]
    array[0, 0, :2] = 2**24, 2**24 + 1
    write(array, tmp_path / "case.nii.gz")
    assert len(np.unique(SimpleITKIO().read_seg(str(tmp_path / "case.nii.gz"))[0])) == 2  # of three
    with pytest.raises(ValueError, match="labels of 16777216 or more"):
        read_label_map(tmp_path / "case.nii.gz", SimpleITKIO())


def test_an_image_that_was_cut_off_is_refused(tmp_path):
    write(np.random.default_rng(0).integers(0, 99, (9, 9, 9), np.uint8), tmp_path / "case_0000.nii.gz")
    content = (tmp_path / "case_0000.nii.gz").read_bytes()
    (tmp_path / "case_0000.nii.gz").write_bytes(content[: len(content) // 2])
    assert SimpleITK.ReadImage(str(tmp_path / "case_0000.nii.gz")).GetSize() == (9, 9, 9)  # without a word
    with pytest.raises(ValueError, match="cut off or damaged"):
        read_array([tmp_path / "case_0000.nii.gz"], SimpleITKIO(), "image")


def test_a_validation_of_3d_tiff_has_the_spacing_of_its_predictions(tmp_path):
    """nnU-Net copies the label maps without their spacing files into gt_segmentations."""
    folders = tiff_pair(tmp_path, None, KNOWN)
    folders[0].rename(tmp_path / "gt_segmentations")
    (tmp_path / "fold_0").mkdir()
    folders[1].rename(tmp_path / "fold_0" / "validation")
    dataset_files(tmp_path, "classes", reader="Tiff3DIO", ending=".tif")
    plans, dataset = (json.loads((tmp_path / name).read_text()) for name in ("plans.json", "dataset.json"))
    said = []
    write_validation_summary(SimpleNamespace(
        output_folder=str(tmp_path / "fold_0"), plans_manager=SimpleNamespace(plans=plans), dataset_json=dataset,
        preprocessed_dataset_folder_base=str(tmp_path), print_to_log_file=lambda *words, **_: said.append(words[0])))
    summary = json.loads((tmp_path / "fold_0" / "validation" / "summary_topology.json").read_text())
    assert summary["mean"]["1"]["hausdorff_mm"] == 5 and "NOTE" not in "".join(said)
