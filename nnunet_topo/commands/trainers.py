"""``nnUNetv2_topo_trainers``: print the folder of our trainers, for nnUNet_extTrainer."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from nnunet_topo._discovery import trainers_folder
from nnunet_topo.commands.guard import guarded


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the folder of our trainers and nothing else."""
    argparse.ArgumentParser(
        prog="nnUNetv2_topo_trainers",
        description="Prints the folder of the nnunet_topo trainers. nnU-Net finds them by itself after pip install; "
        'where it does not: export nnUNet_extTrainer="$(nnUNetv2_topo_trainers)"   '
        "(PowerShell: $Env:nnUNet_extTrainer = nnUNetv2_topo_trainers)",
    ).parse_args(arguments)
    return guarded(_print_folder, stopped="Nothing was changed.")


def _print_folder() -> None:
    print(trainers_folder())


if __name__ == "__main__":
    sys.exit(main())
