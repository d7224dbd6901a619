"""``nnUNetv2_topo_find_postprocessing``: choose on validation predictions how to correct the topology of others."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_topo.commands.arguments import add_processes, count, processes_of
from nnunet_topo.commands.guard import guarded

if TYPE_CHECKING:
    from nnunet_topo.postprocessing import Postprocessing

METRICS = ("betti_matching_error", "betti_error")
TOLERANCE, TOLERANCE_CLDICE = 0.002, 0.01
PICTURES_SHOWN = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Search, write, print; 0 where the settings are written, otherwise 1 with the reason in a sentence."""
    options = _parser().parse_args(arguments)
    return guarded(lambda: _find(options), stopped="Nothing was written.")


def _find(options: argparse.Namespace) -> int:
    from nnunet_topo.postprocessing import find_postprocessing, read_postprocessing, write_postprocessing
    from nnunet_topo.postprocessing.choice import Tolerances
    from nnunet_topo.postprocessing.dataset import dataset_of

    folders = [Path(folder) for folder in options.predictions]
    output = Path(options.o)
    if output.is_dir():
        raise ValueError(f"-o is a file here, for the settings; {output} is a folder.")
    if not output.resolve().parent.is_dir():
        raise ValueError(f"The folder {output.resolve().parent} of -o does not exist. Make it first.")
    if output.exists():
        try:
            read_postprocessing(output)
        except ValueError as error:
            raise ValueError(f"The settings would be written over {output}, which holds something else. Choose another "
                             "name with -o.") from error
    page = output.with_suffix(".html")
    if options.report and page == output:
        raise ValueError(f"The page of --report would be written over the settings, {output}. Give -o another ending, "
                         "such as .json.")
    dataset = dataset_of(options.djfile or folders[0] / "dataset.json", options.pfile or folders[0] / "plans.json")
    reading = {"scheme": dataset.scheme, "file_ending": dataset.file_ending, "reader_writer": dataset.reader_writer,
               "processes": processes_of(options)}
    settings = find_postprocessing(options.labels, folders, **reading, metric=options.metric,
                                   tolerances=Tolerances(options.tolerance, options.tolerance_cldice))
    undrawn: dict[str, str] = {}
    if options.report:
        from nnunet_topo.commands.postprocessing_report import write_report

        undrawn = write_report(page, settings, folders, Path(options.labels), **reading, pictures=options.pictures)
    write_postprocessing(output, settings)
    print(_text(settings))
    print(f"\nWritten: {output}{f' and {page}' if options.report else ''}. Apply it by "
          f"nnUNetv2_topo_apply_postprocessing INPUT OUTPUT -pp {output}")
    for case, why in undrawn.items():
        print(f"Error: {case} could not be drawn: {why}", file=sys.stderr)
    return int(bool(undrawn))


def _text(settings: Postprocessing) -> str:
    """What was chosen and what it gains, label by label and image by image."""
    chosen: Mapping[str, Any] = settings.chosen or {}
    lines = [f"{chosen['images']} image(s), {chosen['metric']}"]
    if not chosen["probabilities"]:
        lines.append("There are no probabilities (.npz), so gaps were not searched; validate with --npz to have them.")
    for name, operations in zip(settings.names, settings.operations, strict=True):
        gains = chosen["regions"][name]
        lines += ["", f"{name}: {operations.in_words(settings.axes)}", "",
                  "| | error | by dimension | Dice | clDice |", "|---|---|---|---|---|"]
        for row, title in (("predicted", "predicted"), ("post_processed", "post-processed"),
                           ("leave_one_out", "leave-one-out")):
            means = gains[row]
            errors = ", ".join(f"{error:.2f}" for error in means["errors"])
            lines.append(f"| {title} | {means['error']:.2f} | {errors} | {_share(means['dice'])} | "
                         f"{_share(means['cl_dice'])} |")
        lines += ["", "| image | predicted | post-processed | leave-one-out |", "|---|---|---|---|"]
        lines += [f"| {image} | {scores['predicted']['error']} | {scores['post_processed']['error']} | "
                  f"{scores['leave_one_out']['error']} |" for image, scores in gains["images"].items()]
    return "\n".join(lines)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nnUNetv2_topo_find_postprocessing",
        description="Chooses for each label or region which pieces to drop, which gaps to close and which holes to "
        "fill, on predictions whose truth is known: nnU-Net's validation folders of one or several folds, or a folder "
        "of cross-validation results. Gaps need probabilities (.npz beside the predictions: nnUNetv2_train ... --npz). "
        "Writes the settings with what they gain, for nnUNetv2_topo_apply_postprocessing.")
    parser.add_argument("labels", metavar="LABELS", help="folder with gt segmentations")
    parser.add_argument("predictions", metavar="PREDICTIONS", nargs="+",
                        help="folder(s) with predictions, such as fold_0/validation; each case in one of them")
    parser.add_argument("-djfile", help="[OPTIONAL] dataset.json file. Default: the one in PREDICTIONS")
    parser.add_argument("-pfile", help="[OPTIONAL] plans.json file. Default: the one in PREDICTIONS")
    parser.add_argument("-o", default="postprocessing.json",
                        help="[OPTIONAL] output file. Default: postprocessing.json")
    add_processes(parser)
    parser.add_argument("--metric", choices=METRICS, default=METRICS[0],
                        help=f"[OPTIONAL] what is lowered. Default: {METRICS[0]}")
    parser.add_argument("--tolerance", type=_tolerance, default=TOLERANCE,
                        help=f"[OPTIONAL] by how much mean Dice may fall. Default: {TOLERANCE}")
    parser.add_argument("--tolerance_cldice", type=_tolerance, default=TOLERANCE_CLDICE,
                        help=f"[OPTIONAL] by how much mean clDice may fall. Default: {TOLERANCE_CLDICE}")
    parser.add_argument("--report", action="store_true",
                        help="[OPTIONAL] also write a page for the browser, with the ending .html beside the output "
                        "file: the gains, and pictures of the worst images before and after with what was added and "
                        "removed")
    parser.add_argument("--pictures", type=count, default=PICTURES_SHOWN,
                        help="[OPTIONAL] number of images, the worst first, of which the report has pictures, for each "
                        f"label. Default: {PICTURES_SHOWN}")
    return parser


def _tolerance(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a tolerance from 0 to 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
