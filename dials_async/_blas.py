"""Settings of the BLAS library, made in the environment before NumPy or SciPy load it."""

import os


def _amd_with_avx512() -> bool:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            processor = file.read().split("\n\n", 1)[0]
    except OSError:  # not Linux: leave the library's own choice
        return False
    return "AuthenticAMD" in processor and all(
        flag in processor for flag in ("avx512f", "avx512bw", "avx512dq", "avx512vl")
    )


def configure() -> None:
    """One thread per process, and the AVX-512 kernels where OpenBLAS does not find them by itself.

    Our own threads keep every core busy already; oversubscribed BLAS threads cost up to 30 x.
    OpenBLAS 0.3.30 takes a Zen 5 processor for a Haswell: our small products run 2.6 to 4.3 x slower
    (benchmarks/blas.py). Both settings yield to the user's own environment.
    """
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    if _amd_with_avx512():
        os.environ.setdefault("OPENBLAS_CORETYPE", "SKYLAKEX")
