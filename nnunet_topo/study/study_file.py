"""Reading a study file: what is said in it is checked for its form, in a sentence for what is wrong."""

from __future__ import annotations

import os
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

from nnunet_topo.schema import Text, listing, read_entries, short
from nnunet_topo.study.settings import KEPT_BACK, Choice, Executor, Network, Study
from nnunet_topo.study.yaml_file import read_yaml

Settings = TypeVar("Settings")
_OF_KIND = {"local": ("processes",), "slurm": ("partition", "time_minutes", "memory_gb", "cpus", "account")}
_SHORTEST = 3  # minutes; SLURM may tell a job up to a minute earlier than it was asked to


def read_study(file: str | os.PathLike[str]) -> Study:
    """Read a YAML file; ValueError in a sentence for a key that does not exist, is missing, or has another type."""
    path = Path(file)
    content = _entries(str(path), read_yaml(path), Study, "A study", inner={
        "output": Text, "network": Any, "postprocessing": Any, "executor": Any})  # fmt: skip
    if "executor" in content:
        place = f"{path}, entry 'executor'"
        content["executor"] = _executor(place, _entries(place, content["executor"], Executor, "An executor"))
    if content.get("network") is not None:
        place = f"{path}, entry 'network'"
        content["network"] = Network(**_entries(place, content["network"], Network, "A network"))
    if "postprocessing" in content:
        content["postprocessing"] = _choice(f"{path}, entry 'postprocessing'", content["postprocessing"])
    return Study(**(content | {"output": (path.parent / Path(content["output"]).expanduser()).resolve()}))


def _entries(
    place: str, content: Any, kind: type[Settings], owner: str, inner: dict[str, Any] | None = None
) -> dict[str, Any]:  # fmt: skip
    """The entries of one of the classes of settings; ``inner`` has other hints for some."""
    hints = typing.get_type_hints(kind, include_extras=True) | (inner or {})
    found = read_entries(place, content, hints, owner=owner)
    missing = [f.name for f in fields(kind)  # type: ignore[arg-type]
               if f.name not in found and f.default is MISSING and f.default_factory is MISSING]
    if missing:
        raise ValueError(f"{place} lacks {', '.join(missing)}, without which there is no {owner.split()[1]}.")
    return found


def _choice(place: str, content: Any) -> Choice | None:
    if isinstance(content, bool):
        return Choice() if content else None
    if not isinstance(content, Mapping):
        raise ValueError(f"{place} must be true, false, or names and values as in {{metric: betti_error, tolerance: "
                         f"0.002}}, not {short(content)}.")
    return Choice(**_entries(place, content, Choice, "A choice"))


def _executor(place: str, content: dict[str, Any]) -> Executor:
    executor = Executor(**content)
    other = "slurm" if executor.kind == "local" else "local"
    foreign = [name for name in content if name in _OF_KIND[other]]
    if foreign:
        raise ValueError(f"{place} has {listing(foreign)}, which only kind: {other} knows; this is kind: "
                         f"{executor.kind}.")
    if executor.kind == "local" and executor.gpus > 1:
        raise ValueError(f"{place}: gpus must be 0 or 1 with kind: local, not {executor.gpus}: a training uses one "
                         "GPU. With processes: 2, two runs at a time have a GPU each.")
    if executor.kind == "slurm" and executor.time_minutes is None:
        raise ValueError(f"{place}: kind: slurm needs time_minutes, the time limit of a job.")
    if executor.time_minutes is not None and executor.time_minutes < _SHORTEST:
        raise ValueError(f"{place}: time_minutes must be {_SHORTEST} or more, not {executor.time_minutes}: a job stops "
                         f"{KEPT_BACK} seconds before its time limit, or up to a minute earlier, to be queued again.")
    return executor
