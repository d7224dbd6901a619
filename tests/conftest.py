"""Shared by the tests: quiet, small, one process; and small data sets to train on."""

import os
import signal
import threading

if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what runs in the background

# before nnunetv2 and torch are imported anywhere
os.environ.setdefault("nnUNet_compile", "f")
os.environ.setdefault("nnUNet_def_n_proc", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest


@pytest.fixture(scope="session")
def nnunet_root(tmp_path_factory):
    """A folder for nnU-Net's three, and what has been planned in it: its folder for each kind of labels."""
    return tmp_path_factory.mktemp("nnunet"), {}


@pytest.fixture(scope="module")
def datasets(nnunet_root):
    """Name of the preprocessed data set of each kind, made on first use; nnU-Net's folders are theirs meanwhile."""
    from training import NUMBERS, TRAINERS, prepare

    from nnunet_topo.nnunet.pipeline import environment, nnunet_folders

    root, planned = nnunet_root

    def get(kind: str) -> str:
        if kind not in planned:
            with environment(nnUNet_n_proc_DA="1"):  # nnU-Net's planning does not run with 0
                prepare(kind, planned)
        return NUMBERS[kind]

    with nnunet_folders(root), environment(nnUNet_extTrainer=str(TRAINERS), nnUNet_n_proc_DA="0"):
        yield get


@pytest.fixture
def quick_integrity():
    """nnU-Net's check of a raw data set, by threads."""
    from training import threads_for_processes, verify_dataset_integrity

    with threads_for_processes():
        yield verify_dataset_integrity.verify_dataset_integrity


@pytest.fixture
def require_integrity(quick_integrity, capsys):
    """nnU-Net's check of a raw data set, warnings counted as errors."""

    def require(folder):
        quick_integrity(str(folder), num_processes=1)
        assert "Warning" not in capsys.readouterr().out

    return require
