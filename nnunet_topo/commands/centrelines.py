"""``nnUNetv2_topo_centrelines``: centrelines of label maps as graphs that other programs open."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from nnunet_topo.commands.arguments import add_processes, processes_of, region
from nnunet_topo.commands.guard import guarded

FORMATS = ("vtp", "swc", "graphml", "csv", "mrk.json")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the centrelines; 0 where every case is written, otherwise 1 with the reason in a sentence."""
    options = _parser().parse_args(arguments)
    return guarded(lambda: _write(options), stopped="The finished cases are kept; the same command goes on with the "
                   "others.")


def _write(options: argparse.Namespace) -> int:
    from nnunet_topo.centrelines.folders import BRANCHES, CASES, centrelines_of_folder

    output = Path(options.o)
    failed = centrelines_of_folder(Path(options.i), output, regions=[*options.labels, *options.regions],
                                   formats=options.format, processes=processes_of(options))
    print(f"Written: the graphs, {CASES} and {BRANCHES} in {output}; places in files are LPS in mm. "
          "Components and loops have the connectivity of the foreground, 8 in 2D and 26 in 3D.")
    if failed:
        print(f"Error: {len(failed)} case(s) have no centrelines:", file=sys.stderr)
        for case, why in failed.items():
            print(f"  {case}: {why}", file=sys.stderr)
    return int(bool(failed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nnUNetv2_topo_centrelines",
        description="Writes the centrelines of each label of each label map in LABELS as a graph, with lengths and "
        "radii in mm, and tables of cases and branches. The same command goes on where it was stopped. Exit code 1 if "
        "anything could not be written.")
    parser.add_argument("-i", required=True, metavar="LABELS",
                        help="folder of label maps: .nii.gz, .nii, .nrrd, .mha, .mhd, .png, .bmp, .tif or .tiff")
    parser.add_argument("-o", required=True, metavar="OUTPUT", help="output folder")
    parser.add_argument("-l", dest="labels", type=int, nargs="+", default=[],
                        help="[OPTIONAL] labels. Default: all above 0 that occur in a file")
    parser.add_argument("--regions", type=region, nargs="+", default=[],
                        help='[OPTIONAL] regions, each its labels with commas: --regions "1,2" "2"')
    parser.add_argument("--format", choices=FORMATS, nargs="+", default=["vtp", "csv"],
                        help="[OPTIONAL] vtp (ParaView, 3D Slicer, VMTK), swc, graphml, csv (tables of nodes and "
                        "edges), mrk.json (markups of 3D Slicer). Default: vtp csv")
    add_processes(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
