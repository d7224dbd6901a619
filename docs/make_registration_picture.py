"""Draw ``registration.png`` beside this file: a synthetic mandible in MR before and after its registration onto CT.

    python docs/make_registration_picture.py
"""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from nnunet_topo.files import written_at_once
from nnunet_topo.registration import register
from nnunet_topo.report.registration_figure import registration_figure
from nnunet_topo.synthetic import mandible_pair

SEED = 11


def draw(path: Path) -> None:
    """Register by segmentations and images, and write the figure with a palette."""
    pair = mandible_pair(SEED, images=True)
    result = register(pair.fixed, pair.moving, fixed_image=pair.fixed_image, moving_image=pair.moving_image,
                      fixed_landmarks=pair.fixed_landmarks, moving_landmarks=pair.moving_landmarks)
    registration_figure(pair.fixed, pair.moving, result, path, fixed_image=pair.fixed_image,
                        title="A synthetic mandible: MR onto CT")
    small = io.BytesIO()
    Image.open(path).convert("RGB").quantize(192, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    with written_at_once(path) as temporary:
        temporary.write_bytes(small.getvalue())


if __name__ == "__main__":
    draw(Path(__file__).with_name("registration.png"))
