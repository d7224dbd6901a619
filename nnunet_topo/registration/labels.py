"""Which labels are the bone: by their numbers, or by the name that a data set gives them."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

Label = int | Collection[int]  # one label, or several that are the bone together
_NOT_THE_BONE = ("background", "ignore")


def label_numbers(label: Label | None) -> tuple[int, ...] | None:
    """The labels sorted, or None for any. ValueError for what is not a whole number of at least 1."""
    if label is None:
        return None
    numbers = tuple(label) if isinstance(label, Collection) else (label,)
    if not numbers or any(isinstance(number, bool) or int(number) != number or number < 1 for number in numbers):
        raise ValueError(f"A label of the bone is a whole number of at least 1 (0 is the background), or several of "
                         f"them, not {label!r}.")
    return tuple(sorted({int(number) for number in numbers}))


def named_labels(name: str | None, file: Path) -> tuple[int, ...] | None:
    """The labels that a name means in a file: "2", "1,2", or a label's or region's name from its dataset.json.

    Raises ValueError where no dataset.json of the file is found, or it has no such name.
    """
    if name is None:
        return None
    try:
        numbers = [int(part) for part in name.split(",")]
    except ValueError:
        pass
    else:
        return label_numbers(numbers)
    found = labels_of_data_set(file)
    if found is None:
        raise ValueError(f"The label {name!r} is a name, but there is no dataset.json of {file}, beside it or up to "
                         "two folders above, that says which label it is. Copy it there, or give the label's number.")
    description, labels = found
    if name not in labels:
        raise ValueError(f"{description} has no label {name!r} for a bone, only {named(labels)}.")
    return labels[name]


def labels_of_data_set(file: Path) -> tuple[Path, dict[str, tuple[int, ...]]] | None:
    """The nearest dataset.json of a file and its foreground labels and regions by name, in nnU-Net's order.

    nnU-Net puts it beside predictions, and two folders above those of a validation. None where there is none;
    ValueError where it is damaged.
    """
    for folder in file.resolve().parents[:3]:
        path = folder / "dataset.json"
        if path.is_file():
            return path, _foreground(read_data_set(path)["labels"], path)
    return None


def read_data_set(path: Path) -> dict[str, Any]:
    """nnU-Net's dataset.json; ValueError where it is not one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content["labels"], dict):
            return dict(content)
    except (OSError, KeyError, TypeError, ValueError):
        pass
    raise ValueError(f"{path} is not a dataset.json of nnU-Net v2, which has \"labels\": {{name: number, ...}}. "
                     "Replace it.")


def _foreground(labels: dict[str, Any], path: Path) -> dict[str, tuple[int, ...]]:
    try:
        numbers = {name: tuple(sorted({int(number) for number in (value if isinstance(value, list) else [value])}))
                   for name, value in labels.items() if name not in _NOT_THE_BONE}
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} has labels that are not whole numbers ({error}). Correct it.") from error
    return {name: value for name, value in numbers.items() if value != (0,)}


def named(labels: dict[str, tuple[int, ...]]) -> str:
    """Names with their numbers, for a sentence."""
    return ", ".join(f"{name!r} ({','.join(map(str, numbers))})" for name, numbers in labels.items())
