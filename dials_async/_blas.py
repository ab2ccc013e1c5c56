"""Threads of the libraries that have some of their own, set in the environment before they are loaded."""

import os


def configure() -> None:
    """One thread: ours keep the cores busy. Kernels use none of them; NumPy and torch do."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
