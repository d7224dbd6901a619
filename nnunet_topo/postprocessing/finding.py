"""The choice of post-processing on validation predictions, label by label."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_topo.files import files_of
from nnunet_topo.nnunet.evaluation.label_maps import read_label_map
from nnunet_topo.postprocessing.candidates import DEFAULT_METRIC, METRICS, Scores
from nnunet_topo.postprocessing.choice import Tolerances, choose, leave_one_out
from nnunet_topo.postprocessing.labels import LabelScheme
from nnunet_topo.postprocessing.probabilities import require_channels
from nnunet_topo.postprocessing.search import search
from nnunet_topo.postprocessing.settings import Operations, Postprocessing
from nnunet_topo.postprocessing.trials import LabelledCase, Trials, npz_of

MOST_PIECES = 5  # of a label in every reference, beyond which their number is not what makes a label


def find_postprocessing(
    reference_folder: str | os.PathLike[str],
    prediction_folders: Sequence[str | os.PathLike[str]],
    *,
    scheme: LabelScheme,
    file_ending: str,
    reader_writer: Any,
    processes: int,
    metric: str = DEFAULT_METRIC,
    tolerances: Tolerances | None = None,
) -> Postprocessing:
    """Choose the settings of each label or region on predictions whose truth is known; nothing is written.

    Each label is searched by itself: the settings that lower the mean of the metric, summed over dimensions, without
    lowering mean Dice and clDice by more than the tolerances, and of those that are as good by the one-standard-error
    rule the ones that change the fewest voxels (:func:`nnunet_topo.postprocessing.choice.choose`). Gaps are searched
    where there are probabilities. What was gained stands in the result's ``chosen``: raw, post-processed with all
    labels together, and by leave-one-out, where the settings for each image are chosen on the others among those that
    were tried.

    Args:
        reference_folder: true label maps; may hold further ones.
        prediction_folders: predictions, with ``CASE.npz`` where gaps are to be searched, in one folder or several.
        scheme: labels or regions of the data set.
        file_ending: of the label maps, with its dot.
        reader_writer: instance of one of nnU-Net's reader classes.
        processes: cases worked on at the same time, each in a process; 0: one after another in this process.
        metric: one of :data:`nnunet_topo.postprocessing.candidates.METRICS`, with an 8- or 26-connected foreground.
        tolerances: of Dice and clDice; None: the defaults.

    Raises:
        ValueError: for folders and files that cannot be used, labels that never occur, and predictions of a label that
            are empty everywhere.
    """
    tolerances = tolerances or Tolerances()
    if metric not in METRICS:
        raise ValueError(f"The metric must be one of {', '.join(METRICS)}, not {metric!r}.")
    cases, others = _cases(Path(reference_folder), [Path(folder) for folder in prediction_folders], file_ending,
                           reader_writer, scheme)
    work = Trials(cases, metric, processes)
    try:
        first = read_label_map(cases[0].reference, reader_writer)
        voxel, axes = math.prod(first.spacing), first.labels.ndim
        neutral = work.try_out([(Operations(),)] * len(scheme.names))
        _require_labels(neutral, scheme)
        pieces = work.pieces(others)
        chosen, found = [], []
        for index in range(len(scheme.names)):
            table = search(lambda candidates, index=index: work.trial(index, candidates),  # type: ignore[misc]
                           axes=axes, voxel=voxel, probabilities=cases[0].probabilities,
                           pieces=pieces[index] if pieces[index] <= MOST_PIECES else None, tolerances=tolerances)
            chosen.append(choose(table, tolerances, range(len(cases))))
            found.append((table, leave_one_out(table, tolerances)))
        together = work.together(tuple(chosen))
    finally:
        work.close()
    report = {
        "metric": f"{metric}, summed over dimensions; 8- or 26-connected foreground",
        "tolerances": {"dice": tolerances.dice, "cl_dice": tolerances.cl_dice},
        "references": str(reference_folder),
        "predictions": [str(folder) for folder in prediction_folders],
        "probabilities": cases[0].probabilities,
        "images": len(cases),
        "regions": {
            name: _gains([case.name for case in cases], table[Operations()],
                         [table[operations][image] for image, operations in enumerate(left_out)],
                         [scores[index] for scores in together], len(table))
            for index, (name, (table, left_out)) in enumerate(zip(scheme.names, found, strict=True))
        },
    }
    return Postprocessing(axes, scheme.names, scheme.regions, tuple(chosen), report)


def _gains(
    names: Sequence[str], raw: Sequence[Scores], left_out: Sequence[Scores], together: Sequence[Scores], tried: int
) -> dict[str, Any]:
    rows = {"predicted": raw, "post_processed": together, "leave_one_out": left_out}
    return {"settings_tried": tried, **{row: _means(scores) for row, scores in rows.items()},
            "images": {name: {row: _one(scores[image]) for row, scores in rows.items()}
                       for image, name in enumerate(names)}}


def _means(scores: Sequence[Scores]) -> dict[str, Any]:
    return {"errors": [float(value) for value in np.mean([score.errors for score in scores], axis=0)],
            "error": float(np.mean([score.error for score in scores])),
            "dice": _number(np.nanmean([score.dice for score in scores])),
            "cl_dice": _number(np.nanmean([score.cl_dice for score in scores]))}


def _one(score: Scores) -> dict[str, Any]:
    return {"errors": list(score.errors), "error": score.error, "dice": _number(score.dice),
            "cl_dice": _number(score.cl_dice)}


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


def _cases(
    references: Path, folders: Sequence[Path], ending: str, reader: Any, scheme: LabelScheme
) -> tuple[list[LabelledCase], list[LabelledCase]]:
    """The predicted cases, and the references without a prediction."""
    true = {file.name: file for file in files_of(references, ending)}
    predicted: dict[str, Path] = {}
    for folder in folders:
        files = files_of(folder, ending)
        if not files:
            raise ValueError(f"The folder {folder} holds no file that ends in {ending}.")
        twice = [file.name for file in files if file.name in predicted]
        if twice:
            raise ValueError(f"{twice[0]} lies in {predicted[twice[0]].parent} and in {folder}. Each case must be "
                             "predicted once, by the fold that did not train on it.")
        predicted |= {file.name: file for file in files}
    unknown = [name for name in predicted if name not in true]
    if unknown:
        raise ValueError(f"{len(unknown)} of {len(predicted)} prediction(s) have no reference in {references}, e.g. "
                         f"{unknown[0]}. Add their references, or move these predictions away.")
    names = {name: name.removesuffix(ending) for name in true}
    archives = {name: npz_of(file, names[name]) for name, file in predicted.items()}
    missing = [file for file in archives.values() if not file.is_file()]
    if missing and len(missing) < len(archives):
        raise ValueError(f"{len(missing)} of {len(archives)} case(s) have no probabilities, e.g. {missing[0]}. "
                         "Validate all folds with --npz, or move the .npz files away to choose without gaps.")
    for file in archives.values() if not missing else ():
        require_channels(file, scheme.channel_count)
    cases = [LabelledCase(names[name], predicted[name], true[name], reader, scheme, not missing)
             for name in sorted(predicted)]
    return cases, [LabelledCase(names[name], None, file, reader, scheme, False) for name, file in sorted(true.items())
                   if name not in predicted]


def _require_labels(neutral: Sequence[Sequence[Sequence[Scores]]], scheme: LabelScheme) -> None:
    """Raise ValueError for a label that is in no reference, or in no prediction."""
    for index, name in enumerate(scheme.names):
        scores = [image[index][0] for image in neutral]
        if all(np.isnan(score.dice) for score in scores):
            raise ValueError(f"The label {name} {list(scheme.regions[index])} occurs in no reference and in no "
                             "prediction, so that nothing can be chosen for it. Give more cases.")
        if all(np.isnan(score.dice) or score.dice == 0 for score in scores):
            raise ValueError(f"The label {name} {list(scheme.regions[index])} is predicted nowhere where references "
                             "have it: it is missing in either, or all of it is in the wrong place. Nothing can be "
                             "chosen for it; give other cases, or train for longer.")
