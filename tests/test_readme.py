"""What the README shows is run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from nnunet_topo.losses import ClDiceLoss
from nnunet_topo.nnunet import Term
from nnunet_topo.nnunet.terms import resolve_terms

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_python_examples_run(number, monkeypatch):
    pytest.importorskip("nnunet_topo.trainers", reason="not installed") if "trainers" in blocks("python")[number] else 0
    exec(blocks("python")[number], {"__name__": "readme"})


def test_settings_example_is_accepted_and_the_table_names_every_setting_with_its_default():
    plans = json.loads(blocks("json")[0])
    resolve_terms({"cl_dice": Term(ClDiceLoss)}, plans, "3d_fullres")
    defaults = Term(ClDiceLoss).settings()
    table = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", README, flags=re.MULTILINE))
    shown = {name: table.get(name, "missing").strip() for name in defaults}
    assert shown == {name: "from the labels" if value is None else json.dumps(value)
                     for name, value in defaults.items()}


def test_every_trainer_file_stands_in_the_table():
    trainers = {file.stem for file in (ROOT / "trainers").glob("nnUNetTrainer*.py")}
    assert trainers == set(re.findall(r"^\| `(nnUNetTrainer\w+)` \|", README, flags=re.MULTILINE))


def test_the_test_command_is_the_one_that_ci_runs():
    install, test = next(block for block in blocks("bash") if "pytest" in block).strip().split(" && ")
    script = (ROOT / ".ci" / "run").read_text()
    assert install.replace("pip install", "pip install -q") in script and test in script
