"""The result of a registration: the transform, what was moved onto the fixed grid, and how good it is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813  its customary name

from nnunet_topo.files import write_image, write_json, written_at_once
from nnunet_topo.registration.checks import are_whole
from nnunet_topo.registration.quality import Quality

_NAMES = ("transform.tfm", "transform.h5", "moved_segmentation.nii.gz", "moved_image.nii.gz", "quality.json",
          "registration.png")


@dataclass(frozen=True)
class Registration:
    """What :func:`nnunet_topo.registration.register` returns.

    Attributes:
        transform: maps physical points of the fixed image to the moving one, as ITK's resampling asks for.
        moved_segmentation: the moving segmentation on the fixed grid; labels stay labels.
        moved_image: the moving image on the fixed grid, or None where none was given.
        quality: measures, and warnings where the result is not sure.
        history: (stage, loss) of each iteration that led to the result.
    """

    transform: sitk.Transform
    moved_segmentation: sitk.Image
    moved_image: sitk.Image | None
    quality: Quality
    history: list[tuple[str, float]]

    @property
    def sure(self) -> bool:
        """Whether nothing speaks against the result."""
        return not self.quality.warnings

    def write(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write transform, moved segmentation, moved image and quality into a folder, and return the files.

        ``transform.tfm``, or ``transform.h5`` for a deformation, both read by ITK and 3D Slicer. Where the result is
        not sure, all names begin with ``UNSURE_``. Each file appears only when it is complete. What an earlier
        registration wrote there is removed first, so that nothing sure stands beside something that is not.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name in _NAMES:
            for earlier in ("", "UNSURE_"):
                (folder / f"{earlier}{name}").unlink(missing_ok=True)
        prefix = "" if self.sure else "UNSURE_"
        deforms = isinstance(self.transform, sitk.CompositeTransform)
        files = [folder / f"{prefix}transform.{'h5' if deforms else 'tfm'}",
                 folder / f"{prefix}moved_segmentation.nii.gz"]
        with written_at_once(files[0]) as temporary:
            sitk.WriteTransform(self.transform, str(temporary))
            if not deforms and not np.allclose(sitk.ReadTransform(str(temporary)).GetParameters(),
                                               self.transform.GetParameters()):  # nothing is said of a full disk
                raise RuntimeError(f"{files[0]} was not written as a whole; check its disk.")
        write_image(self.moved_segmentation, files[1])
        if self.moved_image is not None:
            files.append(folder / f"{prefix}moved_image.nii.gz")
            write_image(self.moved_image, files[-1])
        files.append(folder / f"{prefix}quality.json")
        write_json(files[-1], {"sure": self.sure, **self.quality.as_dict(), "history": self.history})
        return files


def on_fixed_grid(
    moving: sitk.Image, fixed: sitk.Image, transform: sitk.Transform, *, segmentation: bool
) -> sitk.Image:
    """The moving segmentation or image on the fixed grid.

    A segmentation of whole numbers, whatever their type, is a label map: the nearest voxel's label, and 0 beyond it. A
    probability map is linear between voxels, and 0 beyond. So is an image, and its lowest value beyond.
    """
    nearest = segmentation and are_whole(sitk.GetArrayViewFromImage(moving))
    lowest = 0.0 if segmentation else float(sitk.GetArrayViewFromImage(moving).min())
    return sitk.Resample(moving, fixed, transform, sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear, lowest)
