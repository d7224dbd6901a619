"""What one would do without nnunet_topo.registration: ICP of surfaces, and SimpleITK on clipped distance maps."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk  # noqa: N813  its customary name
from scipy.spatial import KDTree

from nnunet_topo.registration.volumes import Grid

POINTS = 6000
CLIP_MM = 5.0


def icp(fixed: sitk.Image, moving: sitk.Image) -> sitk.Transform:
    """Rigid iterative closest points between surface voxels, from the centres of mass; P. Besl and N. McKay, 1992."""
    (one, _), (two, dense) = (_surface(image) for image in (fixed, moving))
    tree = KDTree(dense)
    rotation, shift = np.eye(3), two.mean(axis=0) - one.mean(axis=0)
    for _ in range(100):
        moved = one @ rotation.T + shift
        nearest = dense[tree.query(moved)[1]]
        centre_one, centre_two = one.mean(axis=0), nearest.mean(axis=0)
        left, _, right = np.linalg.svd((nearest - centre_two).T @ (one - centre_one))
        rotation = left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right
        before, shift = moved, centre_two - rotation @ centre_one
        if np.abs(one @ rotation.T + shift - before).max() < 1e-3:
            break
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(rotation.ravel().tolist())
    transform.SetTranslation(shift.tolist())
    return transform


def distance_maps(fixed: sitk.Image, moving: sitk.Image) -> sitk.Transform:
    """SimpleITK's registration framework: mean squares of signed distances clipped to 5 mm, three resolutions."""
    start = sitk.CenteredTransformInitializer(sitk.Cast(fixed, sitk.sitkFloat32), sitk.Cast(moving, sitk.sitkFloat32),
                                              sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS)
    one, two = (_clipped(image) for image in (fixed, moving))
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMeanSquares()
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.1, 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 1e-3, 150, 0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(start, inPlace=False)
    return method.Execute(one, two)


def _surface(image: sitk.Image) -> tuple[np.ndarray, np.ndarray]:
    """Border voxels in mm: a seeded sample, and all of them."""
    largest = sitk.RelabelComponent(sitk.ConnectedComponent(image)) == 1
    border = sitk.GetArrayFromImage(largest ^ sitk.BinaryErode(largest, [1] * 3))
    points = Grid.of(image).points(np.argwhere(border)[:, ::-1].astype(float))
    return np.random.default_rng(0).permutation(points)[:POINTS], points


def _clipped(image: sitk.Image) -> sitk.Image:
    largest = sitk.RelabelComponent(sitk.ConnectedComponent(image)) == 1
    distance = sitk.SignedMaurerDistanceMap(largest, False, False, True)  # negative inside, in mm
    return sitk.Clamp(distance, sitk.sitkFloat32, -CLIP_MM, CLIP_MM)
