"""``nnUNetv2_topo_evaluate``: topology metrics of predicted label maps, with the flags of nnU-Net's own evaluation."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_topo.commands.arguments import add_processes, count, processes_of, region
from nnunet_topo.commands.guard import guarded
from nnunet_topo.files import require_name

if TYPE_CHECKING:
    pass

REPORT = "report.html"
PICTURES_SHOWN = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate, write, print; 0 where every case was evaluated, otherwise 1 with the reason in a sentence."""
    parser = _parser()
    options = parser.parse_args(arguments)
    simple = bool(options.labels or options.regions)
    if simple == bool(options.djfile or options.pfile) or bool(options.djfile) != bool(options.pfile):
        parser.error("say what to evaluate either by -djfile and -pfile, or by -l and/or --regions")
    if options.djfile and options.il is not None:
        parser.error("the ignore label stands in dataset.json; -il goes with -l and --regions")
    if not options.report and (options.compare or options.images or options.pictures != PICTURES_SHOWN):
        parser.error("--compare, -images and --pictures say what is in the report; they go with --report")
    return guarded(lambda: _evaluate(options), stopped="The finished cases are kept; the same command goes on with the "
                   "others.")


def _evaluate(options: argparse.Namespace) -> int:
    from nnunet_topo.nnunet.evaluation.folders import evaluate_folder
    from nnunet_topo.nnunet.evaluation.summary import table

    output = Path(options.o or options.pred_folder)
    if output.suffix in (".json", ".csv", ".html"):
        raise ValueError(f"-o is a folder here, for summary_topology.json and .csv; {output} is a file name.")
    folders = _named_folders(options)
    outputs = dict.fromkeys(folders, output) | {name: output / name if options.o else folder
                                                for name, folder in list(folders.items())[1:]}
    _require_own_outputs(folders, outputs)
    settings = _from_files(options) if options.djfile else _simple(options)
    summaries = {}
    for name, folder in folders.items():
        if len(folders) > 1:
            print(f"{name}: {folder}")
        summaries[name] = evaluate_folder(predictions=folder, references=options.gt_folder, output=outputs[name],
                                          processes=processes_of(options), chill=options.chill,
                                          tolerances_mm=options.tolerances_mm, connectivity=options.connectivity,
                                          **settings)
    undrawn = _report(options, output, summaries, outputs, settings["reader_writer"]) if options.report else {}
    for name, summary in summaries.items():
        heading = f"\n{name}" if len(summaries) > 1 else ""
        print(f"{heading}\n{table(summary)}\n\nWritten: {outputs[name] / 'summary_topology.json'} and .csv")
        if summary["missing_predictions"]:
            print(f"Left out (--chill), for they have no prediction: {', '.join(summary['missing_predictions'])}")
    if options.report:
        print(f"Written: {output / REPORT}")
    return _complain(summaries, undrawn)


def _complain(summaries: Mapping[str, Mapping[str, Any]], undrawn: Mapping[str, str]) -> int:
    """Name what failed; 1 if anything did."""
    for name, summary in summaries.items():
        if summary["failed"]:
            where = f" of {name}" if len(summaries) > 1 else ""
            print(f"Error: {len(summary['failed'])} case(s){where} could not be evaluated and are in none of the "
                  "means. The others are kept, and the same command tries only these again:", file=sys.stderr)
            for case, why in summary["failed"].items():
                print(f"  {case}: {why}", file=sys.stderr)
    if undrawn:
        print(f"Error: the pictures of {len(undrawn)} case(s) could not be drawn; the report is without them:",
              file=sys.stderr)
        for case, why in undrawn.items():
            print(f"  {case}: {why}", file=sys.stderr)
    return int(bool(undrawn) or any(summary["failed"] for summary in summaries.values()))


def _named_folders(options: argparse.Namespace) -> dict[str, Path]:
    """PREDICTION and the folders of --compare by their names."""
    from nnunet_topo.nnunet.evaluation.folders import RECORDS
    from nnunet_topo.nnunet.evaluation.summary import SUMMARIES
    from nnunet_topo.report.comparison import distinct_names
    from nnunet_topo.report.evaluation_pictures import PICTURES

    given = [("", Path(options.pred_folder)), *options.compare]
    folders = [folder for _, folder in given]
    names = [name or other for (name, _), other in zip(given, distinct_names(folders), strict=True)]
    if options.o:
        for name in names[1:]:
            try:
                require_name(name)
            except ValueError as error:
                raise ValueError(f"The names of folders to compare become folders in -o, and {error} Write --compare "
                                 "NAME=FOLDER.") from error
    same = [name.casefold() for name in names]  # as file systems of Windows and macOS have it
    ours = {RECORDS, PICTURES, REPORT, *SUMMARIES} if options.o else set()
    for name in names:
        if same.count(name.casefold()) > 1:
            raise ValueError(f"Several prediction folders have the name {name!r}; give them others, as in --compare "
                             "NAME=FOLDER.")
        if name in names[1:] and name.casefold() in ours:
            raise ValueError(f"{name!r} is the name of something that the evaluation itself writes into -o; give the "
                             "folder to compare another, as in --compare NAME=FOLDER.")
    return dict(zip(names, folders, strict=True))


def _require_own_outputs(folders: Mapping[str, Path], outputs: Mapping[str, Path]) -> None:
    """ValueError where the summary of one folder would be written into another folder of predictions."""
    for name, output in outputs.items():
        for other, folder in folders.items():
            if output.resolve() == folder.resolve() and folder.resolve() != folders[name].resolve():
                raise ValueError(f"The results of {name} would be written into {folder}, which holds the predictions "
                                 f"of {other}. Choose another folder with -o, or another name with --compare "
                                 "NAME=FOLDER.")


def _report(
    options: argparse.Namespace, output: Path, summaries: Mapping[str, Mapping[str, Any]],
    outputs: Mapping[str, Path], reader: Any,
) -> dict[str, str]:
    """Draw the worst cases and write the page; returns what could not be drawn, with the reason."""
    from nnunet_topo.report.evaluation_page import write_evaluation_page
    from nnunet_topo.report.evaluation_pictures import draw_pictures

    worst = [case["case"] for case in next(iter(summaries.values()))["metric_per_case"]][: options.pictures]
    pictures: dict[str, dict[str, dict[str, Path]]] = {}
    undrawn: dict[str, str] = {}
    for name, summary in summaries.items():
        pictures[name], failed = draw_pictures(summary, worst, outputs[name], reader_writer=reader,
                                               processes=processes_of(options),
                                               images=Path(options.images) if options.images else None)
        undrawn |= {f"{case} ({name})": why for case, why in failed.items()}
    write_evaluation_page(output / REPORT, summaries, pictures, undrawn)
    return undrawn


def _simple(options: argparse.Namespace) -> dict[str, Any]:
    from nnunet_topo.nnunet.evaluation.label_maps import ending_and_reader

    ending, reader = ending_and_reader(Path(options.gt_folder))
    return {"labels_or_regions": [*options.labels, *options.regions], "ignore_label": options.il,
            "file_ending": ending, "reader_writer": reader}


def _from_files(options: argparse.Namespace) -> dict[str, Any]:
    """What dataset.json and the plans say."""
    from nnunet_topo.nnunet.evaluation.folders import dataset_settings

    plans, dataset = _read_json(options.pfile), _read_json(options.djfile)
    try:
        return dataset_settings(plans, dataset)
    except Exception as error:  # nnU-Net checks by assertions and by what happens to fail
        raise ValueError(f"nnU-Net cannot use {options.djfile} with {options.pfile} ({type(error).__name__}: {error}). "
                         "Pass the dataset.json and plans.json of one trained model's folder.") from error


def _read_json(file: str) -> dict[str, Any]:
    try:
        content = json.loads(Path(file).read_text())
    except OSError as error:
        raise ValueError(f"{file} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise ValueError(f"{file} is not a JSON file ({error}).") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds a {type(content).__name__}, not the entries of a dataset or of plans.")
    return content


def _folder_to_compare(text: str) -> tuple[str, Path]:
    """NAME=FOLDER or FOLDER, whose name then follows from its path."""
    name, equals, folder = text.partition("=")
    return (name, Path(folder)) if equals and name and not Path(text).exists() else ("", Path(text))


def _tolerance(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a distance in mm")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nnUNetv2_topo_evaluate",
        description="Overlap, surface, centreline and topology metrics of each case and label or region. Takes either "
        "-djfile and -pfile, or -l and/or --regions. Writes summary_topology.json and summary_topology.csv, the worst "
        "cases first, and keeps each finished case in nnunet_topo_evaluation/, so that the same command goes on where "
        "it was stopped. nnU-Net's summary.json is not touched. Exit code 1 if anything could not be evaluated.")
    parser.add_argument("gt_folder", metavar="REFERENCE", help="folder with gt segmentations")
    parser.add_argument("pred_folder", metavar="PREDICTION", help="folder with predicted segmentations")
    parser.add_argument("-djfile", help="dataset.json file")
    parser.add_argument("-pfile", help="plans.json file")
    parser.add_argument("-l", dest="labels", type=int, nargs="+", default=[], help="list of labels, without -djfile")
    parser.add_argument("--regions", type=region, nargs="+", default=[],
                        help='list of regions, each its labels with commas, without -djfile: --regions "1,2" "2"')
    parser.add_argument("-il", type=int, help="[OPTIONAL] ignore label, without -djfile")
    parser.add_argument("-o", help="[OPTIONAL] output folder. Default: PREDICTION")
    add_processes(parser)
    parser.add_argument("--tolerances_mm", type=_tolerance, nargs="+", default=[1.0, 2.0],
                        help="[OPTIONAL] tolerances of the normalised surface Dice (NSD) in mm. Default: 1 2")
    parser.add_argument("--connectivity", choices=["foreground", "background"], default="foreground",
                        help="[OPTIONAL] the side that is connected across corners, for Betti numbers, Betti matching "
                        "and components: foreground (8 in 2D, 26 in 3D; background 4 or 6), or background, as papers "
                        "on Betti matching have it, whose numbers this gives. Default: foreground")
    parser.add_argument("--chill", action="store_true",
                        help="[OPTIONAL] evaluate what there is if PREDICTION lacks files that REFERENCE has")
    parser.add_argument("--report", action="store_true",
                        help=f"[OPTIONAL] also write {REPORT} into the output folder: one file with tables, "
                        "distributions and pictures of the worst cases, which opens in a browser and needs no network")
    parser.add_argument("--compare", type=_folder_to_compare, nargs="+", default=[], metavar="[NAME=]FOLDER",
                        help="[OPTIONAL] further folders of predictions of the same cases, evaluated in the same way "
                        "and compared with PREDICTION in the report by paired permutation tests. Their summaries are "
                        "written into them, or into folders of their names in -o")
    parser.add_argument("-images", help="[OPTIONAL] folder of images (CASE_0000...), shown beneath the report's marks")
    parser.add_argument("--pictures", type=count, default=PICTURES_SHOWN,
                        help="[OPTIONAL] number of cases, the worst first, of which the report has pictures. Default: "
                        f"{PICTURES_SHOWN}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
