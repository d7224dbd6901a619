"""Makes ``export nnUNet_extTrainer=$PWD/trainers`` enough for a checkout that is not installed.

nnU-Net imports the files of this folder one by one in alphabetical order, an underscore before a lower-case letter, so
this one before any trainer. In an installed package the condition is false and nothing happens.
"""

import sys
from pathlib import Path

_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "nnunet_topo" / "__init__.py").is_file() and str(_checkout) not in sys.path:
    sys.path.append(str(_checkout))
