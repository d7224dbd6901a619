"""Growth of vessel trees: where branches start, how they bend, how they part and where they meet again."""

import heapq
import itertools

import numpy as np

from nnunet_topo.synthetic.tubes import Branch, Floats, Forest

_STEP = 0.4  # voxels between two points of a centreline
_CANDIDATES = 8  # curves drawn for each branch
_TRIALS = 6  # of these, how many are tried on the grid, the freest first
_FEWEST_BRANCHES = 3  # of a tree that is worth the name
_SPROUTS = 24  # places along all vessels where a thin side branch is tried


class Growth:
    """Grows the trees of a forest, all of them together, the thickest branches first.

    Radii obey Murray's law at each bifurcation, r0^3 = r1^3 + r2^3 (C. D. Murray, PNAS 12, 1926), and its angles are
    those of least work (C. D. Murray, J. Gen. Physiol. 9, 1926). A branch that finds no room is left out.
    """

    def __init__(self, forest: Forest, *, root_radius: float, terminal_radius: float, rng: np.random.Generator) -> None:
        self.forest = forest
        self.root_radius = root_radius
        self.terminal_radius = terminal_radius
        self.rng = rng
        self.root_length = 0.0

    def grow_trees(self, count: int) -> bool:
        """Grow ``count`` trees from roots at the border; False if one of them finds no room for a few branches."""
        # A tree of five generations or so then fills its share of the image.
        self.root_length = 0.36 * float(np.median(self.forest.shape)) * count ** (-1 / len(self.forest.shape))
        tie = itertools.count()
        queue: list[tuple[float, int, Branch]] = []
        for tree, (start, direction) in enumerate(self._roots(count), start=1):
            root = self._branch(start, direction, self.root_radius, tree, change=1)
            if root is None:
                return False
            heapq.heappush(queue, (-self.root_radius, next(tie), root))
        while queue:
            parent = heapq.heappop(queue)[-1]
            for child in self._bifurcate(parent):
                heapq.heappush(queue, (-child.radii[0], next(tie), child))
        for _ in range(_SPROUTS):
            self._sprout()
        grown = np.bincount([branch.tree for branch in self.forest.branches], minlength=count + 1)
        return bool(grown[1:].min() >= _FEWEST_BRANCHES)

    def close_loop(self, tree: int, trials: int = 40) -> bool:
        """Let one tip of a tree grow on into another of its thin branches; False if that works nowhere."""
        reach = 0.12 * float(np.median(self.forest.shape)), 0.45 * float(np.median(self.forest.shape))
        thin = [b for b in self.forest.branches if b.tree == tree and b.radii[-1] < 1.6 * self.terminal_radius]
        pairs = []
        for tip, other in itertools.permutations(thin, 2):
            target = other.points[int(len(other.points) * self.rng.uniform(0.3, 1)) - 1]
            distance = float(np.linalg.norm(target - tip.points[-1]))
            are_neighbours = any(np.array_equal(tip.points[0], other.points[end]) for end in (0, -1))
            if tip.is_terminal and not are_neighbours and reach[0] < distance < reach[1]:
                pairs.append((distance * self.rng.uniform(1, 1.5), tip, target))
        pairs.sort(key=lambda pair: pair[0])
        for _, tip, target in pairs[:trials]:
            chord = target - tip.points[-1]
            points = curve(tip.points[-1], _end_direction(tip) * np.linalg.norm(chord), target, chord)
            branch = Branch(points, np.full(len(points), tip.radii[-1]), tree)
            if self.forest.add(branch, change=-1):
                tip.is_terminal = False
                return True
        return False

    def _roots(self, count: int) -> list[tuple[Floats, Floats]]:
        """Positions at different faces of the image, as long as there are any, and directions to the inside."""
        size = np.array(self.forest.shape)
        # A face across the longest axes leaves the tree the most room.
        faces = [(axis, side) for axis in range(size.size) for side in (0, 1) if size[axis] == size.max()]
        self.rng.shuffle(faces)
        roots = []
        for tree in range(count):
            axis, side = faces[tree % len(faces)]
            start = self.rng.uniform(0.3, 0.7, size.size) * (size - 1)
            start[axis] = side * (size[axis] - 1)
            inside = (size - 1) / 2 - start
            roots.append((start, _unit(_unit(inside) + 0.2 * self.rng.standard_normal(size.size))))
        return roots

    def _bifurcate(self, parent: Branch) -> list[Branch]:
        radius = float(parent.radii[-1])
        if parent.is_terminal:
            return []
        end, forward = parent.points[-1], _end_direction(parent)
        share = self.rng.uniform(max(0.15, (self.terminal_radius / radius) ** 3), 0.5)
        minor, major = radius * share ** (1 / 3), radius * (1 - share) ** (1 / 3)
        side = _perpendicular(forward, self.rng)
        # The thinner daughter first: where it finds no room, its share stays with the other.
        for away in (side, -side):
            angle = _least_work_angle(radius, minor, major)
            thin = self._branch(end, np.cos(angle) * forward + np.sin(angle) * away, minor, parent.tree)
            if thin is not None:
                angle = _least_work_angle(radius, major, minor)
                thick = self._branch(end, np.cos(angle) * forward - np.sin(angle) * away, major, parent.tree)
                return [thin] if thick is None else [thin, thick]
        onward = self._branch(end, forward, radius, parent.tree)
        parent.is_terminal = onward is None
        return [] if onward is None else [onward]

    def _sprout(self) -> None:
        """Try a side branch somewhere along a vessel, too thin for Murray's law to matter."""
        points = np.array([len(branch.points) for branch in self.forest.branches])
        parent = self.forest.branches[self.rng.choice(points.size, p=points / points.sum())]
        at = int(self.rng.uniform(0.15, 0.85) * len(parent.points))
        forward = _unit(parent.points[at] - parent.points[at - 2])
        direction = _unit(0.4 * forward + _perpendicular(forward, self.rng))
        radius = min(self.terminal_radius * self.rng.uniform(1, 1.25), parent.radii[at])
        self._branch(parent.points[at], direction, radius, parent.tree)

    def _branch(self, start: Floats, direction: Floats, radius: float, tree: int, change: int = 0) -> Branch | None:
        """The freest of some random curves that the forest takes, or None."""
        length = self.root_length * (radius / self.root_radius) ** 0.8
        is_terminal = radius**3 < 2 * self.terminal_radius**3
        curves = [self._random_curve(start, direction, length * self.rng.uniform(0.6, 1.3)) for _ in range(_CANDIDATES)]
        ahead = np.linspace(0.6, 1, 5)
        probes = np.concatenate([points[((len(points) - 1) * ahead).astype(int)] for points in curves])
        free = self.forest.clearance(probes).reshape(_CANDIDATES, -1).min(axis=1) - radius
        for index in np.argsort(-np.minimum(free, 0.5 * length))[:_TRIALS]:
            if free[index] < 1:
                break
            radii = np.linspace(radius, self.terminal_radius if is_terminal else radius, len(curves[index]))
            branch = Branch(curves[index], radii, tree, is_terminal)
            if self.forest.add(branch, change=change):
                return branch
        return None

    def _random_curve(self, start: Floats, direction: Floats, length: float) -> Floats:
        bend = 0.35 * self.rng.standard_normal((2, start.size))
        end = start + length * _unit(direction + bend[0])
        points = curve(start, length * direction, end, length * _unit(direction + 2 * bend[0] + bend[1]))
        # A slight wave on top, gone at both ends so that branches still join smoothly.
        along = np.linspace(0, 1, len(points))
        wave = 0.05 * length * np.sin(np.pi * along) ** 2 * np.sin(2 * np.pi * (1.5 * along + self.rng.random()))
        return points + wave[:, None] * _perpendicular(direction, self.rng)


def curve(start: Floats, start_tangent: Floats, end: Floats, end_tangent: Floats) -> Floats:
    """Points (N, D) of the cubic Hermite curve between two points in voxels, about ``_STEP`` apart."""
    chord = float(np.linalg.norm(end - start))
    t = np.linspace(0, 1, max(4, int(np.ceil(1.2 * chord / _STEP))))[:, None]
    ahead, back = (1 - t) ** 2, t**2
    return (
        (1 + 2 * t) * ahead * start
        + t * ahead * start_tangent
        + (3 - 2 * t) * back * end
        + (t - 1) * back * end_tangent
    )


def _least_work_angle(parent: float, daughter: float, other: float) -> float:
    """Angle between a daughter and the direction of its parent, from the three radii."""
    cosine = (parent**4 + daughter**4 - other**4) / (2 * parent**2 * daughter**2)
    return float(np.arccos(np.clip(cosine, -1, 1)))


def _end_direction(branch: Branch) -> Floats:
    return _unit(branch.points[-1] - branch.points[-4])


def _perpendicular(direction: Floats, rng: np.random.Generator) -> Floats:
    """A random unit vector perpendicular to a unit vector."""
    vector = rng.standard_normal(direction.size)
    return _unit(vector - (vector @ direction) * direction)


def _unit(vector: Floats) -> Floats:
    return vector / np.linalg.norm(vector)
