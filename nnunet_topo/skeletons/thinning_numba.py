"""CPU kernels of thinning; the algorithm is described in ``thinning.py``.

An image is kept as bits: rows along its last axis as words of 64 voxels, with one empty word at either end of a row and
empty rows around the image, so that no neighbour needs a test of the border. Beside it lie, in the same form, the
voxels that still have to be looked at (``queued``) and those that lost a neighbour in this iteration (``touched``).
A voxel need only be looked at again when a neighbour was deleted, and an end point is a queued voxel of one neighbour
that was not touched in this iteration. All is exact, and takes three bits a voxel whatever the image holds.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from nnunet_topo.kernels.jit import jit

_EVEN = np.uint64(0x5555555555555555)
_LOW = np.uint64(0x3FFFFFFFFFFFFFFF)
_0, _1, _2, _3, _4, _5, _6, _7, _9, _12, _13, _14, _17, _20, _23, _63 = (
    np.uint64(i) for i in (0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 14, 17, 20, 23, 63))


def thin(
    image: NDArray[np.bool_],
    table: NDArray[np.uint8],
    iterations: int | None,
    anchors: NDArray[np.bool_] | None,
    keep_end_points: bool,
) -> NDArray[np.bool_]:
    """The thinned image (Y, X) or (Z, Y, X); anchors are voxels that stay."""
    bits = _packed(image)
    kept = _packed(anchors).reshape(-1) if anchors is not None else np.zeros(0, np.uint64)
    sizes = bits.shape if image.ndim == 3 else (1, *bits.shape)
    _thin(bits.reshape(-1), kept, table, sizes, -1 if iterations is None else iterations, keep_end_points)
    return _unpacked(bits, image.shape)


def _packed(image: NDArray[np.bool_]) -> NDArray[np.uint64]:
    words = (image.shape[-1] + 63) // 64
    result = np.zeros((*(size + 2 for size in image.shape[:-1]), words + 2), "<u8")
    packed = np.packbits(image, axis=-1, bitorder="little")
    inner = (slice(1, -1),) * (image.ndim - 1)
    result.view(np.uint8)[inner][..., 8 : 8 + packed.shape[-1]] = packed
    return result


def _unpacked(bits: NDArray[np.uint64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    inner = bits[(slice(1, -1),) * (bits.ndim - 1)][..., 1:-1]
    octets = np.ascontiguousarray(inner).view(np.uint8)
    return np.unpackbits(octets, axis=-1, count=shape[-1], bitorder="little").view(np.bool_)


@jit
def _thin(bits, anchors, table, sizes, iterations, keep_end_points):  # type: ignore[no-untyped-def]
    """Thin an image in place; sizes are its planes, rows and words, and an image in 2D is a single plane."""
    depth, height, words = sizes
    row, plane = words, height * words if depth > 1 else 0  # steps from a word to the next row and plane
    queued = np.zeros_like(bits)
    touched = np.zeros_like(bits)
    _queue_border(bits, queued, anchors, row, plane)
    iteration = 0
    deleted = True
    while deleted and iteration != iterations:
        iteration += 1
        deleted = False
        touched[:] = _0
        for subfield in range(8):
            # subfields by the parity of the index, counted from 1, in the last, the last but one and the first axis;
            # the first axis changes fastest
            odd_z, odd_y, odd_x = subfield & 1, subfield >> 1 & 1, subfield >> 2
            if depth == 1 and odd_z == 0:
                continue  # an image is the one plane, of index 1, of a volume
            of_subfield = _EVEN if odd_x else ~_EVEN  # bit 0 of a word has an odd index
            for z in range(2 - odd_z if depth > 1 else 0, max(depth - 1, 1), 2):
                for y in range(2 - odd_y, height - 1, 2):
                    start = (z * height + y) * words
                    for at in range(start + 1, start + words - 1):
                        todo = queued[at] & of_subfield
                        if todo == _0:
                            continue
                        queued[at] ^= todo
                        todo &= ~_enclosed(bits, at, row, plane)
                        end_points = ~touched[at] if keep_end_points else _0
                        gone = _0
                        if todo & _LOW != _0:
                            gone = _deletable(bits, at, row, plane, todo & _LOW, end_points, table, False)
                        if todo & ~_LOW != _0:
                            gone |= _deletable(bits, at, row, plane, todo & ~_LOW, end_points, table, True)
                        if gone == _0:
                            continue
                        deleted = True
                        bits[at] ^= gone
                        _touch_neighbours(bits, queued, touched, anchors, at, row, plane, gone)
    return iteration


@jit
def _queue_border(bits, queued, anchors, row, plane):  # type: ignore[no-untyped-def]
    first = max(plane, row)
    for at in range(first, len(bits) - first):
        here = bits[at]
        if here != _0:
            here &= ~_enclosed(bits, at, row, plane)
            if len(anchors) > 0:
                here &= ~anchors[at]
            queued[at] = here


@jit
def _enclosed(bits, at, row, plane):  # type: ignore[no-untyped-def]
    """The voxels of a word whose face neighbours are all foreground; such a voxel is not simple."""
    inner = _before(bits, at) & _after(bits, at) & bits[at - row] & bits[at + row]
    if plane:
        inner &= bits[at - plane] & bits[at + plane]
    return inner


@jit
def _before(bits, at):  # type: ignore[no-untyped-def]
    """A word moved by one: bit x is the voxel x - 1."""
    return bits[at] << _1 | bits[at - 1] >> _63


@jit
def _after(bits, at):  # type: ignore[no-untyped-def]
    """A word moved by one: bit x is the voxel x + 1."""
    return bits[at] >> _1 | bits[at + 1] << _63


@jit
def _deletable(bits, at, row, plane, todo, end_points, table, at_end):  # type: ignore[no-untyped-def]
    """The voxels of ``todo`` that are simple and no end points.

    Three neighbours in a row are three bits of the word moved by one; for the last two voxels of a word (``at_end``,
    and ``todo`` holds no others) they are so in the word moved the other way.
    """
    d, e, f = _moved(bits, at - row, at_end), _moved(bits, at, at_end), _moved(bits, at + row, at_end)
    a = b = c = g = h = i = _0
    if plane:
        front, behind = at - plane, at + plane
        a, b, c = _moved(bits, front - row, at_end), _moved(bits, front, at_end), _moved(bits, front + row, at_end)
        g, h, i = _moved(bits, behind - row, at_end), _moved(bits, behind, at_end), _moved(bits, behind + row, at_end)
    back = _2 if at_end else _0
    gone = _0
    while todo != _0:
        lowest = todo & (~todo + _1)
        todo ^= lowest
        shift = _trailing_zeros(lowest) - back  # type: ignore[call-arg]
        middle = e >> shift & _7
        code = (d >> shift & _7) | (middle & _1) << _3 | (middle >> _2) << _4 | (f >> shift & _7) << _5
        if plane:
            code = (a >> shift & _7 | (b >> shift & _7) << _3 | (c >> shift & _7) << _6 | code << _9
                    | (g >> shift & _7) << _17 | (h >> shift & _7) << _20 | (i >> shift & _7) << _23)
        simple = np.uint64(table[code >> _3]) >> (code & _7) & _1
        if simple != _0 and (code & (code - _1) != _0 or lowest & end_points == _0):
            gone |= lowest
    return gone


@jit
def _moved(bits, at, at_end):  # type: ignore[no-untyped-def]
    return _after(bits, at) if at_end else _before(bits, at)


@jit
def _touch_neighbours(bits, queued, touched, anchors, at, row, plane, gone):  # type: ignore[no-untyped-def]
    """Queue the neighbours of deleted voxels. One function, because calls with so many arrays are slow."""
    masks = (gone << _63, gone | gone << _1 | gone >> _1, gone >> _63)  # in the word before, this word, the word after
    for dz in range(-plane, plane + 1, plane) if plane else range(1):
        for dy in range(-row, row + 1, row):
            for dx in range(-1, 2):
                mask = masks[dx + 1]
                if mask != _0:
                    word = at + dz + dy + dx
                    mask &= bits[word]
                    touched[word] |= mask
                    if len(anchors) > 0:
                        mask &= ~anchors[word]
                    queued[word] |= mask


@intrinsic
def _trailing_zeros(typing_context, word):  # type: ignore[no-untyped-def]
    """Index of the lowest bit of a uint64 that is not 0."""

    def build(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.cttz(arguments[0], context.get_constant(types.boolean, True))

    return types.uint64(types.uint64), build
