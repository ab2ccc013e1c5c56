"""All kernels, compiled for processors that need not be this one; nothing of them is executed here."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .kernels import optimised_code

#: Between them they need every kernel there is.
PRESETS = (
    "warehouse-4",
    "warehouse-4,policy.network=gru,aip.network=mlp",
    "warehouse-4,run.simulator=gs",
    "traffic-4",
    "traffic-4,domain.local=sumo",
)

V3 = "+avx,+avx2,+bmi,+bmi2,+cx16,+f16c,+fma,+lzcnt,+movbe,+popcnt,+sahf,+sse4.2,+xsave"
V4 = f"{V3},+avx512f,+avx512bw,+avx512cd,+avx512dq,+avx512vl,-prefer-256-bit,+evex512"


@dataclass(frozen=True)
class Kernels:
    """All kernels for one processor."""

    environment: dict[str, str]
    """With it a process takes them from the cache folder that they are in."""
    code: dict[str, Any]
    """What ``kernels/optimised_code.py`` found in them."""


@pytest.fixture(scope="session")
def kernels_for_v3(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    """For the oldest processors that run kernels: AVX2. Takes two minutes."""
    return _kernels_for("x86-64-v3", V3, tmp_path_factory.mktemp("v3"))


@pytest.fixture(scope="session")
def kernels_for_v4(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    """For processors with the widest registers: AVX-512. Takes two minutes."""
    return _kernels_for("x86-64-v4", V4, tmp_path_factory.mktemp("v4"))


def _kernels_for(processor: str, features: str, folder: Path) -> Kernels:
    environment = {
        "DIALS_CACHE_DIR": str(folder),
        "NUMBA_CPU_NAME": processor,
        "NUMBA_CPU_FEATURES": features,
    }
    done = subprocess.run(
        [sys.executable, optimised_code.__file__, *PRESETS],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Kernels(environment, json.loads(done.stdout.splitlines()[-1]))
