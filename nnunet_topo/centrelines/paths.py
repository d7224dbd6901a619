"""Paths through a mask: resampled, smoothed, centred, grown to the tip, measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

Points = NDArray[np.float64]


def arc_length(points: Points) -> Points:
    """(N,) from the first point on."""
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])


def resampled(points: Points, step: float) -> Points:
    """Points at equal distances of about ``step``, at least three, of a path that keeps its ends."""
    along = arc_length(points)
    if along[-1] == 0:
        return points[[0, -1]]
    wanted = np.linspace(0, along[-1], max(int(np.ceil(along[-1] / step)) + 1, 3))
    keep = np.concatenate([[True], np.diff(along) > 0])
    return np.stack([np.interp(wanted, along[keep], coordinate) for coordinate in points[keep].T], -1)


def smoothed(values: Points, width: float, closed: bool) -> Points:
    """(N, ...) values at equal distances, by a Gaussian of ``width`` steps; an open path keeps both its ends.

    Beyond an end the path goes on as its mirror image in that end point, so that a straight path stays what it is.
    """
    if width <= 0 or len(values) < 3:
        return values
    if closed:
        result = gaussian_filter1d(values[:-1], width, axis=0, mode="wrap")
        return np.concatenate([result, result[:1]])
    reach = min(len(values) - 1, int(4 * width) + 1)
    before, after = 2 * values[0] - values[reach:0:-1], 2 * values[-1] - values[-2: -reach - 2: -1]
    extended = np.concatenate([before, values, after])
    result = gaussian_filter1d(extended, width, axis=0, mode="nearest")[reach: reach + len(values)]
    result[[0, -1]] = values[[0, -1]]
    return result


def averaged(values: Points, width: float, closed: bool) -> Points:
    """(N, ...) values averaged over their surroundings in a path, with no more weight on what lies beyond its ends."""
    if closed:
        result = gaussian_filter1d(values[:-1], width, axis=0, mode="wrap")
        return np.concatenate([result, result[:1]])
    return gaussian_filter1d(values, width, axis=0, mode="constant")


def tangents(points: Points, closed: bool) -> Points:
    """(N, axes) of unit length, or 0 where points coincide."""
    if closed and len(points) > 2:
        differences = np.roll(points[:-1], -1, 0) - np.roll(points[:-1], 1, 0)
        differences = np.concatenate([differences, differences[:1]])
    else:
        differences = np.gradient(points, axis=0)
    lengths = np.linalg.norm(differences, axis=1, keepdims=True)
    return np.divide(differences, lengths, out=np.zeros_like(differences), where=lengths > 0)


class Inside:
    """Whether points in mm lie in a mask."""

    def __init__(self, mask: NDArray[np.bool_], spacing: Sequence[float]) -> None:
        self.mask, self.spacing = mask, np.asarray(spacing, float)
        self.edge = float(np.prod(self.spacing) ** (1 / mask.ndim))  # of a cube as large as a voxel

    def __call__(self, points: Points) -> NDArray[np.bool_]:
        """(N,) for (N, axes)."""
        voxels = np.rint(points / self.spacing).astype(np.int64)
        valid = ((voxels >= 0) & (voxels < self.mask.shape)).all(axis=1)
        result = np.zeros(len(points), bool)
        result[valid] = self.mask[tuple(voxels[valid].T)]
        return result

    def way_out(self, start: Points, direction: Points, longest: float) -> float:
        """How far a ray stays in the mask, at most ``longest``; at the border of the image to the voxels' centres."""
        step = self.spacing.min() / 20
        distances = np.arange(1, int(longest / step) + 2) * step
        points = start + distances[:, None] * direction
        last = (np.array(self.mask.shape) - 1) * self.spacing
        out = ~self(points) | (points < -1e-9).any(axis=1) | (points > last + 1e-9).any(axis=1)
        return float(distances[out.argmax()] - step) if out.any() else longest  # the last place within

    def at_border(self, point: Points) -> bool:
        """Whether the point lies in the outermost voxels of the image."""
        voxel = np.rint(point / self.spacing)
        return bool(((voxel <= 0) | (voxel >= np.array(self.mask.shape) - 1)).any())

    def surface(self) -> Callable[[Points], NDArray[np.float64]]:
        """A function that gives the distances from points to the nearest middle of a face of the surface.

        Faces at the border of the image do not count, unless there are no others.
        """
        middles = []
        framed = np.pad(self.mask, 1)
        for image, shift in ((self.mask, 0), (framed, -1)):
            for axis in range(image.ndim):
                places = np.argwhere(np.diff(image, axis=axis)) + shift
                middles.append((places + 0.5 * (np.arange(image.ndim) == axis)) * self.spacing)
            if sum(map(len, middles)):
                break
        if not sum(map(len, middles)):
            return lambda points: np.full(len(points), np.nan)
        tree = cKDTree(np.concatenate(middles))
        return lambda points: tree.query(points)[0]

    def kept(self, before: Points, after: Points) -> Points:
        """Points moved from ``before`` to ``after`` but for those that would leave the mask, or whose way there would,
        which go only half as far, a quarter and so on, or stay."""
        share = np.ones(len(before))
        for _ in range(4):
            bad = ~(self(before + share[:, None] * (after - before))
                    & self(before + 0.5 * share[:, None] * (after - before)))
            share[bad] /= 2
        share[~self(before + share[:, None] * (after - before))] = 0
        return before + share[:, None] * (after - before)
