"""What a trainer adds to nnU-Net's loss, and how a plans file changes it."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from annotated_types import Ge, Le

from nnunet_topo.losses import TopologyLoss
from nnunet_topo.losses.contract import losses_by_name
from nnunet_topo.schema import listing, read_entries, short

PLANS_KEY = "nnunet_topo"


@dataclass(frozen=True)
class Term:
    """One topology term of a trainer: a loss, its own options, and when, where and how strongly it counts.

    A trainer declares its terms as class attributes, whose names are the names of the terms in the plans file, the log
    and the pictures::

        class nnUNetTrainerClDice(TopologyTrainer):
            cl_dice = Term(ClDiceLoss, weight=1.0)

    Args:
        loss: class of a topology term, which derives from :class:`nnunet_topo.losses.TopologyLoss`.
        weight: factor of the term beside nnU-Net's own loss; 0 leaves the term out. For a transform of the logits
            (:class:`~nnunet_topo.losses.SCNPLoss`) the share, at most 1, of nnU-Net's loss that sees the transformed
            logits; the rest sees the logits as they are.
        start_epoch: first epoch in which the term counts.
        ramp_epochs: number of epochs in which the weight then rises linearly; 0 starts with the full weight.
        levels: on how many of the finest deep-supervision outputs the term is evaluated; 1 is the full resolution only,
            None all outputs that nnU-Net's loss counts. Their relative weights are nnU-Net's own, scaled to a sum of 1,
            so that ``weight`` keeps its meaning. A transform of the logits changes these outputs; nnU-Net's loss sees
            the coarser ones as they are.
        options: keyword arguments of the loss.
    """

    loss: type[TopologyLoss]
    weight: float = 1.0
    start_epoch: int = 0
    ramp_epochs: int = 0
    levels: int | None = 1
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (isinstance(self.loss, type) and issubclass(self.loss, TopologyLoss)):
            raise TypeError(f"A term's loss must be a class that derives from nnunet_topo.losses.TopologyLoss, which "
                            f"says what a loss may have, not {short(self.loss)}.")

    def weight_at(self, epoch: int) -> float:
        """The term's weight in an epoch (counted from 0)."""
        if epoch < self.start_epoch:
            return 0.0
        if self.ramp_epochs == 0:
            return self.weight
        return self.weight * min(1.0, (epoch - self.start_epoch + 1) / (self.ramp_epochs + 1))

    def counts_at(self, level: int) -> bool:
        """Whether the term asks for a deep-supervision output (0 is the finest)."""
        return self.levels is None or level < self.levels

    def settings(self) -> dict[str, Any]:
        """All settings by name, the loss's own with their defaults."""
        return {name: getattr(self, name) for name in SCHEDULE} | _option_defaults(self.loss) | dict(self.options)

    def build(self) -> TopologyLoss:
        return self.loss(**self.options)


_Epochs = Annotated[int, Ge(0), Le(1_000_000)]
SCHEDULE: dict[str, Any] = {"weight": Annotated[float, Ge(0), Le(1_000_000)], "start_epoch": _Epochs,
                            "ramp_epochs": _Epochs, "levels": Annotated[int, Ge(1), Le(100)] | None}


def declared_terms(trainer_class: type) -> dict[str, Term]:
    """The terms that a trainer class and its parents declare, parents first; ``cl_dice = None`` takes one out again."""
    terms: dict[str, Term] = {}
    for cls in reversed(trainer_class.__mro__):
        for name, value in vars(cls).items():
            if isinstance(value, Term):
                terms[name] = value
            elif name in terms:
                del terms[name]
    return terms


def resolve_terms(declared: Mapping[str, Term], plans: Mapping[str, Any], configuration: str) -> dict[str, Term]:
    """Apply the plans file's ``"nnunet_topo"`` entries to the declared terms.

    The entry may stand at the top of the plans and inside a configuration; the configuration's values win. It maps a
    term's name to settings, e.g. ``"nnunet_topo": {"cl_dice": {"weight": 0.5, "iterations": 12}}``. Names of losses, of
    this package or of imported ones, that the trainer does not use are passed over, so that one plans file serves
    several trainers.

    Raises:
        ValueError: unknown term or setting, or a value of the wrong type or out of range.
    """
    terms = dict(declared)
    known = set(declared) | set(losses_by_name())
    for place, entry in _plans_entries(plans, configuration):
        _require_mapping(place, entry, "terms")
        for name, settings in entry.items():
            if name not in known:
                raise ValueError(f"{place}: unknown term {name!r}. Known terms are {listing(known)}; a loss of "
                                 "your own is known once the file of its class is imported.")
            _require_mapping(f"{place}[{name!r}]", settings, "settings")
            if name in terms:
                terms[name] = _updated(terms[name], settings, f"{place}[{name!r}]")
    for name, term in terms.items():
        schedule = {setting: getattr(term, setting) for setting in SCHEDULE}
        read_entries(f"term {name!r}", schedule, SCHEDULE, owner="A term")
        _built(term, f"term {name!r}")
    check_transforms(terms)
    return terms


def _plans_entries(plans: Mapping[str, Any], configuration: str) -> list[tuple[str, Any]]:
    """The entries that apply, weakest first: top level, then inherited configurations, then the configuration."""
    chain: list[tuple[str, Any]] = []
    name: str | None = configuration
    configurations = plans.get("configurations", {})
    while name is not None:
        settings = configurations.get(name, {})
        if PLANS_KEY in settings:
            chain.append((f"plans, configuration {name!r}, entry {PLANS_KEY!r}", settings[PLANS_KEY]))
        name = settings.get("inherits_from")
    if PLANS_KEY in plans:
        chain.append((f"plans, entry {PLANS_KEY!r}", plans[PLANS_KEY]))
    return chain[::-1]


def _updated(term: Term, settings: Mapping[str, Any], place: str) -> Term:
    read_entries(place, settings, SCHEDULE | _option_hints(term.loss), owner=term.loss.__name__)
    schedule = {name: value for name, value in settings.items() if name in SCHEDULE}
    options = {name: value for name, value in settings.items() if name not in SCHEDULE}
    return replace(term, **schedule, options={**term.options, **options})


def _built(term: Term, place: str) -> None:
    """What no range tells, the loss itself refuses: an even receptive field, an axis named twice."""
    try:
        term.build()
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def check_transforms(terms: Mapping[str, Term]) -> None:
    """At most one term transforms the logits, with a weight of at most 1; otherwise a ValueError."""
    transforms = [name for name, term in terms.items() if term.loss.transforms_logits]
    if len(transforms) > 1:
        raise ValueError(f"The terms {listing(transforms)} each transform the logits that nnU-Net's loss sees; a "
                         "trainer can hold one such term. Set all but one of them to None in the trainer.")
    for name in transforms:
        if terms[name].weight > 1:
            raise ValueError(f"term {name!r}: 'weight' is the share of nnU-Net's loss that sees the transformed logits "
                             f"and must be at most 1, got {terms[name].weight!r}.")


def _option_defaults(loss: type[TopologyLoss]) -> dict[str, Any]:
    parameters = inspect.signature(loss).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def _option_hints(loss: type[TopologyLoss]) -> dict[str, Any]:
    hints = typing.get_type_hints(loss.__init__, include_extras=True)
    return {name: hints.get(name, Any) for name in _option_defaults(loss)}


def _require_mapping(place: str, entry: Any, what: str) -> None:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{place} must map names of {what} to their values, as in "
                        f'{{"cl_dice": {{"weight": 0.5}}}}, got {short(entry)}.')
