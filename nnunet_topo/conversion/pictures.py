"""Two-dimensional images and masks, checked when they are read."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, UnidentifiedImageError

_GREY = ("1", "L", "P", "RGB")  # what converts to 8 bit grey without a loss, where a mask is black and white


def read_picture(file: Path) -> Image.Image:
    """The picture in a file; ValueError where there is none, or several."""
    try:
        with Image.open(file) as opened:
            pages = getattr(opened, "n_frames", 1)
            opened.load()
            picture = opened.copy()
    except (OSError, UnidentifiedImageError, SyntaxError) as error:  # the last for a damaged PNG
        raise ValueError(f"{file} cannot be read as an image ({error}).") from error
    if pages != 1:
        raise ValueError(f"{file} holds {pages} pictures, but one is expected. Write each to a file of its own.")
    return picture


def read_rgb(file: Path, dataset: str) -> Image.Image:
    """A picture of three colours; ValueError for another."""
    picture = read_picture(file)
    if picture.mode != "RGB":
        raise ValueError(f"{file} is not an RGB image (its mode is {picture.mode}), as all images of {dataset} are.")
    return picture


def read_mask(file: Path) -> Image.Image:
    """A picture as 8 bit grey; ValueError for one with transparency or more bits."""
    picture = read_picture(file)
    if picture.mode not in _GREY:
        raise ValueError(f"{file} has the mode {picture.mode}, but a mask is black and white, with 8 bits a pixel at "
                         "most and without transparency. Save it as an 8 bit grey image.")
    return picture.convert("L")


def require_same_size(label_file: Path, label: Image.Image, picture_file: Path, picture: Image.Image) -> None:
    """ValueError where a label map has other pixels than its image."""
    if label.size != picture.size:
        raise ValueError(f"{label_file} has {label.size} pixels, but its image {picture_file} has {picture.size}.")
