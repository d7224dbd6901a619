"""Registration of one bone in two modalities, driven by the shapes that their segmentations show."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import SimpleITK as sitk  # noqa: N813  its customary name
import torch
from numpy.typing import NDArray

from nnunet_topo.registration import quality as measures
from nnunet_topo.registration.candidates import Candidate, refine
from nnunet_topo.registration.checks import (
    foreground_probabilities,
    require_common_landmarks,
    require_device,
    require_finite,
    require_same_grid,
    require_volume,
)
from nnunet_topo.registration.deformable import Deformed, deform
from nnunet_topo.registration.labels import Label
from nnunet_topo.registration.optimiser import curvature
from nnunet_topo.registration.quality import Quality
from nnunet_topo.registration.result import Registration, on_fixed_grid
from nnunet_topo.registration.search import runner_up_gap, search
from nnunet_topo.registration.shapes import Shape, prepare
from nnunet_topo.registration.stages import SIMILARITIES, Pair, stages_of

TRANSFORMS = ("rigid", "similarity", "affine", "deformable")
Landmarks = Mapping[str, NDArray[np.floating]]


def register(
    fixed: sitk.Image, moving: sitk.Image, *, transform: str = "rigid", by: str = "combined",
    fixed_image: sitk.Image | None = None, moving_image: sitk.Image | None = None,
    fixed_landmarks: Landmarks | None = None, moving_landmarks: Landmarks | None = None, label: Label | None = None,
    moving_label: Label | None = None, moved_skeleton: float = 0.0, seed: int = 0, device: torch.device | str = "cpu",
    progress: bool = False,
) -> Registration:
    """Find the motion of a bone from its segmentation in two modalities that disagree on its thickness.

    >>> result = register(SimpleITK.ReadImage("ct_seg.nii.gz"), SimpleITK.ReadImage("mr_seg.nii.gz"))
    >>> SimpleITK.Resample(mr, ct, result.transform)

    Grids, spacings, oblique axes, left-handed storage and fields of view may differ; all is done in physical space
    (mm). "combined", the default, brings medial ridges together from far away, from five starts, and then the surfaces,
    with the difference in thickness estimated as an offset; where that fits badly or a different pose nearly as well,
    some thousand poses more are tried. Where both images are given, it ends with the intensities near the bone as a
    further term, also from further along where the shapes slide. Thinning on one side only is equivalent to a shift,
    which no method that sees shapes alone can take away.

    Args:
        fixed, moving: 3D label maps (whole numbers of any type) or probability maps (with values between 0 and 1) of
            one bone; pieces of less than 5 % are dropped.
        transform: "rigid", "similarity" (with one scale), "affine", or "deformable" (affine, then a stationary
            velocity field, which does not fold).
        by: "combined"; "skeleton" (medial ridge and curve skeleton, robust chamfer distance); "mask" (soft Dice, aware
            of the field of view); "surface" (symmetric, with the offset); "intensity" (normalised mutual information
            of the images, near the bone). A deformable one, after its affine part, follows the surfaces.
        fixed_image, moving_image: intensities on the grids of the segmentations; needed for "intensity", used by
            "combined" where both are given, else only moved along.
        fixed_landmarks, moving_landmarks: name to position (3,) in mm, to measure the error.
        label: of the bone in both label maps, or several that are the bone together; None takes all labels, which
            must be the same in both.
        moving_label: of the bone in the moving one, where it differs.
        moved_skeleton: for "deformable", weight of the differentiable skeleton of the moved probability map.
        seed: of the order in which points are sampled; the same seed gives the same result.
        device: "cpu" or "cuda".
        progress: show a bar.

    Returns:
        A :class:`Registration`. See that its ``sure`` holds: a result that may be wrong is returned with warnings.

    Raises:
        TypeError: no SimpleITK images. ValueError: unknown options, or input that cannot be registered; see
        :mod:`nnunet_topo.registration.checks`.
    """
    _check(fixed, moving, transform, by, fixed_image, moving_image, moved_skeleton)
    require_common_landmarks(fixed_landmarks, moving_landmarks)
    require_device(device)
    pair = Pair(*shapes_of(fixed, moving, label, moving_label, seed=seed, device=device), fixed_image, moving_image)
    best, gap = linear_fit(pair, "affine" if transform == "deformable" else transform, by, progress)
    deformed = None
    if transform == "deformable":
        deformed = deform(pair, best, moved_skeleton=moved_skeleton, progress=progress)
    found = deformed.transform if deformed else best.motion.to_sitk(best.parameters[:-1])
    quality = _quality(pair, best, deformed, gap, found, fixed_landmarks, moving_landmarks)
    return Registration(
        found, on_fixed_grid(moving, fixed, found, segmentation=True),
        None if moving_image is None else on_fixed_grid(moving_image, fixed, found, segmentation=False),
        quality, best.history + (deformed.history if deformed else []))


def _check(
    fixed: sitk.Image, moving: sitk.Image, transform: str, by: str, fixed_image: sitk.Image | None,
    moving_image: sitk.Image | None, moved_skeleton: float,
) -> None:
    if transform not in TRANSFORMS:
        raise ValueError(f"transform must be one of {', '.join(TRANSFORMS)}, not {transform!r}.")
    if by not in SIMILARITIES:
        raise ValueError(f"by must be one of {', '.join(SIMILARITIES)}, not {by!r}.")
    if not moved_skeleton >= 0 or (moved_skeleton and transform != "deformable"):
        raise ValueError("moved_skeleton is a weight of at least 0 for transform='deformable', since a rigid or affine "
                         f"motion takes the skeleton along as it is; given was {moved_skeleton!r} for {transform!r}.")
    for name, segmentation, image in (("fixed", fixed, fixed_image), ("moving", moving, moving_image)):
        require_volume(segmentation, f"{name} segmentation")
        if image is not None:
            require_volume(image, f"{name} image")
            require_same_grid(image, segmentation, name)
            require_finite(image, f"{name} image")
    if by == "intensity" and (fixed_image is None or moving_image is None):
        raise ValueError("by='intensity' compares the images themselves; give fixed_image and moving_image "
                         "(-fixed_image, -moving_image), or another similarity.")


def shapes_of(
    fixed: sitk.Image, moving: sitk.Image, label: Label | None = None, moving_label: Label | None = None, *,
    seed: int = 0, device: torch.device | str = "cpu",
) -> tuple[Shape, Shape]:
    """What :func:`register` needs to know of both segmentations."""
    soft = foreground_probabilities(fixed, moving, label, moving_label)
    return (prepare(fixed, soft[0], "fixed", seed=seed, device=device),
            prepare(moving, soft[1], "moving", seed=seed, device=device))


def linear_fit(pair: Pair, kind: str, by: str = "combined", progress: bool = False) -> tuple[Candidate, float]:
    """The best rigid pose, with more freedom from there on where asked for, and by how much the next one is worse."""
    poses = search(pair, by, progress)
    best, gap = poses[0], runner_up_gap(pair, poses)
    if kind == "rigid":
        return best, gap
    motion = best.motion.restarted(best.parameters[:-1], kind)
    parameters = np.append(np.zeros(motion.count), best.parameters[-1])
    freed = Candidate(motion, parameters, history=list(best.history))
    for stage in stages_of(by, pair.has_images, fine=True):
        refine(pair, freed, stage)
    return freed, gap


def _quality(
    pair: Pair, best: Candidate, deformed: Deformed | None, gap: float, found: sitk.Transform,
    fixed_landmarks: Landmarks | None, moving_landmarks: Landmarks | None,
) -> Quality:
    device, dtype = pair.fixed.surface.device, pair.fixed.surface.dtype
    stage = best.stage
    assert stage is not None
    motion, parameters = (deformed.motion, deformed.parameters) if deformed else (best.motion, best.parameters)
    vector = torch.as_tensor(parameters, dtype=dtype, device=device)
    estimates = any(name == "surface" for name, _ in stage.terms) or deformed is not None
    offset = float(vector[-1]) if estimates else 0.0
    fit = measures.fit(motion, vector[:-1], pair.fixed, pair.moving, offset)
    if fit.visible_share < measures.LEAST_VISIBLE:
        raise ValueError(f"The fields of view do not overlap: after the best alignment only "
                         f"{100 * fit.visible_share:.0f} % of the bone lies within both. Give images that show the "
                         "same part of it.")
    step = 0.5 if any(name == "intensity" for name, _ in stage.terms) else 0.1  # intensities have kinks
    bend = curvature(pair.loss(best.motion, stage), best.parameters, step=step, device=device, dtype=dtype)[:-1, :-1]
    stiffness = np.linalg.eigvalsh(bend[:6, :6])
    conditioning = float(max(stiffness[0], 0) / max(stiffness[-1], 1e-12))
    matrix = best.motion.matrix(torch.as_tensor(best.parameters[:-1], dtype=dtype, device=device))
    left, _, right = np.linalg.svd(matrix.cpu().double().numpy())
    angle = float(np.degrees(np.arccos(np.clip((np.trace(left @ right) - 1) / 2, -1, 1))))
    jacobian = float(np.linalg.det(matrix.cpu().double().numpy())) * (deformed.smallest_jacobian if deformed else 1)
    errors = measures.landmark_errors(found, fixed_landmarks, moving_landmarks)
    converged = best.converged
    return Quality(
        thickness_offset_mm=offset if estimates else None, runner_up_gap=float(gap), conditioning=conditioning,
        smallest_jacobian=jacobian, rotation_degrees=angle, converged=converged,
        target_registration_error_mm=float(np.mean(list(errors.values()))) if errors else None,
        landmark_errors_mm=errors, warnings=measures.doubts(fit, gap, conditioning, jacobian, converged),
        **fit.__dict__)
