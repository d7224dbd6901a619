"""Two-dimensional images and masks, checked when they are read."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, UnidentifiedImageError


def read_picture(file: Path) -> Image.Image:
    """The picture in a file; ValueError where there is none."""
    try:
        with Image.open(file) as opened:
            opened.load()
            return opened.copy()
    except (OSError, UnidentifiedImageError) as error:
        raise ValueError(f"{file} cannot be read as an image ({error}).") from error


def read_rgb(file: Path, dataset: str) -> Image.Image:
    """A picture of three colours; ValueError for another."""
    picture = read_picture(file)
    if picture.mode != "RGB":
        raise ValueError(f"{file} is no RGB image (its mode is {picture.mode}), as all images of {dataset} are.")
    return picture


def require_same_size(label_file: Path, label: Image.Image, picture_file: Path, picture: Image.Image) -> None:
    """ValueError where a label map has other pixels than its image."""
    if label.size != picture.size:
        raise ValueError(f"{label_file} has {label.size} pixels, but its image {picture_file} has {picture.size}.")
