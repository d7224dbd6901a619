"""Kernels that look at pairs of neighbouring voxels of a label map, each pair once."""

from __future__ import annotations

from nnunet_topo.kernels.jit import jit


@jit
def count_pairs(labels, shape, offsets, counts):  # type: ignore[no-untyped-def]
    """Add to ``counts[offset, lower label, higher label]`` the pairs of different labels."""
    depth, height, width = shape
    for row in range(depth * height):
        z, y = row // height, row % height
        for k in range(len(offsets)):
            dz, dy, dx = offsets[k]
            if not (0 <= z + dz < depth and 0 <= y + dy < height):
                continue
            here, there = row * width, (row + dz * height + dy) * width + dx
            for x in range(max(0, -dx), min(width, width - dx)):
                a, b = labels[here + x], labels[there + x]
                if a != b:
                    counts[k, min(a, b), max(a, b)] += 1


@jit
def mark_pairs(labels, shape, offsets, table, marks):  # type: ignore[no-untyped-def]
    """Mark both voxels of every pair whose ``table[offset, label, label]`` is true."""
    depth, height, width = shape
    for row in range(depth * height):
        z, y = row // height, row % height
        for k in range(len(offsets)):
            dz, dy, dx = offsets[k]
            if not (0 <= z + dz < depth and 0 <= y + dy < height):
                continue
            here, there = row * width, (row + dz * height + dy) * width + dx
            for x in range(max(0, -dx), min(width, width - dx)):
                if table[k, labels[here + x], labels[there + x]]:
                    marks[here + x] = marks[there + x] = True


@jit
def clear_around(marks, shape, among):  # type: ignore[no-untyped-def]
    """Clear the marks of the voxels that are among some, or beside one."""
    depth, height, width = shape
    for v in range(len(among)):
        if among[v]:
            z, y, x = v // (height * width), v // width % height, v % width
            for i in range(max(z - 1, 0), min(z + 2, depth)):
                for j in range(max(y - 1, 0), min(y + 2, height)):
                    for k in range(max(x - 1, 0), min(x + 2, width)):
                        marks[(i * height + j) * width + k] = False
