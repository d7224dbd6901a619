"""The report of a choice of post-processing: one HTML file that opens from the disk and asks no network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunet_topo import __version__
from nnunet_topo.files import written_at_once
from nnunet_topo.report.errors_figure import ADDED, REMOVED
from nnunet_topo.report.formatting import page_environment, part_of_page

ROWS = {"predicted": "predicted", "post_processed": "post-processed", "leave_one_out": "leave-one-out"}


def write_postprocessing_page(
    path: str | os.PathLike[str],
    chosen: Mapping[str, Any],
    words: Mapping[str, str],
    pictures: Mapping[str, Mapping[str, Path]],
    pictures_failed: Mapping[str, str],
) -> None:
    """Write what was chosen for each label or region, what it gains, and pictures of the worst images.

    Args:
        path: of the HTML file, which appears only when it is complete.
        chosen: what a settings file says of the choice, with the gains of each label or region by its name.
        words: the settings of each, as people read them.
        pictures: name of a label or region -> image -> PNG, which is put into the page, the worst image first.
        pictures_failed: images that could not be drawn -> why.

    Raises:
        OSError: a picture or the page cannot be read or written.
    """
    content = {"version": __version__, "chosen": chosen, "words": words, "pictures": pictures,
               "failed": pictures_failed, "rows": ROWS, "added": ADDED, "removed": REMOVED,
               "css": part_of_page("report.css")}
    with written_at_once(path) as temporary:
        page_environment().get_template("postprocessing.html").stream(content).dump(str(temporary), encoding="utf-8")
