"""Reading a study file: what is said in it is checked for its form, in a sentence for what is wrong."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from nnunet_topo.metrics.definitions import definition_of
from nnunet_topo.study.settings import Executor, Network, Study

Settings = TypeVar("Settings")
_KINDS = ("local", "slurm")


def read_study(file: str | os.PathLike[str]) -> Study:
    """Read a YAML file; ValueError in a sentence for a key that does not exist, is missing, or has another type."""
    try:
        import yaml
    except ImportError as error:
        raise ValueError("A study file is read with PyYAML, which is not installed: "
                         "pip install PyYAML submitit.") from error
    path = Path(file)
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}).") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML file ({error}).") from error
    content = _known(path, content, Study)
    content["executor"] = Executor(**_known(f"{path}, entry 'executor'", content.get("executor", {}), Executor))
    if content.get("network") is not None:
        network = _known(f"{path}, entry 'network'", content["network"], Network)
        content["network"] = _network(path, network)
    missing = [f.name for f in fields(Study) if f.name in ("output", "datasets", "trainers") and f.name not in content]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}; every study names its output folder, data sets and "
                         "trainers.")
    study = Study(**(content | {"output": (path.parent / str(content["output"])).resolve()}))
    _check(path, study)
    return study


def _known(place: Any, content: Any, kind: type[Settings]) -> dict[str, Any]:
    if not isinstance(content, Mapping):
        raise ValueError(f"{place} must hold keys and values, such as 'seeds: [0, 1, 2]', not {content!r}.")
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    unknown = [str(key) for key in content if key not in names]
    if unknown:
        raise ValueError(f"{place} has the unknown key(s) {', '.join(unknown)}; known are {', '.join(names)}.")
    return dict(content)


def _network(path: Path, content: Mapping[str, Any]) -> Network:
    def whole(values: Any, least: int) -> bool:
        return isinstance(values, list) and len(values) >= least and all(
            isinstance(value, int) and not isinstance(value, bool) and value > 0 for value in values)

    patch, features = content.get("patch", []), content.get("features", [])
    if not whole(patch, 2) or not whole(features, 3) or not whole([content.get("batch")], 1):
        raise ValueError(f"{path}: network must say patch (2 or 3 sizes), batch (a number) and features (channels of "
                         f"each of at least 3 stages), as in {{patch: [128, 128], batch: 8, features: [16, 32, 64]}}, "
                         f"not {dict(content)}.")
    return Network(tuple(patch), content["batch"], tuple(features))


def _check(path: Path, study: Study) -> None:
    for name, kinds in (("datasets", (int, str)), ("trainers", (str,)), ("configurations", (str,)),
                        ("folds", (int, str)), ("seeds", (int,))):
        values = getattr(study, name)
        if isinstance(values, str) or not isinstance(values, Sequence) or not values or not all(
                isinstance(value, kinds) and not isinstance(value, bool) for value in values):
            raise ValueError(f"{path}: {name} must be a list of at least one {' or '.join(k.__name__ for k in kinds)}, "
                             f"not {values!r}.")
    if study.groups is not None and not _is_grouping(study.groups):
        raise ValueError(f"{path}: groups must map names to lists of groups of manifest.csv, as in {{outside: "
                         f"[shadows, graffiti]}}, not {study.groups!r}.")
    known = study.tested is None or (isinstance(study.tested, list) and bool(study.tested))
    unknown = [name for name in (study.tested or ()) if known and not definition_of(str(name))]
    if not known or unknown:
        raise ValueError(f"{path}: tested must be a list of metrics such as dice or betti_matching_error_sum "
                         f"(docs/metrics.md has all), not {unknown or study.tested!r}.")
    if min(study.seeds) < 0:
        raise ValueError(f"{path}: seeds must be 0 or more, not {min(study.seeds)}.")
    executor = study.executor
    counts = {"epochs": study.epochs, "iterations": study.iterations, "save_every": study.save_every,
              "validation_iterations": study.validation_iterations, "executor.processes": executor.processes,
              "executor.cpus": executor.cpus, "executor.time_minutes": executor.time_minutes,
              "executor.memory_gb": executor.memory_gb}
    for name, value in counts.items():
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise ValueError(f"{path}: {name} must be a whole number of 1 or more, not {value!r}.")
    if executor.kind not in _KINDS:
        raise ValueError(f"{path}: executor.kind must be {' or '.join(_KINDS)}, not {executor.kind!r}.")
    if executor.kind == "slurm" and executor.time_minutes is None:
        raise ValueError(f"{path}: a slurm executor needs time_minutes, the time limit of one run.")
    if not isinstance(study.mirroring, bool) or study.device not in ("cpu", "cuda", "mps"):
        raise ValueError(f"{path}: mirroring must be true or false and device cpu, cuda or mps, not "
                         f"{study.mirroring!r} and {study.device!r}.")


def _is_grouping(groups: Any) -> bool:
    return isinstance(groups, Mapping) and bool(groups) and all(
        isinstance(name, str) and isinstance(members, list) and members
        and all(isinstance(member, str) for member in members) for name, members in groups.items())
