"""What must hold of the images before a registration, each refusal in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813  its customary name
from numpy.typing import NDArray

from nnunet_topo.registration.volumes import Grid


def require_volume(image: object, name: str) -> None:
    """A 3D image of one channel whose axes are a right-handed frame."""
    if not isinstance(image, sitk.Image):
        raise TypeError(f"The {name} must be a SimpleITK image, not {type(image).__name__}. Read the file with "
                        "SimpleITK.ReadImage, so that spacing, origin and direction come with it.")
    if image.GetDimension() != 3 or min(image.GetSize()) < 2:
        raise ValueError(f"The {name} is an image of size {image.GetSize()}, but registration needs 3D volumes of at "
                         "least two slices along each axis.")
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError(f"The {name} has {image.GetNumberOfComponentsPerPixel()} channels, but registration takes "
                         "one. Choose a channel, e.g. SimpleITK.VectorIndexSelectionCast(image, 0).")
    direction = np.array(image.GetDirection()).reshape(3, 3)
    if not np.allclose(direction @ direction.T, np.eye(3), atol=1e-3):
        raise ValueError(f"The direction of the {name} is missing or no rotation: {np.round(direction, 3).tolist()}. "
                         "Correct the header (the three axes must be of length 1 and at right angles).")
    if np.linalg.det(direction) < 0:
        raise ValueError(f"The direction of the {name} is mirrored (determinant -1), so that left and right may be "
                         "exchanged. Reorient the file, e.g. by SimpleITK.DICOMOrient(image, 'LPS'), after checking "
                         "which side is which.")


def require_same_grid(image: sitk.Image, segmentation: sitk.Image, name: str) -> None:
    """An intensity image lies on the grid of its segmentation."""
    one, two = Grid.of(image), Grid.of(segmentation)
    for what, a, b, tolerance in (("size", one.size, two.size, 0), ("spacing", one.spacing, two.spacing, 1e-3),
                                  ("origin", one.origin, two.origin, 1e-2),
                                  ("direction", one.direction, two.direction, 1e-3)):  # fmt: skip
        if not np.allclose(a, b, rtol=0, atol=tolerance):
            raise ValueError(f"The {name} image and its segmentation differ in {what}: {np.round(a, 4).tolist()} and "
                             f"{np.round(b, 4).tolist()}. Take the image that was segmented, or resample one of them.")


def require_finite(image: sitk.Image, name: str) -> None:
    """An intensity image without NaN and infinity."""
    array = sitk.GetArrayViewFromImage(image)
    if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
        raise ValueError(f"The {name} holds {np.count_nonzero(~np.isfinite(array))} values that are no finite numbers. "
                         "Replace them, e.g. by numpy.nan_to_num.")


def require_common_landmarks(
    fixed: Mapping[str, NDArray[np.floating]] | None, moving: Mapping[str, NDArray[np.floating]] | None
) -> None:
    """None of both images, or some of the same name in both."""
    if (fixed is not None or moving is not None) and not set(fixed or ()) & set(moving or ()):
        raise ValueError("Landmarks are compared by their names and needed for both images; there is no name that "
                         "occurs in both. Give both files, with the same labels.")


def foreground_probabilities(
    fixed: sitk.Image, moving: sitk.Image, label: int | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities of the bone as arrays (z, y, x): of a label, of any label, or as given by a probability map.

    Raises ValueError where label maps disagree in their labels and none was named, where a named label does not occur,
    and for values that are neither labels nor probabilities.
    """
    arrays = {"fixed": sitk.GetArrayFromImage(fixed), "moving": sitk.GetArrayFromImage(moving)}
    labels = {}
    for name, array in arrays.items():
        real = np.issubdtype(array.dtype, np.floating)
        if real and not np.isfinite(array).all():
            raise ValueError(f"The {name} segmentation holds values that are no finite numbers. Replace the file.")
        if is_probability_map(array):
            continue
        low, high = array.min(), array.max()
        if low < 0 or high > 255 or (real and (array != np.rint(array)).any()):
            raise ValueError(f"The {name} segmentation holds values from {low} to {high}, neither labels (whole "
                             "numbers from 0 to 255) nor probabilities (from 0 to 1); perhaps it is an image.")
        labels[name] = sorted({int(value) for value in np.unique(array)} - {0})
        if label is not None and label not in labels[name] and labels[name]:
            raise ValueError(f"The {name} segmentation has no label {label}, only {labels[name]}.")
    if label is None and len(labels) == 2 and all(labels.values()) and labels["fixed"] != labels["moving"]:
        raise ValueError(f"The fixed segmentation has the labels {labels['fixed']}, the moving one {labels['moving']}. "
                         "Say by label (-l) which label is the bone in both, or give label maps of one label.")
    soft = []
    for name, array in arrays.items():
        chosen = array if name not in labels else (array > 0 if label is None else array == label)
        soft.append(chosen.astype(np.float32))
    return soft[0], soft[1]


def is_probability_map(array: NDArray[Any]) -> bool:
    """Floating point between 0 and 1, and not only these two."""
    if not np.issubdtype(array.dtype, np.floating) or array.min() < 0 or array.max() > 1:
        return False
    return bool(((array > 0) & (array < 1)).any())
