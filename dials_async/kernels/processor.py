"""Which processors kernels are compiled for: those with a fused multiply-add; how many registers they have.

Results never depend on the processor, speed does.
"""

import platform

import llvmlite.binding as llvm
import numba

from dials_async.errors import UsageError


def features() -> frozenset[str]:
    """Names of the features that Numba compiles for, as LLVM calls them ("avx2", "fma", "neon")."""
    wanted = numba.config.CPU_FEATURES  # type: ignore[attr-defined]  # made at run time
    if wanted is None:
        return frozenset(name for name, there in llvm.get_host_cpu_features().items() if there)
    return frozenset(name.strip()[1:] for name in wanted.split(",") if name.strip().startswith("+"))


def check_processor() -> None:
    """Raise UsageError on a processor without fused multiply-add, which every kernel is made of."""
    if platform.machine().lower() in ("x86_64", "amd64") and not {"fma", "avx2"} <= features():
        raise UsageError(
            "this processor has no AVX2 and FMA: dials-async needs one of x86-64-v3 "
            "(Intel Haswell 2013, AMD Excavator 2015, or later) or 64-bit ARM"
        )


#: Vector registers: 32 with AVX-512 and on 64-bit ARM, where they are narrow; else 16.
HAS_WIDE_REGISTERS = "avx512f" in features()
