"""What the README shows is run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from nnunet_topo import losses
from nnunet_topo.losses import ClDiceLoss, TopologyLoss
from nnunet_topo.nnunet import Term
from nnunet_topo.nnunet.training.terms import resolve_terms

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
SETTINGS = (ROOT / "docs" / "settings.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_python_examples_run(number, monkeypatch):
    pytest.importorskip("nnunet_topo.trainers", reason="not installed") if "trainers" in blocks("python")[number] else 0
    exec(blocks("python")[number], {"__name__": "readme"})


def table_below(heading: str, page: str) -> dict[str, str]:
    """First and second column of the first table of settings below a line of a page."""
    section = page.split(f"\n{heading}\n", 1)[1].split("\n#", 1)[0]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section, flags=re.MULTILINE)
    return {name: value.strip() for name, value in rows}


def test_settings_example_is_accepted():
    resolve_terms({"cl_dice": Term(ClDiceLoss)}, json.loads(blocks("json")[0]), "3d_fullres")


@pytest.mark.parametrize("loss", [loss for loss in map(vars(losses).get, losses.__all__)
                                  if isinstance(loss, type) and loss is not TopologyLoss])
def test_the_tables_name_every_setting_with_its_default(loss):
    assert f"## `{loss.name}`" in SETTINGS, f"docs/settings.md has no section for the settings of {loss.__name__}"
    shown = table_below("## Settings", README) | table_below(f"## `{loss.name}`", SETTINGS)
    assert shown == {option: json.dumps(default) for option, default in Term(loss).settings().items()}


def test_every_trainer_file_stands_in_the_table():
    trainers = {file.stem for file in (ROOT / "trainers").glob("nnUNetTrainer*.py")}
    assert trainers == set(re.findall(r"^\| `(nnUNetTrainer\w+)` \|", README, flags=re.MULTILINE))


def test_the_test_command_is_the_one_that_ci_runs():
    install, test = next(block for block in blocks("bash") if "pytest" in block).strip().split(" && ")
    script = (ROOT / ".ci" / "run").read_text()
    assert install.replace("pip install", "pip install -q") in script and test in script
