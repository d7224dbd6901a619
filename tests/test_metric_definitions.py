"""The definitions of metrics that report and documentation show are those of the code."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from nnunet_topo.metrics.collection import all_metrics
from nnunet_topo.metrics.definitions import DEFINITIONS, definition_of, definitions_as_markdown, title_of

DOCS = Path(__file__).resolve().parents[1] / "docs"


def masks(dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """An empty mask, and two pieces with a hole and, in 3D, a cavity."""
    mask = np.zeros((12, 14, 24)[3 - dimensions :], bool)
    mask[..., 2:9, 2:9] = mask[..., 2:9, 12:19] = True
    mask[..., 4:6, 4:6] = False
    if dimensions == 3:
        mask[5, 5, 15] = False
    return np.zeros_like(mask), mask


def values(dimensions: int) -> dict[str, dict[str, float]]:
    empty, full = masks(dimensions)
    spacing = (2.0, 1.0, 0.5)[-dimensions:]
    return {"both_empty": all_metrics(empty, empty, spacing), "empty_prediction": all_metrics(empty, full, spacing),
            "empty_reference": all_metrics(full, empty, spacing)}


@pytest.mark.parametrize("dimensions", [2, 3])
def test_every_reported_metric_has_one_definition_in_the_order_of_the_report(dimensions):
    names = list(values(dimensions)["both_empty"])
    found = [[definition for definition in DEFINITIONS if definition.matches(name)] for name in names]
    assert [len(definitions) for definitions in found] == [1] * len(names)
    assert list(dict.fromkeys(definition for (definition,) in found)) == list(DEFINITIONS)
    assert definition_of("another") is None and title_of("another") == "another"
    assert title_of("nsd_0.5mm") == "NSD 0.5 mm" and title_of("betti_1_error") == "Betti error 1"


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("case", ["both_empty", "empty_prediction", "empty_reference"])
def test_stated_values_for_empty_masks_are_those_of_the_code(dimensions, case):
    for name, value in values(dimensions)[case].items():
        stated = getattr(definition_of(name), case)
        try:
            assert value == pytest.approx(float(stated), nan_ok=True), name
        except ValueError:  # in words: something is counted or measured, and the masks have some of everything
            assert math.isfinite(value) and value != 0, name
            if "reference" in stated and name.endswith("_error"):
                assert value == values(dimensions)[case][name.removesuffix("error") + "reference"]


def test_documentation_is_what_the_definitions_say():
    assert (DOCS / "metrics.md").read_text(encoding="utf-8") == definitions_as_markdown()
