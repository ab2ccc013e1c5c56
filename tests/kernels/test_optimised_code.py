"""The optimised code of every kernel: no sum is reordered, nothing fused unasked, no libm, no BLAS."""

import math
import os
from typing import Any

import numpy as np
import pytest
from numba import njit

from dials_async.kernels.compile import jit
from tests.other_processor import Kernels

from . import optimised_code

elsewhere = pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="compiled for two kinds of x86-64 processors"
)


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


def require_exact(code: dict[str, Any], registers: str) -> None:
    assert code["kernels"] > 12
    assert code[registers] > 1000
    assert code["suspicions"] == []


@elsewhere
def test_no_kernel_depends_on_the_processor_where_registers_are_narrow(kernels_for_v3: Kernels) -> None:
    require_exact(kernels_for_v3.code, "ymm")
    assert kernels_for_v3.code["zmm"] == 0


@elsewhere
def test_no_kernel_depends_on_the_processor_where_registers_are_wide(kernels_for_v4: Kernels) -> None:
    require_exact(kernels_for_v4.code, "zmm")
