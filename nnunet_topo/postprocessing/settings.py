"""What post-processing does to each label or region, and the file that says so."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, MinLen

from nnunet_topo import __version__
from nnunet_topo.files import write_json
from nnunet_topo.postprocessing.labels import LabelScheme
from nnunet_topo.schema import Text, read_entries, read_json

FORMAT = 1
UNITS = {2: "mm2", 3: "mm3"}
Size = Annotated[float, Ge(0)]


@dataclass(frozen=True)
class Operations:
    """The settings of one label or region; as they stand here nothing is done.

    Attributes:
        order: whether gaps are closed before specks are dropped or afterwards.
        gaps_tau: probability above which :func:`.close_gaps` may join pieces; 0.5 leaves gaps open.
        gaps_thick: bridges get the thickness of what they join.
        specks_smaller_than: size in mm2 or mm3 below which :func:`.drop_specks` drops components.
        specks_peak_below: highest probability below which it drops them.
        holes_smaller_than: size below which :func:`.fill_holes` fills holes, in 3D cavities.
        tunnels_smaller_than: size of a plug below which tunnels are closed, 3D only.
        pieces: the number of largest components that :func:`.keep_pieces` keeps; None: all.
    """

    order: Literal["gaps_first", "specks_first"] = "gaps_first"
    gaps_tau: Annotated[float, Ge(0), Le(0.5)] = 0.5
    gaps_thick: bool = False
    specks_smaller_than: Size = 0.0
    specks_peak_below: Annotated[float, Ge(0), Le(1)] = 0.0
    holes_smaller_than: Size = 0.0
    tunnels_smaller_than: Size = 0.0
    pieces: Annotated[int, Ge(1)] | None = None

    @property
    def neutral(self) -> bool:
        """Nothing is done."""
        return self in (Operations(), Operations(order="specks_first"))

    @property
    def needs_probabilities(self) -> bool:
        return self.gaps_tau < 0.5 or self.specks_peak_below > 0

    def in_words(self, axes: int) -> str:
        """What is done one after the other; sizes are of images of so many axes."""
        unit = UNITS[axes]
        if self.neutral:
            return "nothing was chosen, for nothing lowers the error by more than chance within the tolerances"
        specks = [part for part, there in (
            (f"smaller than {self.specks_smaller_than:g} {unit}", self.specks_smaller_than > 0),
            (f"nowhere likelier than {self.specks_peak_below:g}", self.specks_peak_below > 0)) if there]
        thick = ", as thick as what they join" if self.gaps_thick else ""
        parts = [f"close gaps (tau {self.gaps_tau:g}{thick})"] if self.gaps_tau < 0.5 else []
        if specks:
            parts.insert(0 if self.order == "specks_first" else 1, f"drop pieces {' or '.join(specks)}")
        if self.holes_smaller_than > 0:
            parts.append(f"fill holes smaller than {self.holes_smaller_than:g} {unit}")
        if self.tunnels_smaller_than > 0:
            parts.append(f"close tunnels by plugs smaller than {self.tunnels_smaller_than:g} {unit}")
        if self.pieces is not None:
            parts.append(f"keep the {self.pieces} largest piece(s)")
        return ", then ".join(parts)


@dataclass(frozen=True)
class Postprocessing:
    """The settings of all labels or regions of a data set, and what they were chosen on.

    Attributes:
        axes: 2 or 3, of the label maps that they are for.
        names: of the labels or regions.
        regions: the labels of each.
        operations: the settings of each.
        chosen: what the file says of their choice.
    """

    axes: int
    names: tuple[str, ...]
    regions: tuple[tuple[int, ...], ...]
    operations: tuple[Operations, ...]
    chosen: Mapping[str, Any] | None = None

    @property
    def needs_probabilities(self) -> bool:
        return any(operations.needs_probabilities for operations in self.operations)

    def require_labels(self, scheme: LabelScheme, what: str) -> None:
        """Raise ValueError unless the settings are for the labels or regions of a data set."""
        ours = dict(zip(self.names, self.regions, strict=True))
        theirs = dict(zip(scheme.names, scheme.regions, strict=True))
        if ours != theirs or self.names != scheme.names:
            raise ValueError(f"{what} is for the labels {_listed(ours)}, but dataset.json has {_listed(theirs)}. Use "
                             "the settings that were chosen for this data set.")

    def content(self) -> dict[str, Any]:
        """As it is written."""
        regions = [{"name": name, "labels": list(labels), **asdict(operations)} for name, labels, operations
                   in zip(self.names, self.regions, self.operations, strict=True)]
        content = {"nnunet_topo_postprocessing": FORMAT, "version": __version__, "axes": self.axes,
                   "unit_of_sizes": UNITS[self.axes], "regions": regions}
        return content if self.chosen is None else content | {"chosen": self.chosen}


def write_postprocessing(file: str | os.PathLike[str], settings: Postprocessing) -> None:
    """Write the settings as JSON that can be read and edited."""
    write_json(file, settings.content())


def read_postprocessing(file: str | os.PathLike[str]) -> Postprocessing:
    """Read the settings of a file; ValueError in a sentence for whatever is not as it should be."""
    file = Path(file)
    if not file.is_file():
        raise ValueError(f"The settings file {file} does not exist. nnUNetv2_topo_find_postprocessing writes one.")
    content = read_json(file, {"nnunet_topo_postprocessing": int, "version": Text, "axes": Literal[2, 3],
                               "unit_of_sizes": Literal["mm2", "mm3"], "regions": list[Any], "chosen": Any})
    _require(content, ("nnunet_topo_postprocessing", "axes", "unit_of_sizes", "regions"), str(file))
    if content["nnunet_topo_postprocessing"] != FORMAT:
        raise ValueError(f"{file} is of format {content['nnunet_topo_postprocessing']}, but this version reads format "
                         f"{FORMAT}.")
    axes = content["axes"]
    if content["unit_of_sizes"] != UNITS[axes]:
        raise ValueError(f"{file} has sizes in {content['unit_of_sizes']}, but with {axes} axes they are in "
                         f"{UNITS[axes]}.")
    names, labels, operations = [], [], []
    for place, entry in enumerate(content["regions"]):
        where = f"{file}: regions[{place}]"
        read = read_entries(where, entry, _HINTS, owner="A label or region")
        _require(read, ("name", "labels"), where)
        names.append(read.pop("name"))
        labels.append(tuple(read.pop("labels")))
        operations.append(Operations(**read))
        if axes == 2 and operations[-1].tunnels_smaller_than > 0:
            raise ValueError(f"{where}: only volumes have tunnels; tunnels_smaller_than must be 0 with 2 axes.")
    if len(set(names)) != len(names):
        raise ValueError(f"{file} has several entries of one name.")
    return Postprocessing(axes, tuple(names), tuple(labels), tuple(operations), content.get("chosen"))


_HINTS: dict[str, Any] = {
    "name": Text, "labels": Annotated[list[Annotated[int, Ge(1)]], MinLen(1)],
    "order": Literal["gaps_first", "specks_first"], "gaps_tau": Annotated[float, Ge(0), Le(0.5)], "gaps_thick": bool,
    "specks_smaller_than": Size, "specks_peak_below": Annotated[float, Ge(0), Le(1)], "holes_smaller_than": Size,
    "tunnels_smaller_than": Size, "pieces": Annotated[int, Ge(1)] | None,
}
assert set(_HINTS) == {"name", "labels"} | {field.name for field in fields(Operations)}


def _require(content: Mapping[str, Any], keys: Sequence[str], where: str) -> None:
    missing = [key for key in keys if key not in content]
    if missing:
        raise ValueError(f"{where} lacks {', '.join(missing)}; it is not a complete file of post-processing settings.")


def _listed(regions: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {list(labels)}" for name, labels in regions.items())
