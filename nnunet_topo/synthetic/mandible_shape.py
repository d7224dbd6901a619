"""A mandible as a curved sheet of varying thickness: horseshoe body, rami, condyles, coronoids and teeth, with a seed.

The bone is the union of balls along its medial sheet, so that its medial structure is known, and its implicit function
is close to the signed distance. Every mandible is bent by a smooth random warp, so that left and right differ.
Coordinates are in mm, x to the left, y to the back, z upwards (LPS).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813  its customary name
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

Floats = NDArray[np.float64]

STEP = 0.7  # mm, of the grid on which the bone's implicit function is known
_MARGIN = 9.0  # mm of that grid around the sheet and its radii
_WAVES = 5
_TEETH_A_SIDE = 8


@dataclass(frozen=True)
class Mandible:
    """Medial sheet (N, 3) with half thickness (N,), teeth as capsules (K, 7: two ends, radius), landmarks; in mm."""

    points: Floats
    radii: Floats
    teeth: Floats
    landmarks: dict[str, Floats]


def mandible(seed: int) -> Mandible:
    """A random mandible of 50 to 90 ml and about 100 mm width; the same seed gives the same one."""
    rng = np.random.default_rng((seed, 1))
    size = rng.uniform(0.93, 1.06)
    points, radii, teeth, names, places = [], [], [], [], []
    absent = rng.uniform(0, 0.4)
    body = _body(rng)
    for side, letter in ((1, "left"), (-1, "right")):
        parts = [body, _ramus(rng)]
        condyle, condyle_places = _condyle(parts[1][2])
        for part, thickness in [parts[0][:2], parts[1][:2], condyle]:
            points.append(part * (side, 1, 1))
            radii.append(thickness)
        for name, place in (parts[0][2] | parts[1][2] | condyle_places).items():
            if not name.startswith("_"):
                names.append(f"{letter} {name}")
                places.append(np.asarray(place) * (side, 1, 1))
        teeth.append(_teeth(rng, absent) * (side, 1, 1, side, 1, 1, 1))
    names += ["menton", "infradentale"]
    places += [np.array([0, -46, -14.0]), np.array([0, -46, 13.0])]
    warp = _Warp(rng)
    sheet = warp(np.concatenate(points) * size)
    capsules = np.concatenate(teeth)
    ends = [warp(capsules[:, k:k + 3] * size) for k in (0, 3)]
    return Mandible(
        sheet, np.concatenate(radii) * rng.uniform(0.92, 1.1), np.concatenate([*ends, capsules[:, 6:] * size], axis=1),
        dict(zip(names, warp(np.array(places) * size), strict=True)))


def implicit_function(bone: Mandible, with_teeth: bool) -> sitk.Image:
    """About the signed distance to the surface in mm, negative inside, as a float image of 0.7 mm voxels."""
    reach = bone.radii.max() + _MARGIN
    low = bone.points.min(axis=0) - reach
    shape = np.ceil((bone.points.max(axis=0) + reach - low) / STEP).astype(int) + 1
    radius = np.zeros(shape, np.float32)
    voxels = np.rint((bone.points - low) / STEP).astype(int)
    radius[tuple(voxels.T)] = bone.radii
    distance, nearest = distance_transform_edt(radius == 0, sampling=STEP, return_indices=True)
    function = (distance - radius[tuple(nearest)]).astype(np.float32)
    if with_teeth:
        for tooth in bone.teeth:
            _add_capsule(function, low, tooth)
    function = gaussian_filter(function, 1.2, truncate=3)
    image = sitk.GetImageFromArray(np.ascontiguousarray(function.transpose(2, 1, 0)))
    image.SetSpacing([STEP] * 3)
    image.SetOrigin(low.tolist())
    return image


def _body(rng: np.random.Generator) -> tuple[Floats, Floats, dict[str, Floats]]:
    """Half of the horseshoe: an arc of an ellipse, as high as the bone's body."""
    width, length = rng.uniform(41, 45), rng.uniform(58, 64)
    height = rng.uniform(11, 13)

    def at(angle: Floats, up: Floats) -> Floats:
        half = height - 1.5 * np.sin(angle)
        return np.stack([width * np.sin(angle), 15 - length * np.cos(angle), up * half + 2 * (1 - np.cos(angle))], -1)

    angle, up = np.meshgrid(np.linspace(0, np.radians(86), 150), np.linspace(-1, 1, 56), indexing="ij")
    radii = 5.2 - 0.9 * np.sin(angle) - 0.5 * up + 0.6 * np.exp(-((up + 0.8) / 0.3) ** 2)
    foramen = at(np.array(np.radians(38)), np.array(0.0))
    return (at(angle, up).reshape(-1, 3), radii.ravel(),
            {"mental foramen": foramen, "molar border": at(np.array(np.radians(75)), np.array(-1.0))})


def _ramus(rng: np.random.Generator) -> tuple[Floats, Floats, dict[str, Floats]]:
    """The plate behind the body, with coronoid in front, notch, and the neck of the condyle behind."""
    rise, tilt, flare = rng.uniform(30, 36), rng.uniform(0.12, 0.25), rng.uniform(1, 5)
    coronoid, neck = rng.uniform(11, 16), rng.uniform(8, 12)
    depth = rng.uniform(30, 34)

    def at(along: Floats, up: Floats) -> Floats:
        top = rise + coronoid * np.exp(-((along - 0.14) / 0.13) ** 2) + neck * np.exp(-((along - 0.85) / 0.13) ** 2)
        bottom = -11 + 9 * np.maximum(0, (along - 0.6) / 0.4) ** 2
        z = bottom + up * (top - bottom)
        return np.stack([42 + flare * up, 7 + depth * along + tilt * z, z], -1)

    along, up = np.meshgrid(np.linspace(0, 1, 72), np.linspace(0, 1, 110), indexing="ij")
    radii = 3.7 - 1.2 * up + 0.9 * np.exp(-((along - 0.88) / 0.1) ** 2) + 0.6 * np.exp(-((along - 0.05) / 0.1) ** 2)
    spots = {"gonion": (1.0, 0.0), "coronoid": (0.14, 1.0), "notch": (0.5, 1.0), "_neck": (0.85, 1.0)}
    return (at(along, up).reshape(-1, 3), radii.ravel(),
            {name: at(np.array(a), np.array(u)) for name, (a, u) in spots.items()})


def _condyle(ramus: dict[str, Floats]) -> tuple[tuple[Floats, Floats], dict[str, Floats]]:
    """A head across the neck: 19 mm wide, 9 mm from front to back."""
    across = np.linspace(-7, 4, 45)
    head = ramus["_neck"] + np.stack([across, 0 * across, 2.5 - 0.02 * across**2], -1)
    radii = 4.3 - 0.03 * across**2
    return (head, radii), {"medial pole": head[2], "lateral pole": head[-3]}


def _teeth(rng: np.random.Generator, absent: float) -> Floats:
    """Capsules in the upper border, from incisors to molars."""
    angles = np.radians(np.linspace(4, 76, _TEETH_A_SIDE))
    radii = np.interp(np.arange(_TEETH_A_SIDE), [0, 4, 7], [2.2, 3.0, 4.2])
    foot = np.stack([43 * np.sin(angles), 15 - 61 * np.cos(angles), 9 + 0 * angles], -1)
    teeth = np.concatenate([foot, foot + np.array([0, 0, 9]), radii[:, None]], axis=1)
    return teeth[rng.random(_TEETH_A_SIDE) >= absent]


class _Warp:
    """x + a sum of long waves, by some millimetres."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.waves = rng.standard_normal((_WAVES, 3)) * 2 * np.pi / 130
        self.phases = rng.uniform(0, 2 * np.pi, _WAVES)
        self.amplitudes = rng.standard_normal((_WAVES, 3)) * 1.3

    def __call__(self, points: Floats) -> Floats:
        return points + np.cos(points @ self.waves.T + self.phases) @ self.amplitudes


def _add_capsule(function: NDArray[np.float32], low: Floats, capsule: Floats) -> None:
    """The smaller one of the function and a capsule's distance, around it."""
    first, last, radius = capsule[:3], capsule[3:6], capsule[6]
    start = np.maximum(np.floor((np.minimum(first, last) - radius - 3 - low) / STEP).astype(int), 0)
    end = np.minimum(np.ceil((np.maximum(first, last) + radius + 3 - low) / STEP).astype(int) + 1, function.shape)
    place = tuple(slice(a, b) for a, b in zip(start, end, strict=True))
    grid = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(start, end, strict=True)), indexing="ij"), -1)
    points = low + grid * STEP
    axis = last - first
    share = np.clip(((points - first) @ axis) / (axis @ axis), 0, 1)
    distance = np.linalg.norm(points - first - share[..., None] * axis, axis=-1) - radius
    function[place] = np.minimum(function[place], distance)
