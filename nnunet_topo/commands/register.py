"""``nnUNetv2_topo_register``: bring a bone's second modality onto the first one's grid, by its segmentations."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_topo.commands.guard import guarded

if TYPE_CHECKING:
    from nnunet_topo.registration.cases import Case

TRANSFORMS = ("rigid", "similarity", "affine", "deformable")  # those of the registration, whose import takes seconds
SIMILARITIES = ("combined", "skeleton", "mask", "surface", "intensity")
SURE, WRONG, NOT_SURE = 0, 1, 2
CHANNELS = "channels"  # of all sure cases of a folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Register and print; 0 where all is sure, 1 for input that cannot be registered, 2 where a result is not sure."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not options.demo and not (options.fixed and options.moving):
        parser.error("say what to register by -fixed and -moving, or try --demo")
    if len(options.label) > 2:
        parser.error("-l takes one label for both, or one for the fixed and one for the moving file; several labels "
                     "that are the bone together are joined by commas, as in -l 1,2")
    if options.seed < 0:
        parser.error(f"--seed is a whole number of at least 0, not {options.seed}")
    return guarded(lambda: _register(options), stopped="Cases that were printed are complete; the same command "
                   "registers all of them again.")


def _register(options: argparse.Namespace) -> int:
    from nnunet_topo.registration.cases import Case

    output = Path(options.o)
    if options.demo:
        return _demo(options, output)
    fixed, moving = Path(options.fixed), Path(options.moving)
    if fixed.is_dir() != moving.is_dir():
        raise ValueError(f"-fixed and -moving are two files or two folders, but {fixed} and {moving} are not.")
    if fixed.is_dir():
        return _folder(options, fixed, moving, output)
    case = Case(_name(fixed), fixed, moving, *(Path(file) if file else None for file in
                                               (options.fixed_image, options.moving_image)))
    return SURE if _one(case, options, output, _landmarks(options)) else NOT_SURE


def _one(
    case: Case, options: argparse.Namespace, output: Path, landmarks: dict[str, Any] | None = None,
    channels_folder: Path | None = None,
) -> bool:
    """One case into a folder; whether it is sure."""
    from nnunet_topo.disk import require_writable
    from nnunet_topo.registration.cases import register_case, write_channels
    from nnunet_topo.report.registration_figure import registration_figure

    channels = [(channels_folder or output) / f"{case.name}_{number}.nii.gz" for number in ("0000", "0001")]
    inputs = {file.resolve() for file in (case.fixed, case.moving, case.fixed_image, case.moving_image) if file}
    if inputs & {file.resolve() for file in channels} or output.resolve() in {file.parent for file in inputs}:
        raise ValueError(f"The output folder {output} holds what is to be registered, which might be overwritten. "
                         "Choose another folder by -o.")
    require_writable(output)
    result, given = register_case(case, *options.label, transform=options.t, by=options.by,
                                  moved_skeleton=options.moved_skeleton, seed=options.seed, device=options.device,
                                  progress=True, **(landmarks or {}))
    files = result.write(output)
    for file in channels:  # of an earlier registration, which may have been surer than this one
        file.unlink(missing_ok=True)
    files += write_channels(case, result, given, channels[0].parent)
    picture = output / f"{'' if result.sure else 'UNSURE_'}registration.png"
    registration_figure(given["fixed"], given["moving"], result, picture, title=case.name,
                        **{name: given[name] for name in ("fixed_image", "label", "moving_label")})
    print(f"{case.name}: {'sure' if result.sure else 'NOT SURE'}")
    for name, value in result.quality.as_dict().items():
        if isinstance(value, (int, float)):
            print(f"  {name:30} {value:.3f}" if isinstance(value, float) else f"  {name:30} {value}")
    for warning in result.quality.warnings:
        print(f"  -> {warning}")
    print("  Written: " + ", ".join(str(file) for file in [*files, picture]))
    return result.sure


def _folder(options: argparse.Namespace, fixed: Path, moving: Path, output: Path) -> int:
    """Each case into a folder of its own, and the channels of all that are sure into one."""
    from nnunet_topo.registration.cases import cases_of, left_out

    if options.landmarks_fixed or options.landmarks_moving:
        raise ValueError("Landmarks belong to one case; leave them out with folders.")
    cases = cases_of(fixed, moving, *(Path(folder) if folder else None
                                      for folder in (options.fixed_image, options.moving_image)))
    alone = left_out(cases, moving)
    if alone:
        print(f"Only in {moving}, and left out: {', '.join(alone)}")
    sure, failed = 0, 0
    for case in cases:
        try:
            sure += _one(case, options, output / case.name, channels_folder=output / CHANNELS)
        except (ValueError, RuntimeError, OSError) as error:
            print(f"{case.name}: Error: {error}", file=sys.stderr)
            failed += 1
    print(f"\n{sure} of {len(cases)} case(s) are sure, {failed} could not be registered. Channels for nnU-Net, of the "
          f"sure ones where images were given: {output / CHANNELS}")
    return WRONG if failed else SURE if sure == len(cases) else NOT_SURE


def _demo(options: argparse.Namespace, output: Path) -> int:
    """A synthetic mandible in CT and MR, written, registered and measured against what is true."""
    from nnunet_topo.files import is_empty, write_image
    from nnunet_topo.registration import write_landmarks
    from nnunet_topo.registration.cases import Case
    from nnunet_topo.synthetic import mandible_pair

    if not is_empty(output):
        raise ValueError(f"The output folder {output} is not empty. Choose another with -o, or remove it first.")
    output.mkdir(parents=True, exist_ok=True)
    print(f"A synthetic mandible in CT and MR, in {output}. All of it is synthetic: the figures say nothing about "
          "accuracy in patients.")
    pair = mandible_pair(options.seed, images=True)
    for name in ("fixed", "moving"):
        write_image(getattr(pair, name), output / f"{name}_seg.nii.gz")
        write_image(getattr(pair, f"{name}_image"), output / f"{name}_image.nii.gz")
        write_landmarks(getattr(pair, f"{name}_landmarks"), output / f"{name}_landmarks.csv")
    case = Case("demo", output / "fixed_seg.nii.gz", output / "moving_seg.nii.gz", output / "fixed_image.nii.gz",
                output / "moving_image.nii.gz")
    sure = _one(case, options, output / "registered", {"fixed_landmarks": pair.fixed_landmarks,
                                                       "moving_landmarks": pair.moving_landmarks})
    print(f"  true rotation {pair.rotation_degrees:.1f} degrees, shift {pair.shift_mm:.1f} mm, field of view cut by "
          f"{pair.cut_mm:.0f} mm, condyle {'missing' if pair.condyle_missing else 'there'}")
    return SURE if sure else NOT_SURE


def _landmarks(options: argparse.Namespace) -> dict[str, Any]:
    from nnunet_topo.registration import read_landmarks

    files = options.landmarks_fixed, options.landmarks_moving
    if not any(files):
        return {}
    if not all(files):
        raise ValueError("Landmarks are compared by name and needed for both images: -landmarks_fixed and "
                         "-landmarks_moving.")
    fixed, moving = map(read_landmarks, files)
    alone = sorted(set(fixed) ^ set(moving))
    if alone:
        print(f"Landmarks of one file only, which are left out: {', '.join(alone)}")
    return {"fixed_landmarks": fixed, "moving_landmarks": moving}


def _name(file: Path) -> str:
    return Path(file.name.removesuffix(".gz")).stem


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nnUNetv2_topo_register",
        description="Registers a bone that two modalities show, e.g. the mandible from MR onto CT, by the shapes of "
        "its segmentations: medial ridges from far away, then surfaces with the difference in thickness estimated, "
        "and with both images, where given. "
        "Takes two files, or two folders with CASE.nii.gz in both. Writes the transform (ITK, 3D Slicer), the moved "
        "segmentation and image on the fixed grid, quality.json and a picture; with both images also CASE_0000 and "
        "CASE_0001, nnU-Net's channels. Exit code 2 where a result is not sure: its files then begin with UNSURE_.")
    parser.add_argument("-fixed", help="segmentation (label map, probability map or nnU-Net's .npz), or a folder")
    parser.add_argument("-moving", help="the same of the modality that is moved")
    parser.add_argument("-fixed_image", help="[OPTIONAL] image of the fixed segmentation, or a folder of CASE_0000")
    parser.add_argument("-moving_image", help="[OPTIONAL] image of the moving one, or a folder of CASE_0000")
    parser.add_argument("-o", default="registered", help="[OPTIONAL] output folder. Default: registered")
    parser.add_argument("-t", choices=TRANSFORMS, default="rigid", help="[OPTIONAL] transform. Default: rigid")
    parser.add_argument("-by", choices=SIMILARITIES, default="combined",
                        help="[OPTIONAL] what is compared. Default: combined")
    parser.add_argument("-l", dest="label", nargs="+", default=[], metavar="LABEL",
                        help="[OPTIONAL] the bone, in label maps and .npz files: a label's number, several joined by "
                        "commas, or the name of a label or region in the dataset.json beside each file. A second one "
                        "is for the moving file, where it differs. Default: any label; .npz must have one only")
    parser.add_argument("-landmarks_fixed", help="[OPTIONAL] .mrk.json, .fcsv, or .csv (name,x,y,z; mm, LPS)")
    parser.add_argument("-landmarks_moving", help="[OPTIONAL] the same of the moving image, with the same names")
    parser.add_argument("--moved_skeleton", type=float, default=0.0, metavar="WEIGHT",
                        help="[OPTIONAL] with -t deformable: weight of the moved map's differentiable skeleton")
    parser.add_argument("-device", default="cpu", help="[OPTIONAL] cpu or cuda. Default: cpu")
    parser.add_argument("--seed", type=int, default=0, help="[OPTIONAL] of the sampling, and of the demo's mandible")
    parser.add_argument("--demo", action="store_true", help="[OPTIONAL] register a synthetic mandible")
    return parser


if __name__ == "__main__":
    sys.exit(main())
