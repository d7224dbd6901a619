"""How commands end: codes and words; and that they parse before they import what takes seconds."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nnunet_topo import commands
from nnunet_topo.commands import find_postprocessing, register
from nnunet_topo.commands.guard import guarded
from nnunet_topo.postprocessing.candidates import DEFAULT_METRIC, METRICS
from nnunet_topo.postprocessing.choice import Tolerances
from nnunet_topo.registration import SIMILARITIES, TRANSFORMS

COMMANDS = sorted(file.stem for file in Path(commands.__file__).parent.glob("*.py")
                  if "\ndef main(" in file.read_text(encoding="utf-8"))
KEPT = "All is kept."


def raising(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize(("work", "code"), [(lambda: None, 0), (lambda: 2, 2)])
def test_the_exit_code_is_what_the_work_returns(work, code, capsys):
    assert guarded(work, stopped=KEPT) == code and capsys.readouterr().err == ""


@pytest.mark.parametrize(("error", "words"), [
    (ValueError("two is odd."), "Error: two is odd.\n"),
    (MemoryError("74 GiB"), "Error: There is not enough memory for this (74 GiB).\n"),
    (ModuleNotFoundError("No module named 'torch'", name="torch"),
     "Error: No module named 'torch'. nnUNetv2_topo_doctor says what is missing and how to install it.\n"),
])
def test_an_error_ends_in_its_words_and_1(error, words, capsys):
    assert guarded(raising(error), stopped=KEPT) == 1 and capsys.readouterr().err == words


def test_an_error_that_nobody_foresaw_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        guarded(raising(ZeroDivisionError()), stopped=KEPT)


def test_ctrl_c_at_work_ends_in_a_sentence_and_130_and_the_handler_before_is_back(capsys):
    before = signal.getsignal(signal.SIGINT)
    assert guarded(lambda: signal.raise_signal(signal.SIGINT), stopped=KEPT) == 130
    assert capsys.readouterr().err == "\nStopped. All is kept.\n"
    assert signal.getsignal(signal.SIGINT) is before


def test_who_ignores_ctrl_c_goes_on_doing_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for what it runs in the background
    try:
        assert guarded(lambda: signal.raise_signal(signal.SIGINT), stopped=KEPT) == 0
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_output_that_cannot_be_written_is_an_error():
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "nnunet_topo.commands.trainers"], stdout=full,
                              stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="other pipes")
def test_a_reader_who_has_enough_gets_no_traceback():
    process = subprocess.Popen([sys.executable, "-m", "nnunet_topo.commands.trainers"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait() == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_help_waits_for_no_import_that_takes_long(command):
    done = subprocess.run([sys.executable, "-X", "importtime", "-m", f"nnunet_topo.commands.{command}", "--help"],
                          capture_output=True, text=True)
    assert done.returncode == 0 and f"nnUNetv2_topo_{command}" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "argparse" in imported and not imported & {"torch", "matplotlib", "numba", "scipy"}


def test_the_search_of_post_processing_has_the_metrics_and_tolerances_that_its_command_names():
    ours = find_postprocessing.METRICS, find_postprocessing.TOLERANCE, find_postprocessing.TOLERANCE_CLDICE
    assert ours == (tuple(METRICS), Tolerances().dice, Tolerances().cl_dice) and ours[0][0] == DEFAULT_METRIC


def test_registers_choices_are_those_of_the_registration():
    assert (register.TRANSFORMS, register.SIMILARITIES) == (TRANSFORMS, tuple(SIMILARITIES))


@pytest.mark.parametrize("name", COMMANDS)
def test_options_are_written_as_nnunet_writes_them(name, monkeypatch):
    # words joined by underscores; the spelling that comes first is the one that --help and the docs show
    options = []
    original = argparse._ActionsContainer.add_argument

    def noted(self, *names, **settings):
        options.append(names)
        return original(self, *names, **settings)

    monkeypatch.setattr(argparse._ActionsContainer, "add_argument", noted)
    with pytest.raises(SystemExit):
        importlib.import_module(f"nnunet_topo.commands.{name}").main(["--help"])
    flags = [names[0] for names in options if names[0].startswith("-")]
    assert not [flag for flag in flags if "-" in flag.lstrip("-")]
    assert not {"--output", "--out", "-output", "--device", "--np", "--processes", "--folds"} & set(flags)
