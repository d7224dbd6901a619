"""From a mask to its centreline graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes
from scipy.spatial import cKDTree

from nnunet_topo.centrelines.graph import Branch, CentrelineGraph, Kind, Node
from nnunet_topo.centrelines.paths import Inside, Points, arc_length, averaged, resampled, smoothed, tangents
from nnunet_topo.centrelines.tracing import Traced, trace
from nnunet_topo.grids import check_spacing
from nnunet_topo.homology.masks import extents
from nnunet_topo.skeletons.centred import CentredSkeleton, skeleton_and_spurs

_SMOOTHING = 0.7  # of the radius
_ROUNDS = 3  # of smoothing and centring
_AT_TIPS = 1.4  # radii that are cut off before an end grows
_MOST_CUT = 0.4  # of a path
_FIXED = (1.0, 1.7)  # radii around a junction within which paths are not centred, and from which they are fully
_DIRECTION = 2.0  # radii of the end of a path that say where it goes
_FURTHEST = 4.0  # radii that an end may grow


@dataclass
class _Path:
    """A path that is being worked on: (N, axes) points in mm and the depth (N,) at each."""

    nodes: tuple[int, int]
    points: Points
    depth: Points

    @property
    def closed(self) -> bool:
        return self.nodes[0] == self.nodes[1]

    def smoothing(self, step: float) -> float:
        """Width in points."""
        return max(_SMOOTHING * float(self.depth.mean()), step) / step


def centreline_graph(mask: NDArray[np.bool_], spacing: Sequence[float]) -> CentrelineGraph:
    """The centrelines of a mask (*S), 2D or 3D, with radii, as a graph.

    The skeleton of :func:`nnunet_topo.skeletons.centred_skeleton` is traced, its paths are smoothed over 0.7 radii and
    moved onto the middle of the voxels nearest to them, without leaving the mask, and free ends grow along the vessel
    until they leave it, or reach the centres of the image's outermost voxels. Cavities are filled first. Components and
    loops are those of the mask, 26-connected (8 in 2D). An empty mask has no nodes; a ball, a voxel, or whatever else
    is not much longer than wide has a node without a branch.

    Args:
        mask: bool array.
        spacing: length of a voxel along each axis in mm.

    Raises:
        ValueError: another array, or a spacing that is not a positive length for each axis.
    """
    skeleton, places = _skeleton(mask, spacing)
    traced = trace(skeleton.voxels)
    notes = []
    if traced.cavities:
        notes.append("The mask has cavities; they were filled, since what encloses one has no centreline.")
        mask = binary_fill_holes(mask)
        skeleton, places = _skeleton(mask, spacing)
        traced = trace(skeleton.voxels)
    inside = Inside(mask, spacing)
    positions = [_centre(places[members], skeleton.depth_mm[members], inside) for members in traced.nodes]
    paths, passages = _without_passages(_paths(traced, skeleton.depth_mm, places, positions), len(positions))
    degrees = _degrees(len(positions), paths)
    voxels = np.argwhere(mask) * inside.spacing
    for path in paths:
        _cut_tips(path, degrees)
    for _ in range(_ROUNDS):
        _centre_paths(paths, degrees, voxels, inside)
    for path in paths:
        _grow(path, degrees, inside)
        for node, point in zip(path.nodes, path.points[[0, -1]], strict=True):
            positions[node] = point
    return _finished(paths, positions, passages, skeleton, voxels, inside, notes)


def _skeleton(mask: NDArray[np.bool_], spacing: Sequence[float]) -> tuple[CentredSkeleton, Points]:
    """The skeleton of the mask on a finer grid, whose voxels are about cubes, and the places of its voxels in mm.

    Thinning goes from neighbour to neighbour, so that long voxels would join two vessels long before they meet. Cutting
    a voxel in parts changes nothing in the topology. The ends of spurs are voxels of the mask.
    """
    check_spacing(spacing, mask.ndim)
    parts = np.maximum(np.rint(np.asarray(spacing) / min(spacing)), 1).astype(int)
    corner = np.array([low for low, _ in extents(mask)])
    fine = mask[tuple(slice(low, high + 1) for low, high in extents(mask))]
    for axis, count in enumerate(parts):
        fine = np.repeat(fine, count, axis)
    skeleton = skeleton_and_spurs(fine, np.asarray(spacing) / parts)
    spurs = replace(skeleton.spurs, ends=skeleton.spurs.ends // parts + corner)
    return replace(skeleton, spurs=spurs), (corner + (skeleton.voxels + 0.5) / parts - 0.5) * spacing


def _centre(points: Points, depth: Points, inside: Inside) -> Points:
    """The middle of a node's voxels, the deeper the more, or the deepest where that lies outside of the mask."""
    mean = np.average(points, axis=0, weights=depth)
    return mean if inside(mean[None])[0] else points[depth.argmax()]


def _paths(traced: Traced, depth_mm: Points, places: Points, positions: list[Points]) -> list[_Path]:
    """The traced paths, from the position of a node to that of the other."""
    depth_of = [depth_mm[members].max() for members in traced.nodes]
    return [_Path((one, two), np.concatenate([positions[one][None], places[members], positions[two][None]]),
                  np.array([depth_of[one], *depth_mm[members], depth_of[two]])) for one, two, members in traced.paths]


def _without_passages(paths: list[_Path], count: int) -> tuple[list[_Path], set[int]]:
    """Two paths that alone meet in a node become one; also the nodes that are gone."""
    passages = set()
    at: list[list[_Path]] = [[] for _ in range(count)]
    for path in paths:
        for node in path.nodes:
            at[node].append(path)
    kept = list(paths)
    for node, meeting in enumerate(at):
        if len(meeting) != 2 or meeting[0] is meeting[1]:
            continue
        first = meeting[0] if meeting[0].nodes[1] == node else _reversed(meeting[0])
        second = meeting[1] if meeting[1].nodes[0] == node else _reversed(meeting[1])
        joined = _Path((first.nodes[0], second.nodes[1]), np.concatenate([first.points, second.points[1:]]),
                       np.concatenate([first.depth, second.depth[1:]]))
        kept = [path for path in kept if path is not meeting[0] and path is not meeting[1]] + [joined]
        for other in joined.nodes:
            at[other] = [joined if path is meeting[0] or path is meeting[1] else path for path in at[other]]
        passages.add(node)
    return kept, passages


def _reversed(path: _Path) -> _Path:
    return _Path(path.nodes[::-1], path.points[::-1], path.depth[::-1])


def _degrees(count: int, paths: list[_Path]) -> NDArray[np.int64]:
    return np.bincount(np.array([node for path in paths for node in path.nodes], int), minlength=count)


def _cut_tips(path: _Path, degrees: NDArray[np.int64]) -> None:
    """Cut from free ends what runs into a corner of the tip; it grows again along the vessel."""
    along = arc_length(path.points)
    begin, end = 0, len(along)
    if degrees[path.nodes[0]] == 1:
        far = (along >= _AT_TIPS * path.depth) | (along > _MOST_CUT * along[-1])
        begin = int(far.argmax())
    if degrees[path.nodes[1]] == 1:
        back = along[-1] - along
        far = (back >= _AT_TIPS * path.depth) | (back > _MOST_CUT * along[-1])
        end = len(along) - int(far[::-1].argmax())
    if end - begin >= 2:
        path.points, path.depth = path.points[begin:end], path.depth[begin:end]


def _resample(path: _Path, step: float) -> None:
    before, points = arc_length(path.points), resampled(path.points, step)
    path.depth = np.interp(np.linspace(0, before[-1], len(points)), before, path.depth)
    path.points = points


def _centre_paths(paths: list[_Path], degrees: NDArray[np.int64], voxels: Points, inside: Inside) -> None:
    """Smooth all paths and move them to the middle of the voxels nearest to them."""
    if not paths:
        return
    for path in paths:
        _resample(path, inside.edge)
        straight = smoothed(path.points, path.smoothing(inside.edge), path.closed)
        path.points = inside.kept(path.points, straight)
    counts, sums = _nearest(paths, voxels)
    for path, count, total in zip(paths, counts, sums, strict=True):
        width = path.smoothing(inside.edge)
        weights = averaged(count, width, path.closed)
        shift = averaged(total - count[:, None] * path.points, width, path.closed)
        shift = np.divide(shift, weights[:, None], out=np.zeros_like(shift), where=weights[:, None] > 0)
        along = tangents(path.points, path.closed)
        shift -= (shift * along).sum(axis=1, keepdims=True) * along
        shift *= _away_from_junctions(path, degrees)[:, None]
        path.points = inside.kept(path.points, path.points + shift)


def _nearest(paths: list[_Path], voxels: Points) -> tuple[list[Points], list[Points]]:
    """For each point of each path the number of voxels nearest to it and the sum of their places."""
    points = np.concatenate([path.points for path in paths])
    owner = cKDTree(points).query(voxels)[1]
    counts: Points = np.bincount(owner, minlength=len(points)).astype(np.float64)
    sums: Points = np.stack([np.bincount(owner, coordinate, len(points)) for coordinate in voxels.T], -1)
    borders = np.cumsum([len(path.points) for path in paths])[:-1]
    split: tuple[list[Points], list[Points]] = (np.split(counts, borders), np.split(sums, borders))
    for path, count, total in zip(paths, *split, strict=True):
        if path.closed:  # the first point again
            count[[0, -1]] = count[0] + count[-1]
            total[[0, -1]] = total[0] + total[-1]
    return split


def _away_from_junctions(path: _Path, degrees: NDArray[np.int64]) -> Points:
    """(N,) 0 near a junction, 1 away from it, and from 0 to 1 between."""
    share = np.ones(len(path.points))
    for end, node in zip((0, -1), path.nodes, strict=True):
        if degrees[node] > 2:
            radius = max(path.depth[end], 1e-9)
            distance = np.linalg.norm(path.points - path.points[end], axis=1) / radius
            share = np.minimum(share, np.clip((distance - _FIXED[0]) / (_FIXED[1] - _FIXED[0]), 0, 1))
    return share


def _grow(path: _Path, degrees: NDArray[np.int64], inside: Inside) -> None:
    """Lead free ends on along the vessel until they leave the mask."""
    _resample(path, inside.edge)
    for end in (0, -1):
        if degrees[path.nodes[end]] != 1:
            continue
        points = path.points if end == -1 else path.points[::-1]
        back = arc_length(points)[-1] - arc_length(points)
        radius = float(np.median(path.depth[:3] if end == 0 else path.depth[-3:]))
        window = points[back <= max(_DIRECTION * radius, 4 * inside.edge)]
        direction = _direction(window)
        way = inside.way_out(points[-1], direction, _FURTHEST * radius + 2 * inside.spacing.max())
        if way > 0:
            tip = points[-1] + way * direction
            path.points = np.concatenate([path.points, tip[None]]) if end == -1 \
                else np.concatenate([tip[None], path.points])
            path.depth = np.append(path.depth, radius) if end == -1 else np.append(radius, path.depth)
    _resample(path, inside.edge)


def _direction(points: Points) -> Points:
    """Of the straight line that fits best, from the first point to the last."""
    centred = points - points.mean(axis=0)
    line = np.linalg.svd(centred, full_matrices=False)[2][0]
    return line if line @ (points[-1] - points[0]) >= 0 else -line


def _branch(
    path: _Path, count: Points, surface: Callable[[Points], NDArray[np.float64]], inside: Inside
) -> Branch:  # fmt: skip
    """The radii of a path, by the volume averaged over its surroundings and to the surface."""
    width = path.smoothing(inside.edge)
    steps = np.linalg.norm(np.diff(path.points, axis=0), axis=1)
    lengths = np.concatenate([[0.0], steps]) / 2 + np.concatenate([steps, [0.0]]) / 2
    if path.closed:
        lengths[[0, -1]] = lengths[0] + lengths[-1]
    volumes = averaged(count, width, path.closed) * float(np.prod(inside.spacing))
    lengths = averaged(lengths, width, path.closed)
    section = np.divide(volumes, lengths, out=np.zeros_like(volumes), where=lengths > 0)
    radius = section / 2 if inside.mask.ndim == 2 else np.sqrt(section / np.pi)
    return Branch(path.nodes, path.points, radius, surface(path.points))


def _finished(
    paths: list[_Path], positions: list[Points], passages: set[int], skeleton: CentredSkeleton, voxels: Points,
    inside: Inside, notes: list[str],
) -> CentrelineGraph:  # fmt: skip
    degrees = _degrees(len(positions), paths)
    counts = _nearest(paths, voxels)[0] if paths else []
    surface = inside.surface()
    branches = [_branch(path, count, surface, inside) for path, count in zip(paths, counts, strict=True)]
    kept = [node for node in range(len(positions)) if node not in passages]
    number = {node: i for i, node in enumerate(kept)}
    nodes = []
    for node in kept:
        kind: Kind = "isolated" if degrees[node] == 0 else "end" if degrees[node] == 1 \
            else "loop" if degrees[node] == 2 else "junction"
        border = kind in ("end", "isolated") and inside.at_border(positions[node])
        nodes.append(Node(kind, positions[node], surface(positions[node][None])[0], border))
    branches = [replace(branch, nodes=(number[branch.nodes[0]], number[branch.nodes[1]])) for branch in branches]
    alone = sum(node.kind == "isolated" for node in nodes)
    if alone:
        notes.append(f"{alone} component(s) are not much longer than wide, such as a ball or a voxel, and have a node "
                     "but no branch.")
    return CentrelineGraph(nodes, branches, skeleton.spurs, tuple(map(float, inside.spacing)), inside.mask.shape, notes)
