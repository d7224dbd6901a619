"""Arguments that several commands have."""

from __future__ import annotations

import argparse


def add_processes(parser: argparse.ArgumentParser) -> None:
    """Add ``-np``, for :func:`processes_of`."""
    parser.add_argument("-np", type=count, help="[OPTIONAL] number of processes used, each with one case in memory; 0: "
                        "none besides this one. Default: nnU-Net's (nnUNet_def_n_proc, or 8)")


def processes_of(options: argparse.Namespace) -> int:
    """What ``-np`` says, or nnU-Net's default."""
    from nnunet_topo.nnunet.evaluation.folders import default_num_processes

    return default_num_processes if options.np is None else options.np


def count(text: str) -> int:
    """A whole number of 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)


def region(text: str) -> tuple[int, ...]:
    """A region from its labels with commas."""
    try:
        return tuple(int(label) for label in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a region; write its labels with commas, as in 1,2") from None
