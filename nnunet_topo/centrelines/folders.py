"""Centrelines of all label maps of a folder, as files and tables."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_topo.centrelines.extraction import centreline_graph
from nnunet_topo.centrelines.files import FORMATS
from nnunet_topo.centrelines.graph import CentrelineGraph
from nnunet_topo.centrelines.label_maps import Region, read_label_map
from nnunet_topo.files import files_of, written_at_once
from nnunet_topo.records import recorded
from nnunet_topo.sources import code_fingerprint

ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".png", ".bmp", ".tif", ".tiff")
RECORDS = "nnunet_topo_centrelines"
CASES, BRANCHES = "cases.csv", "branches.csv"


@dataclass(frozen=True)
class _Task:
    file: Path
    case: str
    output: Path
    regions: tuple[Region, ...]
    formats: tuple[str, ...]


def centrelines_of_folder(
    labels: Path, output: Path, *, regions: Sequence[Region] = (), formats: Sequence[str] = ("vtp", "csv"),
    processes: int,
) -> dict[str, str]:
    """Write the centreline graph of each region of each label map, and tables of cases and branches.

    ``output/CASE/REGION`` with the endings of the formats holds a graph, ``cases.csv`` a row for each case and region,
    ``branches.csv`` one for each branch. A finished case is not computed again while its file, the settings and the
    code stay the same.

    Args:
        labels: folder of label maps, of any of the formats in :data:`ENDINGS`.
        output: another folder; made where needed.
        regions: labels, or tuples of labels whose union is one mask; none: each label above 0 that occurs in a file.
        formats: names from :data:`~nnunet_topo.centrelines.files.FORMATS`.
        processes: cases at work at the same time; 0: one after another in this process.

    Returns:
        The cases that failed, each with the reason.

    Raises:
        ValueError: for folders without label maps, two files of one case, or settings that are not known.
        OSError: where the output cannot be written.
    """
    tasks = _tasks(labels, output, tuple(regions), tuple(dict.fromkeys(formats)))
    code = code_fingerprint(__name__)
    stamps = {task.case: {"code": code, "file": str(task.file.resolve()), "bytes": task.file.stat().st_size,
                          "time": task.file.stat().st_mtime_ns, "regions": [str(region) for region in task.regions],
                          "formats": list(task.formats)} for task in tasks}
    records, failed = recorded(
        _write_case, {task.case: task for task in tasks}, stamps, output / RECORDS, processes=processes,
        doing="Centrelines", whole=lambda rows: all((output / file).is_file() for row in rows for file in row["files"]))
    rows = [{"case": task.case, **row} for task in tasks for row in records.get(task.case, [])]
    _write_table(output / CASES, [{key: value for key, value in row.items() if key not in ("branches", "files")}
                                  for row in rows])
    _write_table(output / BRANCHES, [{"case": row["case"], "label": row["label"], **branch}
                                     for row in rows for branch in row["branches"]])
    return failed


def _tasks(
    labels: Path, output: Path, regions: tuple[Region, ...], formats: tuple[str, ...]
) -> list[_Task]:
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ValueError(f"Centrelines are written as {', '.join(FORMATS)}, not as {', '.join(unknown) or 'nothing'}.")
    members = [label for region in regions for label in (region if isinstance(region, tuple) else (region,))]
    if any(label < 1 for label in members):
        raise ValueError(f"Labels are whole numbers of at least 1 (0 is the background), not {min(members)}.")
    found: dict[str, Path] = {}
    for file in files_of(labels, ""):
        ending = next((ending for ending in ENDINGS if file.name.lower().endswith(ending)), None)
        if ending is None:
            continue
        case = file.name[: -len(ending)]
        if case in found:
            raise ValueError(f"{labels} holds two label maps of {case}, {found[case].name} and {file.name}. Move one "
                             "away.")
        found[case] = file
    if not found:
        raise ValueError(f"The folder {labels} holds no label map ({', '.join(ENDINGS)}).")
    if output.resolve() == labels.resolve():
        raise ValueError(f"The output folder {output} is the folder of label maps. Choose another with -o.")
    return [_Task(file, case, output, regions, formats) for case, file in found.items()]


def _write_case(task: _Task) -> list[dict[str, Any]]:
    """Write a case's graphs; a row for each region."""
    label_map = read_label_map(task.file)
    rows = []
    for name, mask in label_map.masks(task.regions):
        graph = centreline_graph(mask, label_map.spacing_mm)
        files = []
        for form in task.formats:
            for ending, write in FORMATS[form].items():
                path = task.output / task.case / f"{name}{ending}"
                path.parent.mkdir(parents=True, exist_ok=True)
                with written_at_once(path) as temporary:
                    temporary.write_text(write(graph, label_map.placement), encoding="utf-8")
                files.append(str(path.relative_to(task.output)))
        rows.append({"label": name, **_summary(graph), "branches": _branches(graph), "files": files})
    return rows


def _summary(graph: CentrelineGraph) -> dict[str, Any]:
    kinds = [node.kind for node in graph.nodes]
    length = graph.length_mm
    weighted = sum(branch.mean_volume_radius_mm * branch.length_mm for branch in graph.branches)
    return {"components": graph.components, "loops": graph.loops, "branch_count": len(graph.branches),
            "ends": kinds.count("end"), "junctions": kinds.count("junction"),
            "ends_at_border": sum(node.at_border for node in graph.nodes), "length_mm": length,
            "mean_volume_radius_mm": weighted / length if length else "", "spurs_pruned": len(graph.spurs.ends),
            "notes": " ".join(graph.notes)}


def _branches(graph: CentrelineGraph) -> list[dict[str, Any]]:
    return [{"branch": index, "node1": branch.nodes[0], "node2": branch.nodes[1], "length_mm": branch.length_mm,
             "distance_mm": branch.distance_mm,
             "tortuosity": branch.tortuosity if branch.distance_mm > 0 else "",
             "mean_volume_radius_mm": branch.mean_volume_radius_mm,
             "mean_inscribed_radius_mm": branch.mean_inscribed_radius_mm}
            for index, branch in enumerate(graph.branches)]


def _write_table(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    rows = list(rows)
    with written_at_once(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["case", "label"])
        writer.writeheader()
        writer.writerows(rows)
