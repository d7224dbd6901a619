"""``nnUNetv2_topo_apply_postprocessing``: correct the topology of predictions with settings that were chosen before."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from nnunet_topo.commands.arguments import add_processes, processes_of
from nnunet_topo.commands.guard import guarded


def main(arguments: Sequence[str] | None = None) -> int:
    """Post-process, write, print; 0 where every case is written, otherwise 1 with the reason in a sentence."""
    options = _parser().parse_args(arguments)
    return guarded(lambda: _apply(options), stopped="The finished cases are kept; the same command goes on with the "
                   "others.")


def _apply(options: argparse.Namespace) -> int:
    from nnunet_topo.postprocessing import apply_postprocessing, read_postprocessing
    from nnunet_topo.postprocessing.application import SETTINGS
    from nnunet_topo.postprocessing.dataset import dataset_of

    source, output = Path(options.input), Path(options.output)
    settings = read_postprocessing(options.pp)
    dataset = dataset_of(options.djfile or source / "dataset.json", options.pfile or source / "plans.json")
    result = apply_postprocessing(source, output, settings, scheme=dataset.scheme, file_ending=dataset.file_ending,
                                  reader_writer=dataset.reader_writer, processes=processes_of(options))
    cases, failed = result["cases"], result["failed"]
    for name in dataset.scheme.names:
        lost, gained = (sum(case[name][change] for case in cases.values()) for change in ("lost", "gained"))
        print(f"{name}: lost {lost} and gained {gained} voxels in {len(cases)} case(s)")
    if cases:
        print(f"Written: {len(cases)} label map(s) and {SETTINGS} in {output}")
    if failed:
        print(f"Error: {len(failed)} case(s) could not be post-processed and are not written:", file=sys.stderr)
        for case, why in failed.items():
            print(f"  {case}: {why}", file=sys.stderr)
    return int(bool(failed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nnUNetv2_topo_apply_postprocessing",
        description="Post-processes each label map of INPUT with the settings that nnUNetv2_topo_find_postprocessing "
        "chose on validation data, and writes it into OUTPUT under the same name. Works on what nnUNetv2_predict and "
        "nnUNetv2_ensemble write; with probabilities (.npz) where the settings close gaps. The same command goes on "
        "where it was stopped. Exit code 1 if anything could not be post-processed.")
    parser.add_argument("input", metavar="INPUT", help="folder with predicted segmentations")
    parser.add_argument("output", metavar="OUTPUT", help="folder for the post-processed ones")
    parser.add_argument("-pp", required=True, metavar="FILE", help="postprocessing.json")
    parser.add_argument("-djfile", help="[OPTIONAL] dataset.json file. Default: the one in INPUT")
    parser.add_argument("-pfile", help="[OPTIONAL] plans.json file. Default: the one in INPUT")
    add_processes(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
