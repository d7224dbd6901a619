"""To which group of test images each belongs: the training's distribution, or one of the kinds outside of it."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nnunet_topo.study.settings import Study

UNGROUPED = "test"


def groups_of(study: Study, dataset: str) -> dict[str, str]:
    """Case -> group, from ``manifest.csv`` in the raw data set (columns case and group), if there is one.

    Groups that the study's ``groups`` join have the name given there.
    """
    file = Path(os.environ["nnUNet_raw"]) / dataset / "manifest.csv"
    if not file.is_file():
        return {}
    with file.open(newline="") as opened:
        reader = csv.DictReader(opened)
        if not {"case", "group"} <= set(reader.fieldnames or ()):
            raise ValueError(f"{file} must have the columns case and group, which say to which group of test images "
                             "each belongs.")
        found = {row["case"]: row["group"] for row in reader}
    joined = {group: name for name, groups in (study.groups or {}).items() for group in groups}
    return {case: joined.get(group, group) for case, group in found.items()}


def require_groups(study: Study, datasets: Sequence[str]) -> None:
    """ValueError where a manifest has no groups, or the study joins a group that no data set has, or one twice."""
    there = {group for dataset in datasets for group in groups_of(replace(study, groups=None), dataset).values()}
    if study.groups is None:
        return
    named = [group for groups in study.groups.values() for group in groups]
    twice = sorted({group for group in named if named.count(group) > 1})
    if twice:
        raise ValueError(f"The study's groups name {', '.join(twice)} more than once; an image belongs to one group.")
    unknown = sorted(set(named) - there)
    if unknown:
        raise ValueError(f"The study's groups name {', '.join(unknown)}, but manifest.csv in the raw data set(s) "
                         f"{', '.join(datasets)} has {', '.join(sorted(there)) or 'no groups'}.")

