"""No sum in any kernel depends on where malloc put the arrays (``dials_async.kernels.compile``)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dials_async.kernels.compile import jit_part

from . import vectorised_sums
from .vectorised_sums import optimised_code

Floats = NDArray[np.float32]


@jit_part
def sum_and_store(x: Floats, out: Floats) -> float:
    total = np.float32(0.0)
    for k in range(x.shape[0]):
        out[k] = x[k] * x[k]
        total += out[k]
    return float(total)


@jit_part
def sum_of(x: Floats, out: Floats) -> float:
    for k in range(x.shape[0]):
        out[k] = x[k] * x[k]
    total = np.float32(0.0)
    for k in range(x.shape[0]):
        total += out[k]
    return float(total)


def test_a_sum_in_a_loop_that_stores_is_found() -> None:
    x = np.ones(100, np.float32)
    assert sum_and_store(x, np.zeros_like(x)) == sum_of(x, np.zeros_like(x)) == 100.0
    (bad,), (good,) = optimised_code(sum_and_store), optimised_code(sum_of)
    sums, storing = vectorised_sums.vectorised_sums(bad)
    assert sums
    assert storing == sums
    sums, storing = vectorised_sums.vectorised_sums(good)
    assert sums
    assert storing == []


def test_no_kernel_has_one(tmp_path: Path) -> None:
    presets = ("warehouse-4", "traffic-4")
    processes = [
        subprocess.Popen(  # both at a time: each compiles everything, for a minute
            [sys.executable, vectorised_sums.__file__, preset],
            env={**os.environ, "DIALS_CACHE_DIR": str(tmp_path / preset)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for preset in presets
    ]
    for process in processes:
        output, _ = process.communicate()
        assert process.returncode == 0
        result = json.loads(output.splitlines()[-1])
        assert result["sums"] > 20
        assert result["storing"] == []
