"""A study file: what it may say, and the runs that follow from it."""

from __future__ import annotations

import itertools
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from nnunet_topo.metrics.definitions import definition_of

Settings = TypeVar("Settings")
_KINDS = ("local", "slurm")


@dataclass(frozen=True)
class Executor:
    """How runs are started: ``local``, ``processes`` at a time, or ``slurm``, with the resources of each job."""

    kind: str = "local"
    processes: int = 1
    gpus: int = 0
    partition: str | None = None
    time_minutes: int | None = None
    memory_gb: int | None = None
    cpus: int = 1
    account: str | None = None


@dataclass(frozen=True)
class Network:
    """Another patch, batch and U-Net than planned, in all configurations of a study, of as many axes as ``patch``.

    ``features`` are the channels of each stage, 3 stages at least. All three decide the cost of a training, and the
    same small network for all trainers lets a CPU compare them.
    """

    patch: Sequence[int]
    batch: int
    features: Sequence[int]


@dataclass(frozen=True)
class Study:
    """The contents of a study file; the first trainer is the baseline of the comparison.

    ``epochs``, ``iterations`` and ``validation_iterations`` take the place of nnU-Net's 1000, 250 and 50, and
    ``save_every`` that of the 50 epochs between checkpoints to go on from. ``output`` is relative to the file.
    ``settings`` take the place of the plans' ``"nnunet_topo"`` entry at its top. ``groups`` joins groups of test
    images: name -> groups of ``manifest.csv``; groups that are not named stay as they are. ``tested``
    are the metrics that are tested; None takes the main ones, which are many for few images.
    """

    output: Path
    datasets: Sequence[Any]
    trainers: Sequence[str]
    configurations: Sequence[str] = ("2d",)
    folds: Sequence[int | str] = (0,)
    seeds: Sequence[int] = (0, 1, 2)
    plans: str = "nnUNetPlans"
    epochs: int | None = None
    iterations: int | None = None
    validation_iterations: int | None = None
    save_every: int = 5
    device: str = "cuda"
    mirroring: bool = True
    network: Network | None = None
    settings: Mapping[str, Any] | None = None
    groups: Mapping[str, Sequence[str]] | None = None
    tested: Sequence[str] | None = None
    executor: Executor = field(default_factory=Executor)

    @property
    def plans_of_runs(self) -> str:
        """The name of the plans that runs are trained with: those of ``network`` and ``settings`` have their own."""
        if self.network is None and self.settings is None:
            return self.plans
        changes = [None if self.network is None else asdict(self.network), self.settings]
        return f"{self.plans}Study{zlib.crc32(json.dumps(changes, sort_keys=True).encode()):08x}"

    @property
    def baseline(self) -> str:
        return self.trainers[0]


@dataclass(frozen=True)
class Run:
    """One training with a seed, its predictions of the test images and their evaluation."""

    output: str
    dataset: str
    configuration: str
    trainer: str
    plans: str
    fold: int | str
    seed: int
    epochs: int | None
    iterations: int | None
    validation_iterations: int | None
    save_every: int
    device: str
    mirroring: bool

    @property
    def name(self) -> str:
        return (f"{self.dataset}__{self.trainer}__{self.plans}__{self.configuration}__fold_{self.fold}"
                f"__seed_{self.seed}")

    @property
    def folder(self) -> Path:
        """Of the run's record, predictions and evaluation."""
        return Path(self.output) / "runs" / self.name

    @property
    def results(self) -> Path:
        """nnU-Net's results folder of all runs of this seed."""
        return Path(self.output) / f"nnUNet_results_seed_{self.seed}"

    @property
    def model(self) -> Path:
        return self.results / self.dataset / f"{self.trainer}__{self.plans}__{self.configuration}"

    def settings(self) -> dict[str, Any]:
        """What decides the result."""
        return {name: value for name, value in asdict(self).items() if name not in ("output", "save_every")}


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


def runs_of(study: Study, names: Mapping[Any, str]) -> list[Run]:
    """All runs, seeds outermost, so that a study that is stopped has compared all trainers on the first seeds.

    ``names`` gives the whole name of each data set. Raises ValueError where two runs would share an output folder.
    """
    runs = [Run(str(study.output), names[dataset], configuration, trainer, study.plans_of_runs, fold, seed,
                study.epochs, study.iterations, study.validation_iterations, study.save_every, study.device,
                study.mirroring)
            for seed, dataset, configuration, fold, trainer in itertools.product(
                study.seeds, study.datasets, study.configurations, study.folds, study.trainers)]
    seen: set[str] = set()
    for run in runs:
        if run.name in seen:
            raise ValueError(f"Two runs of the study would write into one output folder, {run.folder}. Name each data "
                             "set, trainer, configuration, fold and seed once.")
        seen.add(run.name)
    return runs
