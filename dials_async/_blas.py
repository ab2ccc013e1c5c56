"""Settings of the BLAS library, made in the environment before NumPy or SciPy load it."""

import os


def configure() -> None:
    """One thread per process: our own threads keep the cores busy, more cost up to 30 x.

    Which kernels OpenBLAS uses is left to it and to ``OPENBLAS_CORETYPE``; on processors with AVX-512 the
    choice matters (benchmarks/blas.py, docs/performance.md).
    """
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
