"""Fingerprints of code: what changes them, and that evaluation keeps to them."""

from __future__ import annotations

import importlib
import sys

import pytest
from evaluation_cases import evaluate, three_cases

from nnunet_topo import sources
from nnunet_topo.nnunet.evaluation import case as evaluation_case
from nnunet_topo.nnunet.evaluation import folders as evaluation
from nnunet_topo.report import evaluation_pictures
from nnunet_topo.sources import code_fingerprint, code_of

TOY = {
    "__init__.py": "",
    "metric.py": "from toy.tools import doubled\n\ndef metric(x):\n    import toy.late\n    return doubled(x)\n",
    "late.py": "import numpy\nVALUE = 1\n",
    "tools/__init__.py": "from toy.tools.numbers import doubled\nfrom toy.tools.words import shouted\n",
    "tools/numbers.py": "def doubled(x):\n    return 2 * x\n",
    "tools/words.py": "def shouted(x):\n    return x.upper()\n",
}


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A package of its own, of which the fingerprint is taken."""
    for name, content in TOY.items():
        (tmp_path / "toy" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "toy" / name).write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sources, "_PACKAGE", "toy")
    importlib.invalidate_caches()
    yield tmp_path / "toy"
    for name in [name for name in sys.modules if name.partition(".")[0] == "toy"]:
        del sys.modules[name]


def fingerprint():
    code_fingerprint.cache_clear()
    return code_fingerprint("toy.metric")


def test_what_a_module_imports_counts_wherever_it_imports_it(toy):
    assert code_of("toy.metric").keys() == {"toy.metric", "toy.tools.numbers", "toy.late"}


@pytest.mark.parametrize(("file", "old", "new", "changes"), [
    ("tools/numbers.py", "2 * x", "3 * x", True), ("late.py", "1", "2", True),
    ("metric.py", "doubled(x)\n", "doubled(x) + 1\n", True),
    ("metric.py", "def metric(x):\n", 'def metric(x):\n    """What it is."""\n    # why\n', False),
    ("tools/numbers.py", "2 * x", "(2  *  x)", False), ("tools/words.py", "upper", "lower", False)])
def test_fingerprints_change_with_the_code_that_is_used_and_with_nothing_else(toy, file, old, new, changes):
    before = fingerprint()
    assert fingerprint() == before
    (toy / file).write_text((toy / file).read_text().replace(old, new))
    assert (fingerprint() != before) == changes


def test_the_metrics_and_the_pictures_are_made_of_their_kernels():
    measured = code_of(evaluation_case.__name__)
    assert {"nnunet_topo.metrics.surfaces", "nnunet_topo.homology.mask_matching",
            "nnunet_topo.skeletons.thinning_numba", "nnunet_topo.nnunet.reading"} <= measured.keys()
    assert not any(name.startswith(("nnunet_topo.losses", "nnunet_topo.report")) for name in measured)
    drawn = code_of(evaluation_pictures.__name__)
    assert "nnunet_topo.report.error_painting" in drawn and evaluation_case.__name__ not in drawn


def test_cases_measured_by_other_code_are_measured_again(tmp_path, monkeypatch):
    folders, seen = three_cases(tmp_path), []
    original = evaluation.evaluate_case
    evaluate(folders, tmp_path / "out")
    monkeypatch.setattr(evaluation, "evaluate_case", lambda task: seen.append(1) or original(task))
    monkeypatch.setattr(evaluation, "__version__", "99.0")
    assert evaluate(folders, tmp_path / "out")["settings"]["version"] == "99.0" and not seen
    monkeypatch.setattr(evaluation, "code_fingerprint", lambda *modules: "other")
    evaluate(folders, tmp_path / "out")
    assert len(seen) == 3
