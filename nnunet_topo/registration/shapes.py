"""What a registration needs to know of a bone: surface, signed distance, medial ridge and skeleton, field of view."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import SimpleITK as sitk  # noqa: N813  its customary name
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter
from torch import Tensor

from nnunet_topo.registration.cleaning import clean_occupancy
from nnunet_topo.registration.volumes import Box, Grid, Volume
from nnunet_topo.skeletons import thin

STEP_MM = 0.8
_PAD_MM = 6.0
_COARSE = 2  # the ridge's distance map is known on every second voxel
_FAR_MM = 24.0  # around the bone, as far as that map reaches
_CUT_MM = 2.0  # surface nearer than this to a face of the image may be the cut of the field of view
_RIDGE_SLOPE = 0.7  # where the distance rises more slowly than this, two sides of the surface are equally near


@dataclass(frozen=True)
class Shape:
    """One bone in physical space (mm); points in a random order by the seed, so that a first part is a fair sample.

    ``distance`` is negative inside. ``occupancy`` is the clean segmentation, 0 to 1. ``surface`` (N, 3) lies between
    voxels and leaves cut faces out. ``ridge`` (M, 3) are the medial points, where the distance has its crests.
    """

    occupancy: Volume
    distance: Volume
    surface: Tensor
    ridge: Tensor
    view: Box
    centre: NDArray[np.float64]
    axes: NDArray[np.float64]
    seed: int

    @cached_property
    def ridge_distance(self) -> Volume:
        """Distance to the medial ridge in mm."""
        return self._distance_to(self.ridge)

    @cached_property
    def skeleton(self) -> Tensor:
        """Points (K, 3) of the curve skeleton by thinning that keeps topology."""
        grid = self.occupancy.grid
        skeleton = thin(self.occupancy.values[0, 0].cpu().numpy() > 0.5, border="anchored")
        points = grid.points(np.argwhere(skeleton)[:, ::-1].astype(float))
        inside = self.tensor(points)
        inside = inside[self.view.depth_mm(inside) > 0]
        return inside[_order(len(inside), self.seed)]

    @cached_property
    def skeleton_distance(self) -> Volume:
        """Distance to the curve skeleton in mm."""
        return self._distance_to(self.skeleton)

    def blurred(self, millimetres: float) -> Volume:
        """The occupancy on the coarse grid, blurred by a standard deviation."""
        grid = self._coarse_grid
        values = self.occupancy.sample(self.tensor(grid.all_points())).reshape(tuple(grid.size)[::-1]).cpu().numpy()
        return self._volume(gaussian_filter(values, millimetres / grid.spacing[0], truncate=3), grid)

    def to(self, dtype: torch.dtype) -> Shape:
        """The same in another precision."""
        grid = self.view.grid
        return replace(
            self, occupancy=self.occupancy.to(dtype), distance=self.distance.to(dtype), surface=self.surface.to(dtype),
            ridge=self.ridge.to(dtype), view=Box(grid, self.surface.device, dtype))

    @cached_property
    def _coarse_grid(self) -> Grid:
        fine, step = self.occupancy.grid, _COARSE * STEP_MM
        pad = round((_FAR_MM - _PAD_MM) / step)
        size = tuple(-(-n // _COARSE) + 2 * pad for n in fine.size)
        origin = fine.points(np.full((1, 3), -float(pad * _COARSE)))[0]
        return Grid(size, np.full(3, step), origin, fine.direction)

    def _distance_to(self, points: Tensor) -> Volume:
        grid = self._coarse_grid
        index = np.rint(((points.cpu().numpy() - grid.origin) @ grid.direction) / grid.spacing).astype(int)
        away = np.ones(tuple(grid.size)[::-1], bool)
        away[tuple(index.T[::-1])] = False
        return self._volume(distance_transform_edt(away, sampling=grid.spacing[0]), grid)

    def tensor(self, array: NDArray[np.floating]) -> Tensor:
        """An array in the shape's precision, on its device."""
        return torch.as_tensor(array, dtype=self.surface.dtype, device=self.surface.device)

    def _volume(self, values: NDArray[np.floating], grid: Grid) -> Volume:
        return Volume(values.astype(np.float32), grid, self.surface.device, self.surface.dtype)


def prepare(
    image: sitk.Image, probability: NDArray[np.float32], name: str, *, seed: int, device: torch.device | str = "cpu"
) -> Shape:
    """Everything above from a probability map (array z, y, x) on an image's grid; a mask is one of zeros and ones.

    Raises ValueError for a segmentation that is empty, full, cut off on all sides, or holds several bones.
    """
    occupancy, grid = clean_occupancy(image, probability, name, step_mm=STEP_MM, pad_mm=_PAD_MM)
    inside = occupancy > 0.5
    distance = signed_distance(occupancy, inside)
    ridge = grid.points(_ridge(distance)[:, ::-1].astype(float))
    surface = grid.points(surface_between_voxels(occupancy)[:, ::-1])
    view = Box(Grid.of(image), device)

    def seen(points: NDArray[np.floating], margin: float) -> Tensor:
        tensor = torch.as_tensor(points[_order(len(points), seed)], dtype=torch.float32, device=device)
        return tensor[view.depth_mm(tensor) > margin]

    voxels = grid.points(np.argwhere(inside)[:, ::-1].astype(float))
    centre = voxels.mean(axis=0)
    axes = np.linalg.eigh(np.cov((voxels - centre).T))[1]
    axes *= np.array([1, 1, np.sign(np.linalg.det(axes))])
    smooth = gaussian_filter(distance, 0.6, truncate=3)
    uncut = seen(surface, _CUT_MM)
    if not len(uncut):
        raise ValueError(f"The {name} segmentation reaches the border of its image on all sides, so that no surface of "
                         "the bone is seen. Give an image in which the bone has background around it, and check that "
                         "its label is the bone and not noise.")
    return Shape(Volume(occupancy, grid, device), Volume(smooth, grid, device), uncut,
                 seen(ridge, 0), view, centre, axes, seed)


def around(shape: Shape, reach_mm: float) -> Tensor:
    """Voxels (N, 3) of a coarse grid within a distance of the bone, in a random order by the seed."""
    points = shape.tensor(shape.ridge_distance.grid.all_points())
    near = points[shape.distance.sample_distance(points) < reach_mm]
    return near[torch.as_tensor(_order(len(near), shape.seed), device=near.device)]


def signed_distance(occupancy: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance in mm to where the occupancy is one half, negative inside, from one distance transform.

    The transform gives the nearest voxel of the inner border; the surface there is the plane in which the occupancy,
    linear around that voxel, is one half.
    """
    core = inside.copy()
    for axis in range(3):
        for step in (1, -1):
            neighbour = np.roll(inside, step, axis)
            np.moveaxis(neighbour, axis, 0)[0 if step == 1 else -1] = True  # what comes around from the other end
            core &= neighbour
    border = inside & ~core
    far, nearest = distance_transform_edt(~border, return_indices=True)
    places = np.nonzero(border)
    normal = -np.stack([np.gradient(occupancy, axis=axis)[places] for axis in range(3)])
    length = np.linalg.norm(normal, axis=0) + 1e-6
    normal /= length
    depth = np.minimum((occupancy[places] - 0.5) / length, 1)
    number = np.zeros(inside.shape, np.int32)
    number[places] = np.arange(len(depth))
    number = number[tuple(nearest)]
    signed = np.where(inside, -far - depth[number], far - depth[number]).astype(np.float32)

    near = np.nonzero(far < 2.5)
    offset = np.stack([axis - nearest[k][near] for k, axis in enumerate(near)]).astype(np.float32)
    signed[near] = (offset * normal[:, number[near]]).sum(0) - depth[number[near]]
    return signed * np.float32(STEP_MM)


def surface_between_voxels(occupancy: NDArray[np.float32]) -> NDArray[np.float64]:
    """Where the occupancy, linear between neighbours along each axis, is one half: indices (N, 3)."""
    level = occupancy - 0.5
    found = []
    for axis in range(3):
        moved = np.moveaxis(level, axis, 0)
        places = np.nonzero((moved[:-1] > 0) != (moved[1:] > 0))
        below, above = moved[:-1][places], moved[1:][places]
        index = np.stack(places, -1).astype(float)
        index[:, 0] += below / (below - above)
        order = [0, 0, 0]
        for column, original in enumerate([axis, *[k for k in range(3) if k != axis]]):
            order[original] = column
        found.append(index[:, order])
    return np.concatenate(found)


def _ridge(distance: NDArray[np.float32]) -> NDArray[np.int64]:
    """Voxels (N, 3) within the bone at which the distance has a crest."""
    deep = distance < -STEP_MM
    slope = sum(np.gradient(distance, STEP_MM, axis=axis) ** 2 for axis in range(3))
    ridge = np.argwhere(deep & (slope < _RIDGE_SLOPE**2))
    return ridge if len(ridge) else np.argwhere(distance <= distance.min())


def _order(count: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(count)
