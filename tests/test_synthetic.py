"""Synthetic vessels: the topology is as promised, the image is as described, the dataset is one of nnU-Net."""

import json

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from skimage.io import imread

from nnunet_topo.homology import betti_numbers
from nnunet_topo.synthetic import vessel_tree, write_dataset
from nnunet_topo.synthetic.tubes import Branch, Forest, paint_tube

CASES = [
    ((128, 128), {}),
    ((128, 128), {"loops": 0, "trees": 3}),
    ((128, 96), {"loops": 4}),
    ((128, 128), {"classes": 2, "loops": 2}),
    ((32, 32), {}),
    ((48, 48, 48), {"loops": 2, "trees": 2}),
    ((20, 64, 64), {"classes": 2}),
    ((24, 24, 24), {"loops": 0}),
]


@pytest.mark.parametrize("connectivity", ["foreground", "background"])
@pytest.mark.parametrize(("shape", "options"), CASES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_label_has_the_components_and_loops_asked_for_under_either_connectivity(shape, options, seed, connectivity):
    vessels = vessel_tree(shape, seed=seed, **options)
    trees, loops, classes = options.get("trees", 1), options.get("loops", 1), options.get("classes", 1)
    cavities = (0,) * (len(shape) - 2)
    assert vessels.betti == (trees * classes, loops * classes, *cavities)
    assert betti_numbers(vessels.label > 0, connectivity) == vessels.betti
    assert set(np.unique(vessels.label)) == set(range(classes + 1))
    for value in range(1, classes + 1):
        assert vessels.class_betti[value] == (trees, loops, *cavities)
        assert betti_numbers(vessels.label == value, connectivity) == vessels.class_betti[value]


@pytest.mark.parametrize("shape", [(64, 64), (32, 32, 32)])
def test_same_seed_gives_the_same_vessels_and_another_seed_others(shape):
    one, again, other = (vessel_tree(shape, seed=seed) for seed in (7, 7, 8))
    for name in ("image", "label", "gaps"):
        assert np.array_equal(getattr(one, name), getattr(again, name))
    assert not np.array_equal(one.label, other.label)


def test_random_numbers_of_the_caller_are_left_alone():
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    vessel_tree((64, 64), seed=0)
    assert np.array_equal(before, np.random.get_state()[1])


@pytest.mark.parametrize("shape", [(128, 128), (64, 64, 64)])
def test_vessels_fade_at_the_gaps_though_their_label_goes_on(shape):
    vessels = vessel_tree(shape, seed=0, noise=0.0, distractors=0)
    assert vessels.image.dtype == np.float32
    assert vessels.label.dtype == np.uint8
    assert vessels.image.shape == vessels.label.shape == shape
    assert 0 < len(vessels.gaps) <= 8
    at_gaps = tuple(vessels.gaps.T)
    assert (vessels.label[at_gaps] == 1).all()
    background, vessel = np.median(vessels.image[vessels.label == 0]), np.median(vessels.image[vessels.label == 1])
    assert np.median(vessels.image[at_gaps]) < background + 0.4 * (vessel - background)
    assert len(vessel_tree(shape, seed=0, gaps=0).gaps) == 0


def test_vessels_are_thin_at_their_ends_and_thick_at_their_root():
    label = vessel_tree((128, 128), seed=0, root_radius=3.5, terminal_radius=1.2).label.astype(bool)
    _, ball = paint_tube(np.array([[3.0, 3.0]]), np.array([2.5]), (7, 7))
    offsets = np.argwhere(ball) - 3
    eroded = np.all([np.roll(label, offset, axis=(0, 1)) for offset in offsets], axis=0)
    assert eroded.any()
    assert np.count_nonzero(eroded) < 0.3 * np.count_nonzero(label)


def line(start: tuple[float, ...], end: tuple[float, ...], tree: int = 1) -> Branch:
    return Branch(np.linspace(start, end, 60), np.full(60, 1.2), tree)


def test_forest_takes_a_tube_only_if_it_changes_the_euler_characteristic_as_stated():
    forest = Forest((40, 40))
    assert not forest.add(line((5, 5), (5, 35)), change=0)  # it joins nothing
    assert forest.add(line((5, 5), (5, 35)), change=1)
    assert not forest.add(line((8, 5), (8, 35)), change=1)  # too near, though apart
    assert not forest.add(line((30, 5), (30, 35)), change=-1)
    assert forest.add(line((5, 10), (30, 10)), change=0)
    assert forest.add(line((5, 30), (30, 30)), change=0)
    assert not forest.add(line((30, 10), (30, 30)), change=0)  # it would close a loop
    assert forest.add(line((30, 10), (30, 30)), change=-1)
    assert betti_numbers(forest.trees > 0) == (1, 1)
    assert len(forest.branches) == 4


@pytest.mark.parametrize("centre", [(4.0, 4.0), (4.3, 4.7), (0.2, 8.1)])
def test_tube_of_one_point_is_the_ball_around_it(centre):
    painted = np.zeros((9, 9), dtype=bool)
    box, tube = paint_tube(np.array([centre]), np.array([2.4]), painted.shape)
    painted[box] = tube
    distance = np.linalg.norm(np.moveaxis(np.indices((9, 9)), 0, -1) - np.array(centre), axis=-1)
    assert np.array_equal(painted, distance <= 2.4)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((64,), {}, "two or three axes of at least 16 voxels"),
        ((64, 8), {}, r"not in one of shape \(64, 8\)"),
        ((64, 64), {"seed": -1}, "seed must be an integer of at least 0, not -1"),
        ((64, 64), {"trees": 0}, "trees must be an integer of at least 1, not 0"),
        ((64, 64), {"loops": 1.5}, "loops must be an integer of at least 0, not 1.5"),
        ((64, 64), {"classes": 3}, "classes must be 1"),
        ((64, 64), {"terminal_radius": 0.5}, "1 <= terminal_radius <= root_radius"),
        ((64, 64), {"root_radius": 1.1}, "1 <= terminal_radius <= root_radius"),
        ((64, 64), {"noise": -0.1}, "noise must not be negative"),
    ],
)
def test_arguments_out_of_range_are_refused_with_a_sentence(shape, options, message):
    with pytest.raises(ValueError, match=message):
        vessel_tree(shape, **{"seed": 0, **options})


def test_too_many_loops_end_in_a_sentence():
    with pytest.raises(RuntimeError, match=r"no room was found for 1 vessel trees with 60 loops .* from seed 0"):
        vessel_tree((32, 32), seed=0, loops=60)


def test_2d_dataset_is_8_bit_png_with_known_topology(tmp_path):
    folder = tmp_path / "Dataset900_Vessels"
    write_dataset(folder, cases=2, test_cases=1, shape=(48, 64), seed=3, progress=False, loops=0)
    description = json.loads((folder / "dataset.json").read_text())
    assert description["overwrite_image_reader_writer"] == "NaturalImage2DIO"
    assert description["labels"] == {"background": 0, "vessel": 1}
    assert (description["numTraining"], description["file_ending"]) == (2, ".png")
    assert sorted(path.name for path in (folder / "imagesTr").iterdir()) == [
        "vessels_000_0000.png",
        "vessels_001_0000.png",
    ]
    image = imread(folder / "imagesTs" / "vessels_002_0000.png")
    label = imread(folder / "labelsTs" / "vessels_002.png")
    assert image.dtype == label.dtype == np.uint8
    assert image.shape == label.shape == (48, 64)
    assert image.max() - image.min() > 100
    topology = json.loads((folder / "topology.json").read_text())
    assert list(topology) == ["vessels_000", "vessels_001", "vessels_002"]
    assert tuple(topology["vessels_002"]["betti_numbers"]) == betti_numbers(label == 1) == (1, 0)
    assert list(tmp_path.iterdir()) == [folder]


def test_3d_dataset_is_nifti_with_spacing_and_classes(tmp_path):
    folder = tmp_path / "Dataset901_Vessels"
    options = {"classes": 2, "spacing": (2, 1, 0.5), "loops": 0, "progress": False}
    write_dataset(folder, cases=1, test_cases=0, shape=(20, 24, 32), seed=3, **options)
    image = sitk.ReadImage(str(folder / "imagesTr" / "vessels_000_0000.nii.gz"))
    label = sitk.ReadImage(str(folder / "labelsTr" / "vessels_000.nii.gz"))
    assert image.GetSpacing() == label.GetSpacing() == (0.5, 1.0, 2.0)
    assert sitk.GetArrayFromImage(label).shape == (20, 24, 32)
    assert set(np.unique(sitk.GetArrayFromImage(label))) == {0, 1, 2}
    description = json.loads((folder / "dataset.json").read_text())
    assert description["labels"] == {"background": 0, "artery": 1, "vein": 2}
    assert "overwrite_image_reader_writer" not in description


def test_a_case_does_not_depend_on_how_many_there_are(tmp_path):
    for name, cases in (("few", 1), ("more", 2)):
        write_dataset(tmp_path / name, cases=cases, test_cases=0, shape=(32, 32), seed=5, progress=False)
    few, more = (imread(tmp_path / name / "imagesTr" / "vessels_000_0000.png") for name in ("few", "more"))
    assert np.array_equal(few, more)
    assert not np.array_equal(more, imread(tmp_path / "more" / "imagesTr" / "vessels_001_0000.png"))


def test_dataset_leaves_a_folder_that_holds_something_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not an empty folder"):
        write_dataset(tmp_path, cases=1, test_cases=0, shape=(32, 32), seed=0, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_dataset_that_fails_half_way_leaves_nothing_behind(tmp_path):
    with pytest.raises(RuntimeError, match="no room was found"):
        write_dataset(tmp_path / "new", cases=1, test_cases=0, shape=(32, 32), seed=0, progress=False, loops=60)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cases": 0}, "cases must be an integer of at least 1"),
        ({"spacing": (1, 1)}, "PNG"),
        ({"shape": (32, 32, 32), "spacing": (1, 1)}, "must be 3 positive numbers in mm"),
        ({"classes": 3}, "classes must be 1"),
    ],
)
def test_dataset_arguments_out_of_range_are_refused(tmp_path, options, message):
    arguments = {"cases": 1, "test_cases": 0, "shape": (32, 32), "seed": 0, "progress": False, **options}
    with pytest.raises(ValueError, match=message):
        write_dataset(tmp_path / "new", **arguments)
    assert list(tmp_path.iterdir()) == []
