"""Results of cases, kept in files so that a command that was stopped goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nnunet_topo.disk import require_writable
from nnunet_topo.files import write_json
from nnunet_topo.processes import Failure, outcomes


def recorded(
    function: Callable[[Any], Any], tasks: Mapping[str, Any], stamps: Mapping[str, Any], folder: Path, *,
    processes: int, doing: str, whole: Callable[[Any], bool] = lambda result: True,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Call a function for each case whose result is not kept in a folder, in processes, and keep it there.

    Args:
        function: see :func:`nnunet_topo.processes.outcomes`; its results are what JSON holds.
        tasks: its arguments, by the names of the cases.
        stamps: of each case what its result hangs on, such as files with size and time, settings and code.
        folder: of the records, made where needed.
        processes: see there.
        doing: in front of the progress bar.
        whole: whether all that a kept result speaks of is still there.

    Returns:
        The results by case, and of the other cases why they have none.
    """
    require_writable(folder)
    results, failed = {}, {}
    for case in tasks:
        result = _kept(folder / f"{case}.json", stamps[case])
        if result is not None and whole(result):
            results[case] = result
    todo = [case for case in tasks if case not in results]
    with tqdm(total=len(tasks), initial=len(results), desc=doing, unit="case") as bar:
        for index, outcome in outcomes(function, [tasks[case] for case in todo], processes):
            case = todo[index]
            if isinstance(outcome, Failure):
                failed[case] = outcome.reason
            else:
                write_json(folder / f"{case}.json", {"stamp": stamps[case], "record": outcome})
                results[case] = outcome
            bar.update()
    return results, dict(sorted(failed.items()))


def _kept(file: Path, stamp: Any) -> Any:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return content["record"] if content["stamp"] == stamp else None
    except (OSError, ValueError, TypeError, KeyError):  # there is none, or it is not a record of ours
        return None
