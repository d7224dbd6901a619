"""Landmarks by name, from files of 3D Slicer or a table."""

from __future__ import annotations

import csv
import io
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_topo.files import written_at_once

_SIGNS = {"LPS": 1.0, "1": 1.0, "RAS": -1.0, "0": -1.0}  # of x and y, by the name or number that Slicer writes
_MEANT = "mm, LPS: x to the left, y to the back, z upwards"
Point = tuple[str, Sequence[Any], float]  # name, position as it is written, sign of x and y


def read_landmarks(file: str | os.PathLike[str]) -> dict[str, NDArray[np.float64]]:
    """Name to physical position (3,) in mm, x to the left, y to the back, z upwards (LPS), as ITK has it.

    Reads 3D Slicer's markups (``.mrk.json``), its older ``.fcsv``, both in LPS or RAS as they say, and a ``.csv`` with
    the columns name, x, y, z in LPS, separated by commas, semicolons or tabs; without commas between columns, decimals
    may have one. Points that were not placed are left out. Raises ValueError for a file that is not one of these,
    without a point, or with two points of one name.
    """
    path = Path(file)
    text = _text(path)
    try:
        kind = {".json": _markups, ".fcsv": _fcsv}.get(path.suffix.lower(), _table)
        found = [(_name(name), _position(place, sign, name)) for name, place, sign in kind(text) if _is_placed(place)]
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, csv.Error) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{path} is not a file of landmarks: {reason}. Accepted are 3D Slicer's .mrk.json and .fcsv, "
                         f"and a .csv with the columns name, x, y, z ({_MEANT}).") from error
    if not found:
        raise ValueError(f"{path} holds no landmark that was placed.")
    twice = [name for name, count in Counter(name for name, _ in found).items() if count > 1]
    if twice:
        raise ValueError(f"{path} has several points of the name {', '.join(map(repr, twice))}. Landmarks are compared "
                         "by name, so give each its own.")
    return dict(found)


def write_landmarks(landmarks: dict[str, NDArray[np.float64]], file: str | os.PathLike[str]) -> None:
    """Write a ``.csv`` with the columns name, x, y, z in mm (LPS)."""
    with written_at_once(file) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["name", "x", "y", "z"])
        writer.writerows([name, *(f"{number:.4f}" for number in place)] for name, place in landmarks.items())


def _text(path: Path) -> str:
    """UTF-8, UTF-16 with its mark, or what Excel in Western Europe writes; ValueError for a binary file."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"The landmarks {path} cannot be read ({error.strerror}).") from error
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = content.decode("utf-16", errors="replace")
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode("cp1252", errors="replace")
    if any(ord(letter) < 32 and letter not in "\t\r\n\f" for letter in text):
        raise ValueError(f"{path} is a binary file, not a file of landmarks. Accepted are 3D Slicer's .mrk.json and "
                         f".fcsv, and a .csv with the columns name, x, y, z ({_MEANT}).")
    return text


def _markups(text: str) -> Iterator[Point]:
    for markup in json.loads(text)["markups"]:
        units = markup.get("coordinateUnits", "mm")
        if any(unit != "mm" for unit in ([units] if isinstance(units, str) else units)):
            raise ValueError(f"its coordinates are in {units}, not in mm")
        sign = _sign(markup.get("coordinateSystem", "LPS"))
        for point in markup["controlPoints"]:
            if point.get("positionStatus", "defined") == "defined":
                yield point["label"], point["position"], sign


def _fcsv(text: str) -> Iterator[Point]:
    sign, columns = -1.0, []  # RAS unless the file says otherwise
    for line in _lines(text):
        if line.startswith("# CoordinateSystem"):
            sign = _sign(line.split("=")[1])
        elif line.startswith("# columns"):
            columns = [name.strip() for name in line.split("=")[1].split(",")]
        elif line.strip() and not line.startswith("#"):
            (cells,) = csv.reader([line], skipinitialspace=True)
            row = dict(zip(columns, cells, strict=False))
            yield row["label"], [row[axis] for axis in "xyz"], sign


def _table(text: str) -> Iterator[Point]:
    lines = _lines(text)
    if lines[0].lower().startswith("sep="):  # Excel's own
        lines[0] = ""
    first = next((line for line in lines if line.strip()), "")
    for separator in (",", ";", "\t"):
        header = [cell.strip().lower() for cell in next(csv.reader([first], delimiter=separator), [])]
        if all(header.count(column) == 1 for column in ("name", *"xyz")):
            break
    else:
        raise ValueError(f"its first line is {first[:80]!r}, without the columns name, x, y, z once each")
    reader = csv.reader(io.StringIO("\n".join(lines)), delimiter=separator, skipinitialspace=True)
    header_seen = False
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if not header_seen:
            header_seen = True
            continue
        if len(cells) < len(header) or any(cell.strip() for cell in cells[len(header):]):
            raise ValueError(f"its line {reader.line_num} has {len(cells)} entries where the first has {len(header)}; "
                             "a name with a separator is put between double quotes")
        row = dict(zip(header, cells, strict=False))
        numbers = [row[axis].strip() for axis in "xyz"]
        yield row["name"], numbers if separator == "," else [number.replace(",", ".") for number in numbers], 1.0


def _lines(text: str) -> list[str]:
    """Not by ``splitlines``, which also ends a line at letters that a name may have."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _sign(system: object) -> float:
    name = str(system).strip().upper()
    if name not in _SIGNS:
        raise ValueError(f"its coordinate system is {str(system).strip()!r}, but only LPS and RAS say where a point is")
    return _SIGNS[name]


def _is_placed(place: Iterable[Any]) -> bool:
    return any(str(number).strip() for number in place)


def _name(name: object) -> str:
    """Without spaces around, and letters with accents in one of the two forms that Unicode has for them."""
    text = unicodedata.normalize("NFC", str(name)).strip()
    if not text:
        raise ValueError("one of its points has no name")
    return text


def _position(values: Sequence[Any], sign: float, name: object) -> NDArray[np.float64]:
    try:
        position = np.array([float(value) for value in values]) * (sign, sign, 1.0)
    except (TypeError, ValueError):
        position = np.array([])
    if position.shape != (3,) or not np.isfinite(position).all():
        raise ValueError(f"the position {list(values)} of {name!r} is not three numbers")
    return position
