"""Whether a file of an image or of an array holds all that its header says.

SimpleITK reads NIfTI and GIPL files that were cut off as if zeros had followed, and compressed MetaImage and NRRD files
that were damaged as whatever comes out; tifffile leaves out slices. So it is checked here, in bounded memory, by what
each format itself offers: sizes, checksums, and chains of offsets.
"""

from __future__ import annotations

import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

_CHUNK = 1 << 20
_HEADER = 1 << 16  # enough for each header of text
_LSM = 34412  # a tag of Zeiss' microscopes, whose compressed strips name the length that they have unpacked
_GIPL_MAGIC = (b"\xef\xff\xe9\xb0", b"\x2a\xe3\x89\xb8")
_GIPL_BITS = {1: 1, 7: 8, 8: 8, 15: 16, 16: 16, 31: 32, 32: 32, 64: 32, 65: 64}


def require_whole(path: str | os.PathLike[str]) -> None:
    """Raise ValueError where a file is cut off or damaged, as far as its format tells.

    Known by their content are NIfTI (also as gzip, and header and voxels in two files), NRRD, MetaImage, GIPL, TIFF,
    PNG, and the zip archives of NumPy; of others only an empty file is refused. What is compressed is unpacked once, a
    megabyte at a time. OSError where the file cannot be opened.
    """
    path = Path(path)
    with path.open("rb") as file:
        start = file.read(_HEADER)
        file.seek(0)
        try:
            if not start:
                raise ValueError("it is empty")
            _check_of(start)(path, file)
        except struct.error as error:
            raise ValueError(f"{path} is cut off or damaged: a part of its header is missing. Copy or make it again."
                             ) from error
        except (ValueError, zlib.error, zipfile.BadZipFile, EOFError) as error:
            raise ValueError(f"{path} is cut off or damaged: {error}. Copy or make it again.") from error


def _check_of(start: bytes) -> Callable[[Path, BinaryIO], None]:
    """The check of the format that a file starts like."""
    if start.startswith(b"\x1f\x8b"):
        return _check_gzip
    if start.startswith(b"NRRD"):
        return _check_nrrd
    if re.match(rb"\s*(ObjectType|NDims|Comment)\s*=", start):
        return _check_meta_image
    if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _check_tiff
    if start.startswith(b"\x89PNG"):
        return _check_png
    if start.startswith(b"PK"):
        return _check_zip
    return _check_plain


def _check_plain(path: Path, file: BinaryIO) -> None:
    """NIfTI and GIPL that are not compressed."""
    start, size = file.read(_HEADER), path.stat().st_size
    _require_voxels(start, size, path.name)
    needed, separate = _nifti_bytes(start)
    if needed and separate:
        for name in (path.with_suffix(".img"), path.with_suffix(".img.gz")):
            if path.suffix == ".hdr" and name.is_file():
                with name.open("rb") as voxels:
                    compressed = voxels.read(2) == b"\x1f\x8b"
                    voxels.seek(0)
                    length = _unpacked(voxels, zlib.MAX_WBITS | 16)[1] if compressed else name.stat().st_size
                if length < needed:
                    raise ValueError(f"{name.name} has {length} bytes of voxels, and its header promises {needed}")


def _check_gzip(path: Path, file: BinaryIO) -> None:
    start, length = _unpacked(file, zlib.MAX_WBITS | 16)
    _require_voxels(start, length, "unpacked, it")


def _require_voxels(start: bytes, length: int, what: str) -> None:
    needed, separate = _nifti_bytes(start)
    if start[252:256] in _GIPL_MAGIC:
        sizes, kind = struct.unpack_from(">4H", start), struct.unpack_from(">H", start, 8)[0]
        needed = 256 + math.prod(max(size, 1) for size in sizes) * _GIPL_BITS.get(kind, 0) // 8
    if not separate and length < needed:
        raise ValueError(f"{what} has {length} bytes, and its header promises {needed}")


def _nifti_bytes(start: bytes) -> tuple[int, bool]:
    """The bytes that a NIfTI or Analyze header promises (0: neither), and whether the voxels are in another file."""
    for order in "<>":
        if len(start) >= 348 and struct.unpack_from(order + "i", start)[0] == 348:
            dim, bits = struct.unpack_from(order + "8h", start, 40), struct.unpack_from(order + "h", start, 72)[0]
            offset, single = struct.unpack_from(order + "f", start, 108)[0], start[344:347] == b"n+1"
        elif len(start) >= 540 and struct.unpack_from(order + "i", start)[0] == 540:
            dim, bits = struct.unpack_from(order + "8q", start, 16), struct.unpack_from(order + "h", start, 14)[0]
            offset, single = struct.unpack_from(order + "q", start, 168)[0], start[4:7] == b"n+2"
        else:
            continue
        if not 0 < dim[0] < 8 or bits < 1 or not abs(offset) < 2**53:
            return 0, False  # its reader says so
        voxels = math.prod(max(size, 1) for size in dim[1 : 1 + dim[0]]) * bits
        return (max(int(offset), 352 if single else 0) + (voxels + 7) // 8, not single)
    return 0, False


def _check_nrrd(path: Path, file: BinaryIO) -> None:
    header, _, _ = file.read(_HEADER).replace(b"\r\n", b"\n").partition(b"\n\n")
    fields = dict(re.findall(rb"^([a-z ]+): *(.*?) *$", header, re.MULTILINE))
    if fields.get(b"encoding", b"").lower() not in (b"gzip", b"gz") or fields.get(b"line skip", b"0") != b"0":
        return  # what is not compressed and too short, its readers refuse
    _check_compressed(path, file, fields.get(b"data file", fields.get(b"datafile")), rb"\n\r?\n")


def _check_meta_image(path: Path, file: BinaryIO) -> None:
    header = file.read(_HEADER)
    fields = dict(re.findall(rb"^\s*(\w+)\s*=\s*(.*?)\s*$", header, re.MULTILINE))
    if fields.get(b"CompressedData", b"").lower() == b"true":
        name = fields.get(b"ElementDataFile", b"LOCAL")
        _check_compressed(path, file, None if name == b"LOCAL" else name, rb"ElementDataFile\s*=\s*LOCAL\s*?\n")


def _check_compressed(path: Path, file: BinaryIO, name: bytes | None, end_of_header: bytes) -> None:
    """Voxels as one stream of gzip or zlib, after the header or in a file of their own beside it."""
    if name is None:
        file.seek(0)
        end = re.search(end_of_header, file.read(_HEADER))
        if end:  # a longer header than any that was met is left to its reader
            file.seek(end.end())
            _unpacked(file, zlib.MAX_WBITS | 32)
        return
    voxels = path.with_name(os.fsdecode(name))
    if voxels.is_file():  # or it is a pattern or a list of names
        with voxels.open("rb") as separate:
            _unpacked(separate, zlib.MAX_WBITS | 32)


def _unpacked(file: BinaryIO, kind: int) -> tuple[bytes, int]:
    """The start and the length of what is packed from here on; ValueError or zlib.error where it does not end well."""
    start, length = b"", 0
    for part in _parts(file, kind):
        start += part[: _HEADER - len(start)]
        length += len(part)
    return start, length


def _parts(file: BinaryIO, kind: int) -> Iterator[bytes]:
    """The members of gzip that follow each other; what follows and is not one of them is ignored, as by gzip itself."""
    data = file.read(_CHUNK)
    while True:
        member = zlib.decompressobj(kind)
        while not member.eof:
            if not data:
                raise ValueError("its compressed data end too early")
            yield member.decompress(data, _CHUNK)
            data = member.unconsumed_tail or (b"" if member.eof else file.read(_CHUNK))
        data = member.unused_data or file.read(_CHUNK)
        if len(data) < 2:
            data += file.read(_CHUNK)
        if not data.startswith(b"\x1f\x8b"):
            return


def _check_tiff(path: Path, file: BinaryIO) -> None:
    """The pages, each of which names the next, and the strips or tiles that they name lie within the file."""
    size, start = path.stat().st_size, file.read(16)
    order = "<" if start.startswith(b"II") else ">"
    big = b"+" in start[2:4]
    offset: int = struct.unpack_from(order + ("Q" if big else "I"), start, 8 if big else 4)[0]
    pages: set[int] = set()
    while offset:
        if offset in pages:
            raise ValueError(f"its page {len(pages)} points back to an earlier one")
        pages.add(offset)
        file.seek(offset)
        (tags,) = struct.unpack(order + ("Q" if big else "H"), file.read(8 if big else 2))
        if not 0 < tags * (20 if big else 12) < size - offset:
            raise ValueError(f"its page {len(pages)} should start at byte {offset} and is not there")
        table = file.read(tags * (20 if big else 12))
        (offset,) = struct.unpack(order + ("Q" if big else "I"), file.read(8 if big else 4))
        values = dict(_tiff_numbers(file, size, table, order, big))
        if 0 in values:
            raise ValueError(f"its page {len(pages)} is not complete")
        for starts, lengths in ((273, 279), (324, 325)):  # strips, tiles
            end = max((a + b for a, b in zip(values.get(starts, ()), values.get(lengths, ()), strict=False)), default=0)
            if end > size and _LSM not in values:
                raise ValueError(f"its page {len(pages)} goes on to byte {end}, and there are {size}")


def _tiff_numbers(
    file: BinaryIO, size: int, table: bytes, order: str, big: bool
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Each tag of a page with its numbers, which are read of strips and tiles only."""
    inline, entry = (8, 20) if big else (4, 12)
    for place in range(0, len(table), entry):
        tag, kind, count = struct.unpack_from(order + ("HHQ" if big else "HHI"), table, place)
        code = {3: "H", 4: "I", 13: "I", 16: "Q"}.get(kind)
        if tag not in (273, 279, 324, 325) or code is None:
            yield tag, ()
            continue
        form, length = f"{order}{count}{code}", count * struct.calcsize(order + code)
        value = table[place + entry - inline : place + entry]
        if length > inline:
            (offset,) = struct.unpack(order + ("Q" if big else "I"), value)
            if offset + length > size:
                raise ValueError(f"its list of strips goes on to byte {offset + length}, and there are {size}")
            file.seek(offset)
            value = file.read(length)
        yield tag, struct.unpack_from(form, value)


def _check_png(path: Path, file: BinaryIO) -> None:
    """Each chunk has its checksum, and the last is the end."""
    file.seek(8)
    while True:
        length, name = struct.unpack(">I4s", file.read(8))
        content = file.read(length)
        if zlib.crc32(name + content) != struct.unpack(">I", file.read(4))[0]:
            raise ValueError(f"the checksum of its part {name.decode('latin-1')} is wrong")
        if name == b"IEND":
            return


def _check_zip(path: Path, file: BinaryIO) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            bad = archive.testzip()
    except (OSError, NotImplementedError, RuntimeError) as error:  # a damaged place or method of a part
        raise ValueError(f"its list of parts is wrong ({error})") from error
    if bad is not None:
        raise ValueError(f"its part {bad} does not have its checksum")
