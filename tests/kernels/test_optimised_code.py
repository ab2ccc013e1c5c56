"""The optimised code of every kernel: no sum is reordered, nothing fused unasked, no libm, no BLAS."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba import njit

from dials_async.kernels.compile import jit

from . import optimised_code

#: Between them they need every kernel there is.
PRESETS = (
    "warehouse-4",
    "warehouse-4,policy.network=gru,aip.network=mlp",
    "warehouse-4,run.simulator=gs",
    "traffic-4",
    "traffic-4,domain.local=sumo",
)

FEATURES_V3 = "+avx,+avx2,+bmi,+bmi2,+cx16,+f16c,+fma,+lzcnt,+movbe,+popcnt,+sahf,+sse4.2,+xsave"
FEATURES_V4 = f"{FEATURES_V3},+avx512f,+avx512bw,+avx512cd,+avx512dq,+avx512vl,-prefer-256-bit,+evex512"


def code_of(function: Any, *arguments: Any) -> list[str]:
    function(*arguments)
    (signature,) = function.signatures
    return optimised_code.suspicions(function.inspect_llvm(signature), function.inspect_asm(signature))


def total(x: np.ndarray) -> float:
    result = np.float32(0.0)
    for k in range(x.shape[0]):
        result += x[k] * x[k]
    return float(result)


def exponentials(x: np.ndarray) -> float:
    return math.exp(x[0])


def multiplied(x: np.ndarray) -> np.ndarray:
    return np.dot(x, x)


def test_what_is_looked_for_is_found() -> None:
    x = np.ones(100, np.float32)
    assert code_of(jit(total), x) == []
    assert any("reassoc" in line for line in code_of(njit(fastmath={"reassoc"})(total), x))
    assert any("contract" in line for line in code_of(njit(fastmath={"contract"})(total), x))
    assert any("exp" in line for line in code_of(njit(exponentials), x))
    assert any("calls" in line for line in code_of(njit(multiplied), np.ones((9, 9), np.float32)))


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="compiled for two kinds of x86-64 processors")
def test_no_kernel_depends_on_the_processor(tmp_path: Path) -> None:
    """Compiled for AVX2 and for AVX-512, wherever this runs, and not executed."""
    processes = {
        registers: subprocess.Popen(  # both at a time: each compiles everything
            [sys.executable, optimised_code.__file__, *PRESETS],
            env={
                **os.environ,
                "DIALS_CACHE_DIR": str(tmp_path / registers),
                "NUMBA_CPU_NAME": processor,
                "NUMBA_CPU_FEATURES": features,
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        for registers, processor, features in (
            ("ymm", "x86-64-v3", FEATURES_V3),
            ("zmm", "x86-64-v4", FEATURES_V4),
        )
    }
    found = {}
    for registers, process in processes.items():
        output, _ = process.communicate()
        assert process.returncode == 0
        found[registers] = json.loads(output.splitlines()[-1])
        assert found[registers]["kernels"] > 12
        assert found[registers][registers] > 1000
        assert found[registers]["suspicions"] == []
    assert found["ymm"]["zmm"] == 0
