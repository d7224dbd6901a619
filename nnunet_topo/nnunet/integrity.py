"""nnU-Net's own check of a raw data set, as ``--verify_dataset_integrity`` runs it, in words."""

from __future__ import annotations

import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import IO

from nnunet_topo.nnunet.raw_cases import processes_for


def require_integrity(folder: Path) -> None:
    """Let nnU-Net check the training cases of a raw data set; ValueError with what it says where anything is wrong."""
    with redirect_stdout(io.StringIO()):  # what nnU-Net says of folders that are not needed here
        from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity
    with _output() as said:
        files = [file for part in ("imagesTr", "labelsTr") for file in (folder / part).iterdir()]
        try:
            verify_dataset_integrity(str(folder), num_processes=max(1, processes_for(files)))
        except (AssertionError, RuntimeError, OSError, ValueError) as error:
            said.seek(0)
            lines = [line for line in said.read().splitlines() if line.strip()]
            raise ValueError("nnU-Net's own check of the data set (--verify_dataset_integrity) found something wrong: "
                             f"{error}\n" + "\n".join(lines)) from error


@contextmanager
def _output() -> Iterator[IO[str]]:
    """Keep in a file what is printed meanwhile, also by child processes."""
    with tempfile.TemporaryFile("w+", errors="replace") as file:
        sys.stdout.flush()
        sys.stderr.flush()
        kept = os.dup(1), os.dup(2)
        try:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            with redirect_stdout(file), redirect_stderr(file):
                yield file
        finally:
            for number, copy in enumerate(kept, start=1):
                os.dup2(copy, number)
                os.close(copy)
