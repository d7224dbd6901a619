"""Tell nnU-Net where our trainers are; ``nnunet_topo.pth`` runs this at every start of Python, so only os here."""

import os

VARIABLE = "nnUNet_extTrainer"


def trainers_folder() -> str:
    """The folder of our trainer files: inside the installed package, or beside it in a checkout."""
    package = os.path.dirname(os.path.abspath(__file__))
    installed = os.path.join(package, "trainers")
    return installed if os.path.isdir(installed) else os.path.join(os.path.dirname(package), "trainers")


def append_trainers_folder() -> None:
    """Append :func:`trainers_folder` to nnUNet_extTrainer unless it is there; the user's own folders stay first."""
    folder = trainers_folder()
    folders = [entry for entry in os.environ.get(VARIABLE, "").split(os.pathsep) if entry.strip()]
    if os.path.isdir(folder) and not any(same_folder(entry, folder) for entry in folders):
        os.environ[VARIABLE] = os.pathsep.join([*folders, folder])


def same_folder(first: str, second: str) -> bool:
    """Whether two paths, however spelt, are one folder."""
    return os.path.normcase(os.path.realpath(first)) == os.path.normcase(os.path.realpath(second))
