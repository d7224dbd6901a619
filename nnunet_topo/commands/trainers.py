"""``nnUNetv2_topo_trainers``: print the folder of our trainers, for nnUNet_extTrainer."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from nnunet_topo._discovery import trainers_folder


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the folder of our trainers and nothing else."""
    argparse.ArgumentParser(
        prog="nnUNetv2_topo_trainers",
        description="Prints the folder of the nnunet_topo trainers. nnU-Net finds them by itself after pip install; "
        'where it does not: export nnUNet_extTrainer="$(nnUNetv2_topo_trainers)"   '
        "(PowerShell: $Env:nnUNet_extTrainer = nnUNetv2_topo_trainers)",
    ).parse_args(arguments)
    print(trainers_folder())


if __name__ == "__main__":
    main()
