"""The scripts that make the documentation's pictures."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

import nnunet_topo
from nnunet_topo.homology import betti_matching, betti_numbers

ROOT = Path(__file__).resolve().parents[1]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load("make_skeletons_picture")


def test_topological_skeletons_in_the_picture_have_the_topology_of_the_mask_and_the_soft_one_is_broken(script):
    label, probabilities = script.label_and_probabilities()
    numbers = betti_numbers(probabilities > 0.5)
    assert betti_numbers(label) == (1, 2) and numbers[0] > 1  # the gaps are gaps
    skeletons = {name: betti_numbers(samples[0]) for name, samples in script.skeletons_of(probabilities).items()}
    assert skeletons["topological"] == skeletons["thin"] == skeletons["tubed"] == numbers
    assert skeletons["soft"][0] > 5 * numbers[0]


def test_the_picture_is_drawn(script, tmp_path):
    script.draw(tmp_path / "skeletons.png")
    assert (tmp_path / "skeletons.png").stat().st_size < 300_000


def test_betti_matching_picture_shows_what_it_says(tmp_path):
    script = load("make_betti_matching_picture")
    (_, prediction, target), (_, crop, true_crop) = script.examples()
    ring = betti_matching(prediction, target)
    assert ring[1].counts[0] == 1  # the weak ring's hole is matched
    assert ring[0].counts[2] == 0 and betti_matching(crop, true_crop)[1].counts[2] == 1  # only the tree lacks a loop
    script.draw(tmp_path / "betti_matching.png")
    assert (tmp_path / "betti_matching.png").stat().st_size < 300_000


def test_post_processing_in_the_picture_brings_pieces_to_those_of_the_label(tmp_path):
    script = load("make_postprocessing_picture")
    reference, prediction, cleaned = script.steps()
    assert betti_numbers(prediction)[0] > 20 and betti_numbers(cleaned)[0] == betti_numbers(reference)[0] == 1
    script.draw(tmp_path / "postprocessing.png")
    assert (tmp_path / "postprocessing.png").stat().st_size < 100_000


def test_one_version_stands_in_the_package_the_citation_and_at_the_top_of_the_changelog():
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    versions = re.findall(r"\d+\.\d+\.\d+", " ".join(headings))
    assert versions[0] == nnunet_topo.__version__ and len(set(versions)) == len(headings)
    assert f"\nversion: {nnunet_topo.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_what_the_architecture_names_is_there():
    page = (ROOT / "docs" / "architecture.md").read_text()
    folders = [ROOT / "nnunet_topo", *(path.parent for path in (ROOT / "nnunet_topo").rglob("__init__.py")), ROOT]
    for path in re.findall(r"`([\w/]+\.py)`", page):
        assert any((folder / path).is_file() for folder in folders), path
    source = "".join(path.read_text() for path in (ROOT / "nnunet_topo").rglob("*.py"))
    words = set(re.findall(r"`([A-Za-z_]+)`", page))
    rooms = {path.parent.name for path in (ROOT / "nnunet_topo").rglob("__init__.py")}
    missing = {word for word in words - rooms if not re.search(rf"(def|class) {word}\b", source)}
    assert missing <= {"nnUNetv2_topo_evaluate", "nnUNetv2_topo_study", "nnUNetv2_topo_register", "UNSURE_"}
    assert len(page.splitlines()) < 100  # one page
    rows = [set(re.findall(r"`(\w+)`", row.split("|")[1])) for row in page.splitlines() if row.startswith("| `")]
    rooms = {path.parent.name for path in (ROOT / "nnunet_topo").glob("*/__init__.py")} - {"trainers"}
    assert set().union(*rows) == rooms, "the table of docs/architecture.md has a row for each room, and no other"
