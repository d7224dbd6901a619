"""What must hold of the images before a registration, each refusal in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813  its customary name
import torch
from numpy.typing import NDArray

from nnunet_topo.registration.labels import Label, label_numbers
from nnunet_topo.registration.volumes import Grid


def require_volume(image: object, name: str) -> None:
    """A 3D image of one channel whose axes are at right angles, right-handed or left-handed."""
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
    if not are_at_right_angles(direction):
        raise ValueError(f"The direction of the {name} is missing or sheared: {np.round(direction, 3).tolist()}. "
                         "Correct the header (the three axes must be of length 1 and at right angles).")


def are_at_right_angles(direction: NDArray[np.floating]) -> bool:
    """Whether the columns (3, 3) are of length 1 and at right angles, as far as headers are rounded."""
    return bool(np.allclose(direction.T @ direction, np.eye(3), atol=1e-3))


def require_same_grid(image: sitk.Image, segmentation: sitk.Image, name: str) -> None:
    """An intensity image lies on the grid of its segmentation."""
    one, two = Grid.of(image), Grid.of(segmentation)
    for what, a, b, tolerance in (("size", one.size, two.size, 0), ("spacing", one.spacing, two.spacing, 1e-3),
                                  ("origin", one.origin, two.origin, 1e-2),
                                  ("direction", one.direction, two.direction, 1e-3)):
        if not np.allclose(a, b, rtol=0, atol=tolerance):
            raise ValueError(f"The {name} image and its segmentation differ in {what}: {np.round(a, 4).tolist()} and "
                             f"{np.round(b, 4).tolist()}. Take the image that was segmented, or resample one of them.")


def require_finite(image: sitk.Image, name: str) -> None:
    """An intensity image without NaN and infinity."""
    array = sitk.GetArrayViewFromImage(image)
    if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
        raise ValueError(f"The {name} holds {np.count_nonzero(~np.isfinite(array))} values that are not finite numbers"
                         ". Replace them, e.g. by numpy.nan_to_num.")


def require_device(device: torch.device | str) -> None:
    """A device on which torch can compute here."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without the device
        reason = (str(error).splitlines() or ["no reason given"])[0].rstrip(".")
        raise ValueError(f"The device {str(device)!r} cannot be used here: {reason}. Take cpu, or see what "
                         "nnUNetv2_topo_doctor says about GPUs.") from error


def require_common_landmarks(
    fixed: Mapping[str, NDArray[np.floating]] | None, moving: Mapping[str, NDArray[np.floating]] | None
) -> None:
    """None of both images, or some of the same name in both."""
    if (fixed is not None or moving is not None) and not set(fixed or ()) & set(moving or ()):
        raise ValueError("Landmarks are compared by their names and needed for both images; there is no name that "
                         "occurs in both. Give both files, with the same labels.")


def foreground_probabilities(
    fixed: sitk.Image, moving: sitk.Image, label: Label | None = None, moving_label: Label | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities of the bone as arrays (z, y, x), each as :func:`foreground_probability` gives it.

    ``moving_label`` is ``label`` where it is not given. Raises ValueError, beside that, where label maps disagree in
    their labels and none was named, or where none of those named occurs.
    """
    label, moving_label = both_labels(label, moving_label)
    sides = ("fixed", labels_of(fixed), label), ("moving", labels_of(moving), moving_label)
    for name, labels, numbers in sides:
        if labels and numbers and not set(numbers) & set(labels):
            raise ValueError(f"The {name} segmentation has no label {','.join(map(str, numbers))}, only "
                             f"{_shown(labels)}.")
    one, two = sides[0][1], sides[1][1]
    if label is None and moving_label is None and one and two and one != two:
        raise ValueError(f"The fixed segmentation has the labels {_shown(one)}, the moving one {_shown(two)}. Say by "
                         "label (-l) which label is the bone in each.")
    return (foreground_probability(fixed, "fixed segmentation", label),
            foreground_probability(moving, "moving segmentation", moving_label))


def _shown(labels: list[int]) -> str:
    return str(labels) if len(labels) < 20 else f"[{labels[0]}, {labels[1]}, ... {labels[-1]}] ({len(labels)} of them)"


def both_labels(
    label: Label | None, moving_label: Label | None
) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    """The labels of the fixed and the moving segmentation, which are the same unless the latter are given."""
    fixed = label_numbers(label)
    return fixed, fixed if moving_label is None else label_numbers(moving_label)


def foreground_probability(image: sitk.Image, name: str, label: Label | None = None) -> NDArray[np.float32]:
    """Probability of the bone (z, y, x): of a label or several, of any label, or as given by a probability map.

    Raises ValueError for values that are neither labels nor probabilities.
    """
    array = sitk.GetArrayViewFromImage(image)
    low, high = array.min(), array.max()
    if not low >= 0 or not np.isfinite(high):  # false for what is not a number, too
        raise ValueError(f"The {name} holds values from {low} to {high}, neither labels (whole numbers of at least 0) "
                         "nor probabilities (from 0 to 1). Replace the file.")
    if are_whole(array):
        numbers = label_numbers(label)
        return (array > 0 if numbers is None else np.isin(array, numbers)).astype(np.float32)
    if high > 1:
        raise ValueError(f"The {name} holds values from {low} to {high}, neither labels (whole numbers) nor "
                         "probabilities (from 0 to 1); perhaps it is an image.")
    return array.astype(np.float32)


def labels_of(image: sitk.Image) -> list[int] | None:
    """The labels that occur, sorted, without 0; None for what is not a label map, as a probability map is not."""
    array = sitk.GetArrayViewFromImage(image)
    if not are_whole(array) or array.min() < 0:
        return None
    return sorted({int(value) for value in np.unique(array)} - {0})


def are_whole(array: NDArray[Any]) -> bool:
    """Whether all are whole numbers, as labels are, whatever the type and however many; probabilities are between."""
    if not np.issubdtype(array.dtype, np.floating):
        return True
    return bool(np.isfinite(array).all() and (array == np.rint(array)).all())
