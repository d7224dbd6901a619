"""Registration of a bone in two modalities by the shapes of its segmentations."""

from nnunet_topo.registration.cases import Case, register_case
from nnunet_topo.registration.landmarks import read_landmarks, write_landmarks
from nnunet_topo.registration.procedure import TRANSFORMS, register
from nnunet_topo.registration.quality import Quality
from nnunet_topo.registration.result import Registration, on_fixed_grid
from nnunet_topo.registration.stages import SIMILARITIES

__all__ = ["SIMILARITIES", "TRANSFORMS", "Case", "Quality", "Registration", "on_fixed_grid", "read_landmarks",
           "register", "register_case", "write_landmarks"]
