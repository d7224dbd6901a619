"""Shared by the tests: quiet, small, one process."""

import os

# before nnunetv2 and torch are imported anywhere
os.environ.setdefault("nnUNet_compile", "f")
os.environ.setdefault("nnUNet_def_n_proc", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
