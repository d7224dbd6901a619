"""``nnUNetv2_topo_evaluate``: topology metrics of predicted label maps, with the flags of nnU-Net's own evaluation."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnunetv2.configuration import default_num_processes

from nnunet_topo.nnunet.evaluation import RECORDS, evaluate_folder
from nnunet_topo.nnunet.evaluation_summary import table
from nnunet_topo.nnunet.label_maps import Region, ending_and_reader


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate, write, print; 0 where every case was evaluated, otherwise 1 with the reason in a sentence."""
    parser = _parser()
    options = parser.parse_args(arguments)
    simple = bool(options.labels or options.regions)
    if simple == bool(options.djfile or options.pfile) or bool(options.djfile) != bool(options.pfile):
        parser.error("say what to evaluate either by -djfile and -pfile, or by -l and/or --regions")
    if options.djfile and options.il is not None:
        parser.error("the ignore label stands in dataset.json; -il goes with -l and --regions")
    output = Path(options.o or options.pred_folder)
    try:
        if output.suffix in (".json", ".csv"):
            raise ValueError(f"-o is a folder here, for summary_topology.json and .csv; {output} is a file name.")
        summary = evaluate_folder(
            options.gt_folder, options.pred_folder, output, **(_simple(options) if simple else _from_files(options)),
            processes=options.np, chill=options.chill, tolerances_mm=options.tolerances_mm)
    except (ValueError, RuntimeError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The finished cases are kept; the same command goes on with the others.", file=sys.stderr)
        return 130
    print(f"\n{table(summary)}\n\nWritten: {output / 'summary_topology.json'} and .csv")
    if summary["missing_predictions"]:
        print(f"Left out (--chill), for they have no prediction: {', '.join(summary['missing_predictions'])}")
    if summary["failed"]:
        print(f"Error: {len(summary['failed'])} case(s) could not be evaluated and are in none of the means. The "
              "others are kept, and the same command tries only these again:", file=sys.stderr)
        for case, why in summary["failed"].items():
            print(f"  {case}: {why}", file=sys.stderr)
        return 1
    return 0


def _simple(options: argparse.Namespace) -> dict[str, Any]:
    ending, reader = ending_and_reader(Path(options.gt_folder))
    return {"labels_or_regions": [*options.labels, *options.regions], "ignore_label": options.il,
            "file_ending": ending, "reader_writer": reader}


def _from_files(options: argparse.Namespace) -> dict[str, Any]:
    """What dataset.json and the plans say."""
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    dataset, plans = _read_json(options.djfile), _read_json(options.pfile)
    try:
        ending, names = dataset["file_ending"], dataset["labels"]
        manager = PlansManager(plans)
        labels = manager.get_label_manager(dataset)
        regions = labels.foreground_regions if labels.has_regions else labels.foreground_labels
        reader = manager.image_reader_writer_class()
    except Exception as error:  # nnU-Net checks by assertions and by what happens to fail
        raise ValueError(f"nnU-Net cannot use {options.djfile} with {options.pfile} ({type(error).__name__}: {error}). "
                         "Pass the dataset.json and plans.json of one trained model's folder.") from error
    keys = {name: str(tuple(label) if isinstance(label, list) else label) for name, label in names.items()}
    return {"labels_or_regions": regions, "ignore_label": labels.ignore_label, "known_labels": labels.all_labels,
            "file_ending": ending, "reader_writer": reader,
            "label_names": {key: name for name, key in keys.items() if key in set(map(str, regions))}}


def _read_json(file: str) -> dict[str, Any]:
    try:
        content = json.loads(Path(file).read_text())
    except OSError as error:
        raise ValueError(f"{file} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise ValueError(f"{file} is no JSON file ({error}).") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds a {type(content).__name__}, not the entries of a dataset or of plans.")
    return content


def _region(text: str) -> Region:
    try:
        return tuple(int(label) for label in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no region; write its labels with commas, as in 1,2") from None


def _tolerance(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no distance in mm")
    return value


def _processes(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of processes")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nnUNetv2_topo_evaluate",
        description="Overlap, surface, centreline and topology metrics of each case and label or region. Takes either "
        "-djfile and -pfile, or -l and/or --regions. Writes summary_topology.json and summary_topology.csv, the worst "
        f"cases first, and keeps each finished case in {RECORDS}/, so that the same command goes on where it was "
        "stopped. nnU-Net's summary.json is not touched. Exit code 1 if anything could not be evaluated.")
    parser.add_argument("gt_folder", metavar="REFERENCE", help="folder with gt segmentations")
    parser.add_argument("pred_folder", metavar="PREDICTION", help="folder with predicted segmentations")
    parser.add_argument("-djfile", help="dataset.json file")
    parser.add_argument("-pfile", help="plans.json file")
    parser.add_argument("-l", dest="labels", type=int, nargs="+", default=[], help="list of labels, without -djfile")
    parser.add_argument("--regions", type=_region, nargs="+", default=[],
                        help='list of regions, each its labels with commas, without -djfile: --regions "1,2" "2"')
    parser.add_argument("-il", type=int, help="[OPTIONAL] ignore label, without -djfile")
    parser.add_argument("-o", help="[OPTIONAL] output folder. Default: PREDICTION")
    parser.add_argument("-np", type=_processes, default=default_num_processes,
                        help="[OPTIONAL] number of processes used, each with one case in memory; 0: none besides this "
                        f"one. Default: {default_num_processes}")
    parser.add_argument("--tolerances_mm", type=_tolerance, nargs="+", default=[1.0, 2.0],
                        help="[OPTIONAL] tolerances of the normalised surface Dice (NSD) in mm. Default: 1 2")
    parser.add_argument("--chill", action="store_true",
                        help="[OPTIONAL] evaluate what there is if PREDICTION lacks files that REFERENCE has")
    return parser


if __name__ == "__main__":
    sys.exit(main())
