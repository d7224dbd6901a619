"""What a study file may say, and the runs that follow from it."""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, MaxLen, MinLen, Predicate

from nnunet_topo.schema import Name, Text, Words


def _is_a_metric(name: str) -> bool:
    from nnunet_topo.metrics.definitions import definition_of  # takes seconds, and few need it

    return definition_of(name) is not None


KEPT_BACK = 90  # seconds before its time limit at which a job of SLURM stops, to be queued again

Count = Annotated[int, Ge(1), Le(1_000_000)]
Size = Annotated[int, Ge(1), Le(100_000)]
Seed = Annotated[int, Ge(0), Le(2**32 - 1)]
Metric = Annotated[str, Predicate(_is_a_metric)]
Share = Annotated[float, Ge(0), Le(1)]
_A_PATCH = Words("2 or 3 sizes in voxels, as in [128, 128]")
_A_GROUPING = Words("names with lists of groups of manifest.csv, as in {outside: [shadows, graffiti]}")
_METRICS = Words("a list of metrics such as dice or betti_matching_error_sum (docs/metrics.md has all)")
_TERMS = Words("names of terms with their settings, as in {cl_dice: {weight: 0.5}}")


@dataclass(frozen=True)
class Executor:
    """How runs are started: ``local``, ``processes`` at a time, or ``slurm``, with the resources of each job."""

    kind: Literal["local", "slurm"] = "local"
    processes: Count = 1
    gpus: Annotated[int, Ge(0), Le(1000)] = 0
    partition: Name | None = None
    time_minutes: Count | None = None
    memory_gb: Count | None = None
    cpus: Count = 1
    account: Name | None = None


@dataclass(frozen=True)
class Network:
    """Another patch, batch and U-Net than planned, in all configurations of a study, of as many axes as ``patch``.

    ``features`` are the channels of each stage, 3 stages at least. All three decide the cost of a training, and the
    same small network for all trainers lets a CPU compare them.
    """

    patch: Annotated[tuple[Size, ...], MinLen(2), MaxLen(3), _A_PATCH]
    batch: Size
    features: Annotated[tuple[Size, ...], MinLen(3), Words("the channels of 3 stages or more, as in [16, 32, 64]")]


@dataclass(frozen=True)
class Choice:
    """How a run's post-processing is chosen on the validation images of its fold.

    The metric that is lowered, and by how much mean Dice and mean clDice may fall, as
    ``nnUNetv2_topo_find_postprocessing`` has them.
    """

    metric: Literal["betti_matching_error", "betti_error"] = "betti_matching_error"
    tolerance: Share = 0.002
    tolerance_cldice: Share = 0.01


@dataclass(frozen=True)
class Study:
    """The contents of a study file; the first trainer is the baseline of the comparison.

    ``epochs``, ``iterations`` and ``validation_iterations`` take the place of nnU-Net's 1000, 250 and 50, and
    ``save_every`` that of the 50 epochs between checkpoints to go on from. ``output`` is relative to the file.
    ``settings`` take the place of the plans' ``"nnunet_topo"`` entry at its top. ``groups`` joins groups of test
    images: name -> groups of ``manifest.csv``; groups that are not named stay as they are. ``tested``
    are the metrics that are tested; None takes the main ones, which are many for few images. ``postprocessing`` says
    how each run's is chosen; with None predictions are evaluated as they are alone.
    """

    output: Path
    datasets: Annotated[tuple[Annotated[int, Ge(0), Le(999)] | Name, ...], MinLen(1)]
    trainers: Annotated[tuple[Name, ...], MinLen(1)]
    configurations: Annotated[tuple[Name, ...], MinLen(1)] = ("2d",)
    folds: Annotated[tuple[Annotated[int, Ge(0), Le(1000)] | Name, ...], MinLen(1)] = (0,)
    seeds: Annotated[tuple[Seed, ...], MinLen(1)] = (0, 1, 2)
    plans: Name = "nnUNetPlans"
    epochs: Count | None = None
    iterations: Count | None = None
    validation_iterations: Count | None = None
    save_every: Count = 5
    device: Literal["cpu", "cuda", "mps"] = "cuda"
    mirroring: bool = True
    network: Network | None = None
    settings: Annotated[dict[str, dict[str, Any]], _TERMS] | None = None
    groups: Annotated[dict[str, Annotated[list[Text], MinLen(1)]], MinLen(1), _A_GROUPING] | None = None
    tested: Annotated[list[Metric], MinLen(1), _METRICS] | None = None
    postprocessing: Choice | None = field(default_factory=Choice)
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
    """One training with a seed, its predictions of the test images, their post-processing and their evaluation."""

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
    postprocessing: Choice | None = None

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

    @property
    def checkpoint(self) -> Path:
        return self.model / f"fold_{self.fold}" / "checkpoint_final.pth"

    def settings(self) -> dict[str, Any]:
        """What decides the network and what it predicts."""
        return {name: value for name, value in asdict(self).items()
                if name not in ("output", "save_every", "postprocessing")}


def runs_of(study: Study, names: Mapping[Any, str]) -> list[Run]:
    """All runs, seeds outermost, so that a study that is stopped has compared all trainers on the first seeds.

    ``names`` gives the whole name of each data set. Raises ValueError where two runs would share an output folder.
    """
    runs = [Run(str(study.output), names[dataset], configuration, trainer, study.plans_of_runs, fold, seed,
                study.epochs, study.iterations, study.validation_iterations, study.save_every, study.device,
                study.mirroring, study.postprocessing)
            for seed, dataset, configuration, fold, trainer in itertools.product(
                study.seeds, study.datasets, study.configurations, study.folds, study.trainers)]
    seen: set[str] = set()
    for run in runs:
        if run.name in seen:
            raise ValueError(f"Two runs of the study would write into one output folder, {run.folder}. Name each data "
                             "set, trainer, configuration, fold and seed once.")
        seen.add(run.name)
    return runs
