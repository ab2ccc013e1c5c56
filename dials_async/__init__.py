"""DIALS: train large networks of agents on distributed influence-augmented local simulators."""

import os

# One BLAS/OpenMP thread per process, set before NumPy, SciPy or torch load their libraries: our own
# threads already keep every core busy, and oversubscribed BLAS threads cost up to 30 x (docs/performance.md).
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

__version__ = "0.1.0"
