"""nnUNetv2_train ID CONFIGURATION FOLD -tr nnUNetTrainerClDice_NoMirroring, ..._250epochs, ..._NoMirroring_250epochs

Answers nnU-Net's lookup for every trainer of this folder with suffixes, of which there is no file.
"""

import importlib
from pathlib import Path


def __getattr__(name: str) -> type:
    if not name.startswith("nnUNetTrainer") or "_" not in name:
        raise AttributeError(name)
    from nnunet_topo.nnunet.training.variants import variant

    return variant(name, _trainer_named)


def _trainer_named(name: str) -> type | None:
    if not Path(__file__).with_name(f"{name}.py").is_file():
        return None
    # nnU-Net imports the files of this folder as top-level modules; installed, they are those of a package too
    module = importlib.import_module(f".{name}" if __package__ else name, __package__ or None)
    return getattr(module, name)
