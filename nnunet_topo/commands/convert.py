"""``nnUNetv2_topo_convert``: published data sets, as they are downloaded, into nnU-Net's raw format."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from nnunet_topo.conversion.topomortar import SETS, convert_topomortar


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert and say where the data sets are; 0, or 1 with the reason in a sentence."""
    options = _parser().parse_args(arguments)
    try:
        folders = options.convert(options)
        placed = [folder for folder in folders if _place_splits(folder)]
    except (ValueError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped; nothing was written.", file=sys.stderr)
        return 130
    for folder in folders:
        print(f"Written: {folder}")
    if placed:
        print("The splits (splits_final.json) are in nnUNet_preprocessed too, where nnU-Net looks for them.")
    unplaced = [folder for folder in folders if (folder / "splits_final.json").exists() and folder not in placed]
    if unplaced:
        print("nnUNet_preprocessed is not set: after planning, copy splits_final.json of each data set into its folder "
              "there, or nnU-Net makes splits of its own.")
    numbers = " ".join(folder.name[len("Dataset"):][:3] for folder in folders)
    print(f"Next: nnUNetv2_plan_and_preprocess -d {numbers} --verify_dataset_integrity")
    return 0


def _place_splits(folder: Path) -> bool:
    """Put the splits where nnU-Net looks for them, if this place is known."""
    preprocessed, splits = os.environ.get("nnUNet_preprocessed"), folder / "splits_final.json"
    if not preprocessed or not splits.exists():
        return False
    target = Path(preprocessed) / folder.name
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(splits, target / splits.name)
    return True


def _topomortar(options: argparse.Namespace) -> list[Path]:
    return convert_topomortar(options.source, options.d, sets=options.sets)


def _parser() -> argparse.ArgumentParser:
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
    return parser


if __name__ == "__main__":
    sys.exit(main())
