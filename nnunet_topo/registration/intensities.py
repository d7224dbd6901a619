"""The intensities of an image around the bone, as mutual information needs them."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk  # noqa: N813  its customary name
from scipy.ndimage import gaussian_filter
from torch import Tensor

from nnunet_topo.registration.shapes import STEP_MM, Shape, around
from nnunet_topo.registration.volumes import Grid, Volume

EDGE_MM = 14.0  # around the bone, as far as it is seen
_NEAR_MM = 1.5  # of the surface, for fine scales: soft tissue does not move along, and fat within the bone is displaced
_FINE_MM = 2.0  # scales up to this one are fine


class Intensities:
    """An image on the shape's grid and 14 mm around it; the values from its 1st to its 99th percentile as 0 to 1."""

    def __init__(self, image: sitk.Image, shape: Shape) -> None:
        self.shape = shape
        fine, pad = shape.occupancy.grid, int(np.ceil(EDGE_MM / STEP_MM))
        size = tuple(int(n) + 2 * pad for n in fine.size)
        self.grid = Grid(size, fine.spacing, fine.points(np.full((1, 3), -float(pad)))[0], fine.direction)
        resampler = sitk.ResampleImageFilter()
        resampler.SetReferenceImage(self.grid.like())
        resampler.SetOutputPixelType(sitk.sitkFloat32)
        resampler.SetUseNearestNeighborExtrapolator(True)
        values = sitk.GetArrayFromImage(resampler.Execute(image))
        low, high = np.percentile(values[::2, ::2, ::2], (1, 99))
        self.values = np.clip((values - low) / max(high - low, 1e-6), 0, 1)

    def smoothed(self, scale_mm: float) -> Volume:
        """Smoothed by a standard deviation of half the scale, on every second voxel where that is coarse."""
        every = 2 if scale_mm > 4 else 1
        values, grid = self.values[::every, ::every, ::every], self.grid
        grid = Grid(values.shape[::-1], grid.spacing * every, grid.origin, grid.direction)
        smooth = gaussian_filter(values, scale_mm / 2 / (STEP_MM * every), truncate=2.5)
        return Volume(smooth, grid, self.shape.surface.device, self.shape.surface.dtype)

    def points(self, scale_mm: float) -> Tensor:
        """Voxels (N, 3) that the image sees, in a seeded order: the bone and around it; its surface, if fine."""
        fine = scale_mm <= _FINE_MM
        points = around(self.shape, _NEAR_MM if fine else EDGE_MM)
        if fine:
            points = points[self.shape.distance.sample_distance(points) > -_NEAR_MM]
        return points[self.shape.view.depth_mm(points) > 0]
