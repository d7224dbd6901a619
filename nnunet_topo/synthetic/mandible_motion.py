"""A synthetic mandible as segmented in CT and in MR, with the true motion between the two: a bench for registration.

The MR segmentation is thinner, since cortical bone is dark in MR: evenly, in patches, and to one side. It has a ragged
border, holes, specks, often no teeth, sometimes a condyle missing, other spacing and oblique axes, and its field of
view may end within the bone. All of it is synthetic; what is measured here says nothing about accuracy in patients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813  its customary name
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from nnunet_topo.synthetic.mandible_images import Anatomy, ct_image, mr_image
from nnunet_topo.synthetic.mandible_scans import grid_around, on_grid
from nnunet_topo.synthetic.mandible_shape import Floats, Mandible, implicit_function, mandible

THINNING = ("mixed", "even", "one_sided", "none")
_THINNEST = 2.3  # mm by which the MR segmentation is thinner at most


@dataclass(frozen=True)
class MandiblePair:
    """Label maps (1 = mandible) of CT (fixed) and MR (moving), and what is true about them.

    ``transform`` maps physical points of the fixed image to the moving one; the landmarks (name: (3,)) are in mm in
    each image's own physical space. ``rotation_degrees``, ``shift_mm`` and ``cut_mm`` (the largest cut of the MR field
    of view into the bone) say how hard the pair is. Images are None unless they were asked for.
    """

    fixed: sitk.Image
    moving: sitk.Image
    transform: sitk.Euler3DTransform
    fixed_landmarks: dict[str, Floats]
    moving_landmarks: dict[str, Floats]
    rotation_degrees: float
    shift_mm: float
    cut_mm: float
    condyle_missing: bool
    fixed_image: sitk.Image | None = None
    moving_image: sitk.Image | None = None


def mandible_pair(
    seed: int, *, thinning: str = "mixed", rotation_degrees: float = 30, shift_mm: float = 40, cut_mm: float = 40,
    coarseness: float = 1.0, images: bool = False,
) -> MandiblePair:
    """Draw a pair; the same arguments give the same one.

    Args:
        thinning: of the MR segmentation; "mixed" (evenly, patches and one-sided together), "even" (1.2 to 2 mm on all
            sides), "one_sided" (1.5 to 2 mm from one direction) or "none".
        rotation_degrees, shift_mm: the most of either; drawn from a sixth and an eighth of it upwards.
        cut_mm: the most that the MR field of view ends within the bone; 45 % of pairs are cut, a third of them deeply.
        coarseness: factor on the voxel sizes (0.4 to 1 mm in CT, 0.6 to 1.5 mm in MR), for quick tests.
        images: also draw a CT-like and an MR-like image of the intensities.

    Raises ValueError for an unknown thinning and for numbers out of range.
    """
    _check(seed, thinning, rotation_degrees, shift_mm, cut_mm, coarseness)
    rng = np.random.default_rng((seed, 2))
    bone = mandible(seed)
    full = implicit_function(bone, with_teeth=True)
    place = rng.uniform(-60, 60, 3)
    transform, angle, shift = _motion(rng, bone.points.mean(axis=0) + place, rotation_degrees, shift_mm)
    to_bone = sitk.TranslationTransform(3, (-place).tolist())
    mr_to_bone = sitk.CompositeTransform([to_bone, transform.GetInverse()])

    outline = np.concatenate([bone.points - bone.radii[:, None], bone.points + bone.radii[:, None]])[::7] + place
    fixed_cuts, cuts, deepest = _cuts(rng, cut_mm)
    spacing = coarseness * np.array([*[rng.uniform(0.4, 0.5)] * 2, rng.uniform(0.5, 1.0)])
    flip = np.diag([-1.0, -1.0, 1.0]) if rng.random() < 0.3 else np.eye(3)
    fixed_grid = grid_around(outline, spacing, flip, rng.uniform(5, 12, (2, 3)) - fixed_cuts)
    moved = _moved(transform, outline)
    axes = np.roll(np.eye(3), int(rng.integers(3)), axis=1)
    axes = Rotation.from_rotvec(_direction(rng) * np.radians(rng.uniform(4, 14))).as_matrix() @ axes
    spacing = coarseness * np.array([*[rng.uniform(0.6, 0.95)] * 2, rng.uniform(0.8, 1.5)])
    moving_grid = grid_around(moved, spacing, axes, rng.uniform(5, 12, (2, 3)) - cuts)

    without_teeth = rng.random() < 0.5
    seen = implicit_function(bone, with_teeth=False) if without_teeth else full
    missing = rng.random() < 0.35 and thinning == "mixed"
    segmented = _thinned(seen, bone, thinning, missing, rng)
    fixed = _label(on_grid(full, fixed_grid, to_bone), fixed_grid, rng, blemishes=False)
    moving = _label(on_grid(segmented, moving_grid, mr_to_bone), moving_grid, rng, blemishes=thinning != "none")
    landmarks = {name: point + place for name, point in bone.landmarks.items()}
    ct = mr = None
    if images:
        own = np.random.default_rng((seed, 3))  # so that images change nothing of the shapes
        anatomy = Anatomy(bone, full, own)
        ct, mr = ct_image(anatomy, fixed_grid, to_bone, own), mr_image(anatomy, moving_grid, mr_to_bone, own)
    return MandiblePair(
        fixed, moving, transform, landmarks,
        {name: np.array(transform.TransformPoint(point.tolist())) for name, point in landmarks.items()},
        angle, shift, deepest, missing, ct, mr)


def _check(seed: int, thinning: str, rotation: float, shift: float, cut: float, coarseness: float) -> None:
    if thinning not in THINNING:
        raise ValueError(f"thinning must be one of {', '.join(THINNING)}, not {thinning!r}.")
    for name, value, most in (("rotation_degrees", rotation, 180), ("shift_mm", shift, 1000), ("cut_mm", cut, 60)):
        if not 0 <= value <= most:
            raise ValueError(f"{name} must be between 0 and {most}, not {value!r}.")
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"seed must be an integer of at least 0, not {seed!r}.")
    if not 0.5 <= coarseness <= 4:
        raise ValueError(f"coarseness must be between 0.5 and 4, not {coarseness!r}.")


def _direction(rng: np.random.Generator) -> Floats:
    vector = rng.standard_normal(3)
    return vector / np.linalg.norm(vector)


def _motion(
    rng: np.random.Generator, centre: Floats, rotation_degrees: float, shift_mm: float
) -> tuple[sitk.Euler3DTransform, float, float]:
    angle, shift = rng.uniform(rotation_degrees / 6, rotation_degrees), rng.uniform(shift_mm / 8, shift_mm)
    transform = sitk.Euler3DTransform()
    transform.SetCenter(centre.tolist())
    transform.SetMatrix(Rotation.from_rotvec(_direction(rng) * np.radians(angle)).as_matrix().ravel().tolist())
    transform.SetTranslation((_direction(rng) * shift).tolist())
    return transform, float(angle), float(shift)


def _moved(transform: sitk.Transform, points: Floats) -> Floats:
    return np.array([transform.TransformPoint(point) for point in points.tolist()])


def _cuts(rng: np.random.Generator, most: float) -> tuple[Floats, Floats, float]:
    """How far, with the margin, each face of either grid moves into the bone: (2, 3) of CT and MR, in mm."""
    fixed, moving = np.zeros((2, 3)), np.zeros((2, 3))
    if rng.random() < 0.2 and most:
        fixed[rng.integers(2), rng.integers(3)] = 12 + rng.uniform(5, 18) * min(1, most / 18)
    deepest = 0.0
    if rng.random() < 0.45 and most:
        deep = rng.random() < 1 / 3
        for _ in range(1 if deep else int(rng.integers(1, 3))):
            depth = rng.uniform(0.5, 1) * most if deep else rng.uniform(5, 18) * min(1, most / 18)
            moving[rng.integers(2), rng.integers(3)] = 12 + depth
            deepest = max(deepest, float(depth))
    return fixed, moving, deepest


def _thinned(
    seen: sitk.Image, bone: Mandible, thinning: str, missing: bool, rng: np.random.Generator
) -> sitk.Image:
    """The implicit function of what MR shows of the bone."""
    function = sitk.GetArrayFromImage(seen)
    loss = np.zeros_like(function)
    if thinning == "even":
        loss += rng.uniform(1.2, 2.0)
    elif thinning == "one_sided":
        loss += 0.3 + rng.uniform(1.5, 2.0) * _facing(function, _direction(rng))
    elif thinning == "mixed":
        patches = gaussian_filter(rng.standard_normal(function.shape, dtype=np.float32), 9)
        loss += rng.uniform(0.3, 0.8) + 0.7 * np.maximum(patches / patches.std(), 0)
        loss += rng.uniform(0, 1.2) * _facing(function, _direction(rng))
    function = function + np.minimum(loss, _THINNEST)
    if missing:
        name = f"{'left' if rng.random() < 0.5 else 'right'} lateral pole"
        grid = np.stack(np.meshgrid(*(np.arange(size) for size in function.shape), indexing="ij"), -1)[..., ::-1]
        points = np.array(seen.GetOrigin()) + grid * seen.GetSpacing()
        ball = np.linalg.norm(points - bone.landmarks[name], axis=-1) - rng.uniform(11, 17)
        function = np.maximum(function, -ball)
    image = sitk.GetImageFromArray(function.astype(np.float32))
    image.CopyInformation(seen)
    return image


def _facing(function: NDArray[np.float32], direction: Floats) -> NDArray[np.float32]:
    """How much the surface looks into a direction, from 0 to 1, at each voxel."""
    gradient = np.stack([np.gradient(function, axis=axis) for axis in range(3)], -1)
    gradient /= np.linalg.norm(gradient, axis=-1, keepdims=True) + 1e-6
    return np.maximum(gradient @ direction.astype(np.float32), 0)


def _label(function: NDArray[np.float32], grid: sitk.Image, rng: np.random.Generator, blemishes: bool) -> sitk.Image:
    """Where the function is negative, with the errors of a segmentation where asked for."""
    spacing = np.array(grid.GetSpacing())[::-1]
    if blemishes:
        noise = gaussian_filter(rng.standard_normal(function.shape, dtype=np.float32), 1.2 / spacing)
        function = function + rng.uniform(0.3, 0.6) * noise / noise.std()
    mask = function < 0
    if blemishes:
        near, bone = np.argwhere(np.abs(function) < 12), np.argwhere(mask)
        for places, count, radii, value in (
            (bone, rng.integers(8, 20), (1, 3), False), (near, rng.integers(8, 20), (1, 2), True),
            (near, rng.random() < 0.3, (4, 8), True),
        ):
            for centre in places[rng.integers(0, len(places), int(count))]:
                _paint_ball(mask, centre, rng.uniform(*radii), spacing, value)
    label = sitk.GetImageFromArray(mask.astype(np.uint8))
    label.CopyInformation(grid)
    return label


def _paint_ball(
    mask: NDArray[np.bool_], centre: NDArray[np.int64], radius: float, spacing: Floats, value: bool
) -> None:
    reach = np.ceil(radius / spacing).astype(int)
    place = tuple(slice(max(c - r, 0), c + r + 1) for c, r in zip(centre, reach, strict=True))
    axes = np.ogrid[tuple(slice(s.start, min(s.stop, n)) for s, n in zip(place, mask.shape, strict=True))]
    squared = sum(((axis - c) * step) ** 2 for axis, c, step in zip(axes, centre, spacing, strict=True))
    mask[place][squared <= radius**2] = value
