"""``nnUNetv2_topo_convert``: published data sets, as they are downloaded, into nnU-Net's raw format."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from nnunet_topo.commands.guard import guarded
from nnunet_topo.files import written_at_once


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert and say where the data sets are; 0, or 1 with the reason in a sentence."""
    return guarded(lambda: _convert(arguments), stopped="Data sets are written whole or not at all; the same command "
                   "starts again.")


def _convert(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    folders = options.convert(options)
    placed = [folder for folder in folders if _place_splits(folder)]
    for folder in folders:
        print(f"Written: {folder}")
    if placed:
        print("The splits (splits_final.json) are in nnUNet_preprocessed too, where nnU-Net looks for them.")
    unplaced = [folder for folder in folders if (folder / "splits_final.json").exists() and folder not in placed]
    if unplaced:
        print("nnUNet_preprocessed is not set: after planning, copy splits_final.json of each data set into its folder "
              "there, or nnU-Net makes splits of its own.")
    numbers = " ".join(folder.name[len("Dataset"):][:3] for folder in folders)
    print(f"Next: nnUNetv2_plan_and_preprocess -d {numbers}")
    return 0


def _place_splits(folder: Path) -> bool:
    """Put the splits where nnU-Net looks for them, if this place is known."""
    preprocessed, splits = os.environ.get("nnUNet_preprocessed"), folder / "splits_final.json"
    if not preprocessed or not splits.exists():
        return False
    target = Path(preprocessed) / folder.name
    target.mkdir(parents=True, exist_ok=True)
    with written_at_once(target / splits.name) as temporary:
        shutil.copyfile(splits, temporary)
    return True


def _require_integrity(folder: Path) -> None:
    print(f"nnU-Net checks {folder.name} ...", flush=True)
    from nnunet_topo.nnunet.integrity import require_integrity

    require_integrity(folder)


def _topomortar(options: argparse.Namespace) -> list[Path]:
    from nnunet_topo.conversion.topomortar import convert_topomortar

    return convert_topomortar(options.source, options.d, sets=options.sets, check=_require_integrity)


def _topcow(options: argparse.Namespace) -> list[Path]:
    from nnunet_topo.conversion.topcow import convert_topcow

    return [convert_topcow(options.source, options.d, options.modality, binary=options.binary,
                           check=_require_integrity)]


def _drive(options: argparse.Namespace) -> list[Path]:
    from nnunet_topo.conversion.drive import convert_drive

    return [convert_drive(options.source, options.d, ignore_outside=options.ignore_outside, check=_require_integrity)]


def _pairs(options: argparse.Namespace) -> list[Path]:
    from nnunet_topo.conversion.pairs import convert_pairs

    return [convert_pairs(options.images, options.labels, options.d, options.n, test_images=options.test_images,
                          test_labels=options.test_labels, foreground=options.foreground, classes=options.classes,
                          channel=options.channel, check=_require_integrity)]


def _parser() -> argparse.ArgumentParser:
    from nnunet_topo.conversion.pairs import ENDINGS
    from nnunet_topo.conversion.topcow import MODALITIES
    from nnunet_topo.conversion.topomortar import SETS

    parser = argparse.ArgumentParser(
        prog="nnUNetv2_topo_convert",
        description="Writes published data sets into nnU-Net's raw format: all of what is asked for, or nothing.")
    kinds = parser.add_subparsers(required=True, metavar="KIND")
    topomortar = kinds.add_parser(
        "topomortar", help="TopoMortar's repository",
        description="TopoMortar's repository as a data set for each size of the training set and kind of labels, with "
        "the published split as fold 0, and manifest.csv, which gives the group of each test image.")
    topomortar.add_argument("source", metavar="SOURCE", help="clone of https://github.com/jmlipman/TopoMortar")
    topomortar.add_argument("-d", type=int, required=True, metavar="NUMBER",
                            help="number of the first data set; the others get the numbers after it")
    topomortar.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), metavar="SET",
                            help=f"[OPTIONAL] which to write, in this order. Default: {' '.join(SETS)}")
    topomortar.set_defaults(convert=_topomortar)
    topcow = kinds.add_parser(
        "topcow", help="TopCoW's data release of 2024",
        description="One modality of TopCoW 2024, with the vessels of the circle of Willis as labels 1 to 13. The test "
        "labels are not public, so there are training cases alone. CT and MR are of the same patients: train and "
        "compare within one of them.")
    topcow.add_argument("source", metavar="SOURCE", help="unpacked folder TopCoW2024_Data_Release")
    topcow.add_argument("-d", type=int, required=True, metavar="NUMBER", help="number of the data set")
    topcow.add_argument("--modality", choices=MODALITIES, required=True, help="which angiographies")
    topcow.add_argument("--binary", action="store_true", help="[OPTIONAL] one label for all vessels")
    topcow.set_defaults(convert=_topcow)
    drive = kinds.add_parser(
        "drive", help="DRIVE's retinal vessels",
        description="DRIVE's photographs with the first observer's vessels. Test cases are written where the download "
        "has their labels.")
    drive.add_argument("source", metavar="SOURCE", help="folder that holds the unpacked folders training and test")
    drive.add_argument("-d", type=int, required=True, metavar="NUMBER", help="number of the data set")
    drive.add_argument("--ignore_outside", "--ignore-outside", action="store_true",
                       help="[OPTIONAL] neither train nor evaluate outside of the round field of view. Default: it is "
                       "background")
    drive.set_defaults(convert=_drive)
    pairs = kinds.add_parser(
        "pairs", help="a folder of volumes and one of their label maps",
        description=f"Volumes of one channel and their label maps, which have the same names ({', '.join(ENDINGS)}).")
    pairs.add_argument("images", metavar="IMAGES", help="folder of the training images")
    pairs.add_argument("labels", metavar="LABELS", help="folder of their label maps")
    pairs.add_argument("-d", type=int, required=True, metavar="NUMBER", help="number of the data set")
    pairs.add_argument("-n", required=True, metavar="NAME", help="name of the data set, of letters and digits")
    pairs.add_argument("--test_images", "--test-images", metavar="FOLDER", help="[OPTIONAL] folder of test images")
    pairs.add_argument("--test_labels", "--test-labels", metavar="FOLDER", help="[OPTIONAL] folder of their label maps")
    pairs.add_argument("--classes", nargs="+", default=["foreground"], metavar="NAME",
                       help="[OPTIONAL] names of the labels 1, 2, ...; 'ignore' as the last is nnU-Net's ignore label. "
                       "Default: foreground")
    pairs.add_argument("--foreground", type=int, metavar="VALUE",
                       help="[OPTIONAL] the one label value that counts; all others become background")
    pairs.add_argument("--channel", default="image",
                       help="[OPTIONAL] name of the channel; nnU-Net normalises CT by one of its own. Default: image")
    pairs.set_defaults(convert=_pairs)
    return parser


if __name__ == "__main__":
    sys.exit(main())
