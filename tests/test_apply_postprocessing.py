"""nnUNetv2_topo_apply_postprocessing: folders in nnU-Net's formats, resumed after a kill, and what is refused."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from nnunetv2.imageio.nibabel_reader_writer import NibabelIOWithReorient
from postprocessing_cases import labels_of, model_files, random_probabilities, scheme_of, settings_of, write_case
from skimage import io
from test_postprocessing_labels import case_of
from tifffile import imwrite

from nnunet_topo.commands.apply_postprocessing import main
from nnunet_topo.postprocessing import Operations, application, postprocess_labels, write_postprocessing

SPACING = (2.0, 0.5, 0.7)
OPERATIONS = Operations(gaps_tau=0.3, specks_smaller_than=8, holes_smaller_than=8)
OBLIQUE = (0.8, 0.6, 0.0, -0.6, 0.8, 0.0, 0.0, 0.0, -1.0)


def write_nifti(labels: np.ndarray, folder: Path, case: str, direction=OBLIQUE) -> None:
    image = SimpleITK.GetImageFromArray(labels)
    image.SetSpacing(SPACING[::-1] if labels.ndim == 3 else SPACING[:0:-1])
    if labels.ndim == 3:
        image.SetOrigin((3.0, -4.0, 5.0))
        image.SetDirection(direction)
    SimpleITK.WriteImage(image, str(folder / f"{case}.nii.gz"), True)


def three_cases(folder: Path, kind: str = "one", shape: tuple[int, ...] = (10, 14, 12)) -> list[str]:
    """Folder ``in`` of three cases, settings and model files; returns the command's arguments."""
    for seed in range(3):
        probabilities = random_probabilities(kind, shape, seed)
        write_case(folder / "in", f"case_{seed}", probabilities, labels_of(kind, probabilities), write_nifti, SPACING)
    write_postprocessing(folder / "pp.json", settings_of(kind, len(shape), OPERATIONS))
    flags = model_files(folder, kind)
    return [str(folder / "in"), str(folder / "out"), "-pp", str(folder / "pp.json"), *flags, "-np", "0"]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() if file.is_file() else b""
            for file in sorted(folder.rglob("*"))}


def expected(kind: str, labels: np.ndarray, probabilities: np.ndarray, operations: Operations = OPERATIONS):
    scheme = scheme_of(kind)
    return postprocess_labels(labels, SPACING[-labels.ndim :], scheme, [operations] * len(scheme.names),
                              case_of(kind, probabilities, labels))


@pytest.fixture
def arguments(tmp_path) -> list[str]:
    return three_cases(tmp_path)


@pytest.mark.parametrize("kind", ["one", "four", "regions"])
def test_every_case_is_post_processed_and_its_header_kept(kind, tmp_path, capsys):
    assert main(three_cases(tmp_path, kind)) == 0
    for seed in range(3):
        before, after = (SimpleITK.ReadImage(str(tmp_path / folder / f"case_{seed}.nii.gz"))
                         for folder in ("in", "out"))
        for name in ("GetSpacing", "GetOrigin", "GetDirection", "GetPixelIDTypeAsString"):
            assert np.all(getattr(before, name)() == getattr(after, name)() if name.startswith("GetPixel")
                          else np.allclose(getattr(before, name)(), getattr(after, name)()))
        labels = SimpleITK.GetArrayFromImage(before)
        result = expected(kind, labels, random_probabilities(kind, (10, 14, 12), seed))
        assert np.array_equal(SimpleITK.GetArrayFromImage(after), result) and not np.array_equal(result, labels)
    printed = capsys.readouterr().out
    assert all(f"{name}: lost " in printed for name in scheme_of(kind).names) and "3 label map(s)" in printed
    assert json.loads((tmp_path / "out" / "postprocessing.json").read_text())["unit_of_sizes"] == "mm3"


def test_images_are_post_processed_in_mm2(tmp_path):
    assert main(three_cases(tmp_path, shape=(40, 44))) == 0
    labels, result = (SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / folder / "case_1.nii.gz")))
                      for folder in ("in", "out"))
    assert np.array_equal(result, expected("one", labels, random_probabilities("one", (40, 44), 1)))


@pytest.mark.parametrize("processes", ["0", pytest.param("2", marks=pytest.mark.slow)])
def test_probabilities_lie_in_the_readers_orientation(processes, tmp_path):
    """NibabelIOWithReorient turns the axes; nnU-Net stores probabilities as it predicts them, turned."""
    reader = NibabelIOWithReorient()
    arguments = three_cases(tmp_path)
    turned = {}
    for seed in range(3):
        file = tmp_path / "in" / f"case_{seed}.nii.gz"
        labels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file)))
        write_nifti(labels, tmp_path / "in", f"case_{seed}", (0.0, -1.0, 0.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0))
        read, properties = reader.read_seg(str(file))
        assert read.shape[1:] != labels.shape
        probabilities = random_probabilities("one", read.shape[1:], seed)
        turned[seed] = labels_of("one", probabilities), probabilities, tuple(properties["spacing"])
        reader.write_seg(turned[seed][0], str(file), properties)
        np.savez_compressed(file.with_name(f"case_{seed}.npz"), probabilities=probabilities)
        file.with_name(f"case_{seed}.pkl").unlink()
    model_files(tmp_path, "one", "NibabelIOWithReorient")
    assert main([*arguments[:-1], processes]) == 0
    for seed, (labels, probabilities, spacing) in turned.items():
        wanted = postprocess_labels(labels, spacing, scheme_of("one"), [OPERATIONS],
                                    case_of("one", probabilities, labels))
        result, _ = reader.read_seg(str(tmp_path / "out" / f"case_{seed}.nii.gz"))
        assert np.array_equal(result[0], wanted)


@pytest.mark.parametrize(("reader", "ending"), [("Tiff3DIO", ".tif"), ("NaturalImage2DIO", ".png")])
def test_formats_without_headers(reader, ending, tmp_path):
    def write(labels, folder, case):
        if ending == ".tif":
            imwrite(folder / f"{case}.tif", labels)
            (folder / f"{case}.json").write_text(json.dumps({"spacing": SPACING}))
        else:
            io.imsave(str(folder / f"{case}.png"), labels, check_contrast=False)

    shape = (10, 14, 12) if ending == ".tif" else (30, 28)
    probabilities = random_probabilities("one", shape, 0)
    labels = labels_of("one", probabilities)
    spacing = SPACING if ending == ".tif" else (999, 1, 1)
    write_case(tmp_path / "in", "case", probabilities, labels, write, spacing)
    write_postprocessing(tmp_path / "pp.json", settings_of("one", len(shape), OPERATIONS))
    assert main([str(tmp_path / "in"), str(tmp_path / "out"), "-pp", str(tmp_path / "pp.json"),
                 *model_files(tmp_path, "one", reader, ending), "-np", "0"]) == 0
    files = {file.name for file in (tmp_path / "out").iterdir()}
    assert files - {"postprocessing.json", "nnunet_topo_postprocessing"} == {f"case{ending}"} | (
        {"case.json"} if ending == ".tif" else set())
    result = io.imread(str(tmp_path / "out" / f"case{ending}"))
    assert result.shape == shape and not np.array_equal(result, labels)


def test_settings_without_gaps_need_no_probabilities_and_model_files_are_found_in_the_input(arguments, tmp_path):
    write_postprocessing(tmp_path / "pp.json", settings_of("one", 3, Operations(specks_smaller_than=8)))
    for file in (tmp_path / "in").glob("*.npz"):
        file.unlink()
    for name in ("dataset.json", "plans.json"):
        shutil.move(tmp_path / name, tmp_path / "in" / name)
    assert main([*arguments[:4], "-np", "0"]) == 0


def test_a_finished_case_is_not_done_again_until_its_files_or_the_settings_change(arguments, tmp_path):
    assert main(arguments) == 0
    first = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").glob("*.nii.gz")}
    assert main(arguments) == 0
    assert {file: file.stat().st_mtime_ns for file in first} == first
    os.utime(tmp_path / "in" / "case_1.npz")
    assert main(arguments) == 0
    assert [file.name for file in sorted(first) if file.stat().st_mtime_ns != first[file]] == ["case_1.nii.gz"]
    write_postprocessing(tmp_path / "pp.json", settings_of("one", 3, Operations(specks_smaller_than=50)))
    assert main(arguments) == 0
    assert all(file.stat().st_mtime_ns != first[file] for file in first)


def test_killed_at_any_moment_and_started_again_it_writes_the_same_files(arguments, tmp_path):
    assert main(arguments) == 0
    wanted = contents(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    started = time.perf_counter()
    assert main(arguments) == 0
    duration = time.perf_counter() - started
    shutil.rmtree(tmp_path / "out")
    killed = 0
    for share in (0.2, 0.5, 0.7, 0.5, None):
        child = os.fork()  # a process that need not import nnU-Net first
        if child == 0:
            os._exit(main(arguments))
        if share is not None:
            time.sleep(share * duration)
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        killed += status == signal.SIGKILL
    assert killed and status == 0
    assert contents(tmp_path / "out") == wanted


@pytest.mark.parametrize("moment", ["write_json", "replace"])
def test_stopped_between_any_two_steps_the_next_run_completes_the_case(moment, arguments, tmp_path, monkeypatch):
    assert main(arguments) == 0
    wanted = contents(tmp_path / "out")
    write_postprocessing(tmp_path / "pp.json", settings_of("one", 3, Operations(specks_smaller_than=50)))
    assert main(arguments) == 0
    write_postprocessing(tmp_path / "pp.json", settings_of("one", 3, OPERATIONS))
    with monkeypatch.context() as patch:
        def stop(*_, **__):
            raise KeyboardInterrupt

        if moment == "write_json":
            patch.setattr(application, "write_json", stop)
        else:
            patch.setattr(application.os, "replace", stop)
        assert main(arguments) == 130
    assert main(arguments) == 0
    assert contents(tmp_path / "out") == wanted


def refused(arguments: list[str], tmp_path: Path, capsys) -> str:
    before = contents(tmp_path)
    assert main(arguments) == 1
    assert contents(tmp_path) == before, "something was written"
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error


def test_missing_probabilities_are_named(arguments, tmp_path, capsys):
    (tmp_path / "in" / "case_1.npz").unlink()
    error = refused(arguments, tmp_path, capsys)
    assert "1 of 3 case(s)" in error and "case_1.npz" in error and "--save_probabilities" in error


BAD_PROBABILITIES = {
    "has an array of shape (3, 10, 14, 12), but this data set's probabilities have 2 channel(s)":
        lambda p: np.concatenate([p, p[:1]]),
    "has the shape (10, 14, 11) beside its channels, but": lambda p: p[..., :-1],
    "holds values that are not a number": lambda p: np.where(np.arange(12) == 3, np.nan, p),
    "holds values from -2": lambda p: p * 5 - 2,
    "says other labels than": lambda p: p[::-1],
    "holds int64 values, not probabilities": lambda p: (p * 10).astype(int),
}


@pytest.mark.parametrize("sentence", BAD_PROBABILITIES)
def test_probabilities_that_do_not_fit_are_refused(sentence, arguments, tmp_path, capsys):
    for seed in range(3):
        probabilities = random_probabilities("one", (10, 14, 12), seed)
        np.savez(tmp_path / "in" / f"case_{seed}.npz", probabilities=BAD_PROBABILITIES[sentence](probabilities))
    assert sentence in refused(arguments, tmp_path, capsys)


def test_damaged_probabilities_and_those_of_another_spacing_are_refused(arguments, tmp_path, capsys):
    for seed in (0, 1):
        file = tmp_path / "in" / f"case_{seed}.pkl"
        file.write_bytes(pickle.dumps({"spacing": (2.0, 0.5, 0.8)} if seed else {"spacing": print}))
    (tmp_path / "in" / "case_2.npz").write_bytes((tmp_path / "in" / "case_2.npz").read_bytes()[:-300])
    assert "cannot be read" in refused(arguments, tmp_path, capsys)
    np.savez(tmp_path / "in" / "case_2.npz", logits=np.zeros(3))
    assert "has no array 'probabilities'" in refused(arguments, tmp_path, capsys)
    np.savez(tmp_path / "in" / "case_2.npz", probabilities=random_probabilities("one", (10, 14, 11), 2))
    error = refused(arguments, tmp_path, capsys)
    assert "has the spacing (2.0, 0.5, 0.8)" in error and "it holds builtins.print" in error


def test_empty_predictions_stay_empty(arguments, tmp_path):
    probabilities = np.stack([np.full((10, 14, 12), 0.9, np.float32), np.full((10, 14, 12), 0.1, np.float32)])
    labels = labels_of("one", probabilities)
    for seed in range(3):
        write_case(tmp_path / "in", f"case_{seed}", probabilities, labels, write_nifti, SPACING)
    assert main(arguments) == 0
    for seed in range(3):
        file = tmp_path / "out" / f"case_{seed}.nii.gz"
        assert not SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file))).any()


def test_a_bad_case_is_named_and_the_others_are_written(arguments, tmp_path, capsys):
    np.savez(tmp_path / "in" / "case_1.npz", probabilities=np.full((2, 10, 14, 12), np.nan, np.float32))
    assert main(arguments) == 1
    assert "1 case(s) could not be post-processed" in capsys.readouterr().err
    assert sorted(file.name for file in (tmp_path / "out").glob("*.nii.gz")) == ["case_0.nii.gz", "case_2.nii.gz"]


def test_a_label_map_that_was_cut_off_by_a_full_disk_is_not_written(arguments, tmp_path, monkeypatch, capsys):
    def full(reader, labels, file, properties):  # as SimpleITK does, without a word
        Path(file).write_bytes(b"")

    monkeypatch.setattr("nnunetv2.imageio.simpleitk_reader_writer.SimpleITKIO.write_seg", full)
    assert main(arguments) == 1
    assert f"{tmp_path / 'out' / 'case_0.nii.gz'} was not written as a whole; check its disk" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*.nii.gz"))


def test_labels_that_dataset_json_does_not_have_are_refused(arguments, tmp_path, capsys):
    for seed in range(3):
        write_nifti(np.full((10, 14, 12), 5, np.uint8), tmp_path / "in", f"case_{seed}")
    assert "holds the label(s) 5" in refused(arguments, tmp_path, capsys)


def edited(settings: Path, **changes) -> None:
    content = json.loads(settings.read_text())
    for key, value in changes.items():
        place = content["regions"][0] if key in content["regions"][0] or key == "speks" else content
        place[key] = value
    settings.write_text(json.dumps(content))


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"labels": [2]}, "is for the labels vessel [2], but dataset.json has vessel [1]"),
    ({"name": "airway"}, "is for the labels airway [1], but dataset.json has vessel [1]"),
    ({"speks": 3}, "has the unknown key(s) 'speks'"),
    ({"colour": 3}, "has the unknown key(s) 'colour'"),
    ({"gaps_tau": 0.7}, "gaps_tau must be a number from 0 to"),
    ({"specks_smaller_than": -1}, "specks_smaller_than must be a number of 0 or more"),
    ({"pieces": 0}, "pieces must be a whole number of 1 or more"),
    ({"order": "none"}, "order must be"),
    ({"nnunet_topo_postprocessing": 2}, "is of format 2"),
    ({"unit_of_sizes": "mm2"}, "with 3 axes they are in mm3"),
    ({"axes": 2, "unit_of_sizes": "mm2"}, "has 3 axes, but the settings are for 2"),
])
def test_settings_that_do_not_fit_are_refused(changes, sentence, arguments, tmp_path, capsys):
    edited(tmp_path / "pp.json", **changes)
    assert sentence in refused(arguments, tmp_path, capsys)


def test_files_and_folders_that_cannot_be_used_are_named(arguments, tmp_path, capsys):
    def changed(place: int, value: Path) -> list[str]:
        return [*arguments[:place], str(value), *arguments[place + 1 :]]

    assert "are the same folder" in refused(changed(1, tmp_path / "in"), tmp_path, capsys)
    assert "does not exist" in refused(changed(0, tmp_path / "nowhere"), tmp_path, capsys)
    assert "nnUNetv2_topo_find_postprocessing writes one" in refused(changed(3, tmp_path / "no.json"), tmp_path, capsys)
    (tmp_path / "bad.json").write_text("{")
    assert "not JSON" in refused(changed(3, tmp_path / "bad.json"), tmp_path, capsys)
    assert "Name that of the trained model by -djfile" in refused(changed(5, tmp_path / "no.json"), tmp_path, capsys)
    assert "nnU-Net cannot use" in refused(changed(5, tmp_path / "plans.json"), tmp_path, capsys)
    assert "is a file; name a folder" in refused(changed(1, tmp_path / "bad.json"), tmp_path, capsys)
    (tmp_path / "out").mkdir()
    shutil.copy(tmp_path / "in" / "case_0.nii.gz", tmp_path / "out")
    assert "that this command did not write, e.g. case_0.nii.gz" in refused(arguments, tmp_path, capsys)


