"""The parts of a registration: shapes, motions, similarities with their gradients, deformations, files."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  its customary name
import torch

from nnunet_topo.registration import deformable
from nnunet_topo.registration.candidates import Candidate
from nnunet_topo.registration.cleaning import closed
from nnunet_topo.registration.moved_skeleton import MovedSkeleton
from nnunet_topo.registration.optimiser import Minimum, curvature, descend, minimise
from nnunet_topo.registration.shapes import prepare
from nnunet_topo.registration.stages import Pair, Stage
from nnunet_topo.registration.transforms import LinearMotion, rotation_matrix, starting_rotations
from nnunet_topo.registration.velocity import VelocityMotion


def bone(thickness: float, shift: float = 0.0, spacing: tuple[float, ...] = (0.9, 0.8, 1.0)) -> sitk.Image:
    """A bent rod with an arm, in an oblique frame, with a smooth texture as its image."""
    points = [(12 + 0.5 * t + shift, 14 + 0.008 * (t - 20) ** 2, 10 + 0.3 * t) for t in np.linspace(0, 44, 90)]
    points += [(24 + shift, 16 + 0.4 * t, 20 - 0.1 * t) for t in np.linspace(0, 36, 60)]
    grid = np.stack(np.meshgrid(*(np.arange(n) * s for n, s in zip((52, 56, 36), spacing, strict=True)),
                                indexing="ij"), -1)
    distance = np.min([np.linalg.norm(grid - point, axis=-1) for point in points], axis=0)
    image = sitk.GetImageFromArray((distance < thickness).astype(np.uint8).transpose(2, 1, 0))
    image.SetSpacing(spacing)
    image.SetOrigin((5.0, -20.0, 300.0))
    image.SetDirection(rotation_matrix(torch.tensor([0.2, -0.1, 0.4], dtype=torch.float64)).numpy().ravel().tolist())
    return image


def texture(image: sitk.Image) -> sitk.Image:
    smooth = sitk.SmoothingRecursiveGaussian(sitk.Cast(image, sitk.sitkFloat32), 2.0)
    return smooth + 0.1 * sitk.Sin(smooth * 9)


def shape(image: sitk.Image):
    return prepare(image, sitk.GetArrayFromImage(image).astype(np.float32), "test", seed=0)


@pytest.fixture(scope="module")
def pair():
    one, two = bone(5.0), bone(4.0, shift=1.0)
    return Pair(shape(one).to(torch.float64), shape(two).to(torch.float64), texture(one), texture(two))


def motion_of(pair: Pair, kind: str = "rigid") -> LinearMotion:
    return LinearMotion(kind, np.eye(3), pair.fixed.centre, pair.moving.centre, dtype=torch.float64)


def test_the_distance_is_exact_to_a_fifth_of_a_millimetre_near_a_ball():
    z, y, x = np.indices((50, 50, 50)) - 24.5
    image = sitk.GetImageFromArray((z**2 + y**2 + x**2 < 15**2).astype(np.uint8))
    ball = shape(image)
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((500, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for radius in (10.0, 14.0, 15.0, 16.0, 19.0, 40.0):
        points = torch.tensor(24.5 + radius * directions, dtype=torch.float32)
        error = ball.distance.sample_distance(points).numpy() - (radius - 15)
        assert abs(error.mean()) < (0.2 if radius < 20 else 1.6)  # beyond the grid it is an upper bound
    spread = np.linalg.norm(ball.surface.numpy() - 24.5, axis=1)
    assert abs(spread.mean() - 15) < 0.1 and spread.std() < 0.25
    assert np.linalg.norm(ball.ridge.numpy() - 24.5, axis=1).max() < 5


def test_a_cut_face_is_no_surface():
    values = np.zeros((30, 40, 40), np.uint8)
    values[:20, 10:30, 10:30] = 1  # leaves the image at z = 0
    surface = shape(sitk.GetImageFromArray(values)).surface.numpy()
    assert surface[:, 2].min() > 1.5 and surface[:, 2].max() > 19


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.6, 0.95])
def test_gaps_are_closed_as_by_simpleitk(share):
    rng = np.random.default_rng(int(100 * share))
    for _ in range(20):
        mask = rng.random(rng.integers(1, 14, 3)) < share
        image = sitk.BinaryMorphologicalClosing(sitk.GetImageFromArray(mask.astype(np.uint8)), [2] * 3)
        without_gaps = np.pad(sitk.GetArrayFromImage(image), 1)
        outside = sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray(1 - without_gaps)))
        assert np.array_equal(closed(mask), (outside != outside[0, 0, 0])[1:-1, 1:-1, 1:-1])


def test_specks_are_dropped_and_holes_closed():
    values = np.zeros((40, 40, 40), np.uint8)
    values[10:30, 10:30, 10:30] = 1
    clean = shape(sitk.GetImageFromArray(values))
    values[19:21, 19:21, 19:21] = 0
    values[2:4, 2:4, 2:4] = 1
    marred = shape(sitk.GetImageFromArray(values))
    assert clean.distance.grid.size == marred.distance.grid.size
    assert torch.allclose(clean.distance.values, marred.distance.values)


@pytest.mark.parametrize("kind, count", [("rigid", 6), ("similarity", 7), ("affine", 12)])
def test_linear_motions_invert_and_equal_their_simpleitk_transform(pair, kind, count):
    motion = motion_of(pair, kind)
    parameters = torch.tensor(np.random.default_rng(1).uniform(-4, 4, count))
    points = pair.fixed.surface[:50]
    moved = motion.forward(parameters, points)
    assert torch.allclose(motion.backward(parameters, moved), points, atol=1e-9)
    transform = motion.to_sitk(parameters.numpy())
    theirs = [transform.TransformPoint(point) for point in points.tolist()]
    assert np.allclose(moved.numpy(), theirs, atol=1e-6)
    again = motion.restarted(parameters.numpy(), "affine")
    assert torch.allclose(again.forward(torch.zeros(12, dtype=torch.float64), points), moved, atol=1e-9)


def test_starts_are_rotations_that_bring_axes_onto_each_other(pair):
    for rotation in starting_rotations(pair.fixed.axes, pair.moving.axes):
        assert np.allclose(rotation @ rotation.T, np.eye(3)) and np.linalg.det(rotation) == pytest.approx(1)


@pytest.mark.parametrize("kind", ["rigid", "affine"])
@pytest.mark.parametrize("term, scale", [("surface", 1.2), ("ridge", 8), ("skeleton", 8), ("mask", 3),
                                         ("intensity", 3), ("intensity", 1.2)])
def test_the_gradient_of_each_similarity_is_its_derivative(pair, term, scale, kind):
    motion = motion_of(pair, kind)
    loss = pair.loss(motion, Stage(((term, 1.0),), scale, points=300))
    rng = np.random.default_rng(2)
    parameters = torch.tensor(rng.uniform(-2, 2, motion.count + 1), requires_grad=True)
    loss(parameters).backward()
    for _ in range(3):  # along directions, by steps shorter than what a linear interpolation bends over
        direction = torch.tensor(rng.standard_normal(motion.count + 1))
        step = 1e-6 * direction
        with torch.no_grad():
            numeric = (loss(parameters + step) - loss(parameters - step)) / 2e-6
        assert float(numeric) == pytest.approx(float(parameters.grad @ direction), rel=1e-4, abs=1e-7)


def test_similarities_are_lower_in_place_than_moved(pair):
    motion, rng = motion_of(Pair(pair.fixed, pair.fixed)), np.random.default_rng(0)
    itself = Pair(pair.fixed, pair.fixed, texture(bone(5.0)), texture(bone(5.0)))
    for term in ("surface", "ridge", "skeleton", "mask", "intensity"):
        loss = itself.loss(motion, Stage(((term, 1.0),), 3, points=500))
        rest = float(loss(torch.zeros(7, dtype=torch.float64)))
        assert all(float(loss(torch.tensor(rng.uniform(3, 8, 7)))) > rest + 0.01 for _ in range(3))


def test_leaving_the_field_of_view_is_no_perfect_fit(pair):
    loss = pair.loss(motion_of(pair), Stage((("surface", 1.0),), 3, points=500))
    away = torch.tensor([500.0, 0, 0, 0, 0, 0, 0], dtype=torch.float64)
    assert float(loss(away)) > 0.95


def test_minimising_and_the_curvature_of_a_paraboloid():
    weights = torch.tensor([1.0, 10.0], dtype=torch.float64)

    def loss(x):
        return (weights * (x - 3).square()).sum()

    found = minimise(loss, np.zeros(2), iterations=50, tolerance=1e-12, dtype=torch.float64)
    assert found.converged and np.allclose(found.parameters, 3, atol=1e-4)
    assert np.allclose(curvature(loss, found.parameters, dtype=torch.float64), np.diag([2, 20]))
    assert not minimise(lambda x: (x - 3).pow(4).sum(), np.zeros(2), iterations=1, tolerance=0).converged
    assert descend(loss, np.zeros(2), iterations=60, rate_mm=0.2).loss < 1


@pytest.fixture(scope="module")
def flow(pair):
    linear = motion_of(pair)
    motion = VelocityMotion(linear, torch.tensor(np.random.default_rng(0).uniform(-2, 2, 6)), pair.fixed.occupancy.grid,
                            knots_mm=14, step_mm=2)
    return motion, torch.tensor(np.random.default_rng(1).standard_normal(motion.count) * 4)


def test_a_flow_inverts_and_does_not_fold(pair, flow):
    motion, parameters = flow
    points = pair.fixed.surface[:200]
    moved = motion.forward(parameters, points)
    linear = motion.linear.forward(motion.linear_parameters, points)
    assert (moved - linear).norm(dim=1).max() > 2
    assert (motion.backward(parameters, moved) - points).norm(dim=1).max() < 0.1
    assert 0 < motion.smallest_jacobian(parameters) < 0.9


def test_a_flow_equals_its_simpleitk_transform_also_read_back(pair, flow, tmp_path):
    motion, parameters = flow
    points = pair.fixed.surface[:50]
    transform = motion.to_sitk(parameters.numpy())
    sitk.WriteTransform(transform, str(tmp_path / "flow.h5"))
    for one in (transform, sitk.ReadTransform(str(tmp_path / "flow.h5"))):
        theirs = np.array([one.TransformPoint(point) for point in points.tolist()])
        assert np.abs(motion.forward(parameters, points).numpy() - theirs).max() < 1e-6


def test_a_translation_has_no_roughness_within_and_unit_jacobian_without_velocity(pair, flow):
    motion, parameters = flow
    assert motion.smallest_jacobian(0 * parameters) == pytest.approx(1)
    assert float(motion.roughness(torch.ones_like(parameters))) == 0 < float(motion.roughness(parameters))


def test_the_moved_skeleton_fits_best_in_place_and_pulls_back(pair):
    fixed = shape(bone(5.0))
    skeleton = MovedSkeleton(fixed, fixed)
    motion = LinearMotion("rigid", np.eye(3), fixed.centre, fixed.centre)
    values = [float(skeleton(motion, torch.tensor([shift, 0, 0, 0, 0, 0]))) for shift in (0.0, 2.0, 4.0)]
    assert values[0] < 0.05 and values[0] < values[1] < values[2]
    parameters = torch.tensor([3.0, 0, 0, 0, 0, 0], requires_grad=True)
    skeleton(motion, parameters).backward()
    assert parameters.grad[0] > 0 and parameters.grad[0] > parameters.grad[1:3].abs().max()


def test_a_deformation_ends_with_the_moved_skeleton_by_its_weight(pair, monkeypatch):
    monkeypatch.setattr(deformable, "STAGES", (Stage((("surface", 1.0),), 3, 300, 1, 1e-3),))
    start, values = Candidate(motion_of(pair), np.zeros(7)), []

    def in_place(loss, parameters, **options):
        with torch.no_grad():
            values.append(loss(torch.tensor(parameters)).item())
        return Minimum(parameters + 0.25, 0.0, values[-1:], True)

    monkeypatch.setattr(deformable, "descend", in_place)
    for weight in (0.5, 2.0):
        found = deformable.deform(pair, start, moved_skeleton=weight)
        assert found.history[-1] == ("deformable skeleton of the moved map", values[-1])
    with torch.no_grad():
        skeleton = MovedSkeleton(pair.fixed, pair.moving)(found.motion, torch.tensor(found.parameters[:-1] - 0.25))
    assert skeleton > 0.01 and values[1] - values[0] == pytest.approx(1.5 * skeleton.item(), rel=1e-6)
