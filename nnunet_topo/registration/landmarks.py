"""Landmarks by name, from files of 3D Slicer or a table."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def read_landmarks(file: str | os.PathLike[str]) -> dict[str, NDArray[np.float64]]:
    """Name to physical position (3,) in mm, x to the left, y to the back, z upwards (LPS), as ITK has it.

    Reads 3D Slicer's markups (``.mrk.json``), its older ``.fcsv``, both in LPS or RAS as they say, and a ``.csv`` with
    the columns name, x, y, z in LPS. Raises ValueError for a file that is none of these.
    """
    path = Path(file)
    try:
        text = path.read_text()
    except OSError as error:
        raise ValueError(f"The landmarks {path} cannot be read ({error.strerror}).") from error
    try:
        if path.name.endswith(".json"):
            return _markups(text)
        return _fcsv(text) if path.suffix == ".fcsv" else _table(text)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no file of landmarks ({type(error).__name__}: {error}). Accepted are 3D Slicer's "
                         ".mrk.json and .fcsv, and a .csv with the columns name, x, y, z (mm, LPS).") from error


def write_landmarks(landmarks: dict[str, NDArray[np.float64]], file: str | os.PathLike[str]) -> None:
    """Write a ``.csv`` with the columns name, x, y, z in mm (LPS)."""
    lines = ["name,x,y,z", *(f"{name},{x:.4f},{y:.4f},{z:.4f}" for name, (x, y, z) in landmarks.items())]
    Path(file).write_text("\n".join(lines) + "\n")


def _markups(text: str) -> dict[str, NDArray[np.float64]]:
    found = {}
    for markup in json.loads(text)["markups"]:
        sign = -1.0 if str(markup.get("coordinateSystem", "LPS")) in ("RAS", "0") else 1.0
        for point in markup["controlPoints"]:
            found[str(point["label"])] = _position(point["position"], sign)
    return found


def _fcsv(text: str) -> dict[str, NDArray[np.float64]]:
    sign, columns, found = -1.0, [], {}  # RAS unless the file says otherwise
    for line in text.splitlines():
        if line.startswith("# CoordinateSystem"):
            sign = -1.0 if line.split("=")[1].strip() in ("RAS", "0") else 1.0
        elif line.startswith("# columns"):
            columns = [name.strip() for name in line.split("=")[1].split(",")]
        elif line.strip() and not line.startswith("#"):
            row = dict(zip(columns, line.split(","), strict=False))
            found[row["label"]] = _position([row["x"], row["y"], row["z"]], sign)
    return found


def _table(text: str) -> dict[str, NDArray[np.float64]]:
    rows = csv.DictReader(text.splitlines())
    return {row["name"]: _position([row["x"], row["y"], row["z"]], 1.0) for row in rows}


def _position(values: list, sign: float) -> NDArray[np.float64]:
    position = np.array([float(value) for value in values]) * (sign, sign, 1.0)
    if position.shape != (3,) or not np.isfinite(position).all():
        raise ValueError(f"{values} is no position of three numbers")
    return position
