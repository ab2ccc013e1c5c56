"""Invariant 3 across processors: weights of short runs, compared with those kept here, under other settings.

``benchmarks/same_bits.py`` does the same for long runs, each setting by itself, and mixed in one run.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import llvmlite.binding as llvm
import pytest

from tests.other_processor import Kernels

#: Some updates and two refreshes with each kind of network. Other weights mean other arithmetic: a change
#: of the kernels, the seeds, the rules of a domain, or another SUMO. Then say so, and put the new hashes here
#: and in README.md.
WEIGHTS = {
    ("warehouse-4",): "80c359258ea1d003",
    ("warehouse-4", "policy.network=gru"): "e2ccf02e307892d7",
    ("traffic-4",): "6362e2672f9363e7",
    ("traffic-4", "aip.network=gru", "aip.minibatch_sequences=10"): "b31cc455fd0a9c45",
}

SHORT = (
    "rollout.episodes_per_task=8",
    "run.steps=9600",
    "schedule.refresh_steps=4800",
    "aip.gs_steps=2000",
    "aip.epochs=3",
    "schedule.eval_episodes=1",
    "schedule.final_eval_episodes=1",
)

#: Libraries that know of no newer processors.
OLD_LIBRARIES = {
    "OPENBLAS_CORETYPE": "Prescott",
    "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512_SKX",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F",
}


def weights_of(
    settings: tuple[str, ...], folder: Path, environment: dict[str, str], short: tuple[str, ...] = SHORT
) -> str:
    words = [word for setting in (*settings[1:], *short) for word in ("--set", setting)]
    command = [sys.executable, "-m", "dials_async", "train", settings[0], "--run", "bits", *words]
    done = subprocess.run(
        command,
        env={**os.environ, **environment, "DIALS_RUNS": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return str(json.loads((folder / "bits" / "summary.json").read_text())["weights_sha256"][:16])


@pytest.mark.parametrize("settings", WEIGHTS, ids=lambda settings: "-".join(settings[:2]))
def test_a_run_gives_the_same_weights_everywhere(settings: tuple[str, ...], tmp_path: Path) -> None:
    assert weights_of(settings, tmp_path, {}) == WEIGHTS[settings]


@pytest.mark.skipif(
    not {"avx2", "fma"} <= {name for name, there in llvm.get_host_cpu_features().items() if there},
    reason="kernels of x86-64-v3 do not run here",
)
@pytest.mark.parametrize("settings", list(WEIGHTS)[1::2], ids=lambda settings: "-".join(settings[:2]))
def test_other_processors_and_libraries_give_the_same_weights(
    settings: tuple[str, ...], tmp_path: Path, kernels_for_v3: Kernels
) -> None:
    elsewhere = {**OLD_LIBRARIES, **kernels_for_v3.environment}
    assert weights_of(settings, tmp_path, elsewhere) == WEIGHTS[settings]


def test_a_processor_without_fused_multiply_add_is_refused_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dials_async", "train", "warehouse-4", "--run", "old"],
        env={
            **os.environ,
            "DIALS_RUNS": str(tmp_path),
            "NUMBA_CPU_NAME": "x86-64",
            "NUMBA_CPU_FEATURES": "+sse2",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "this processor has no AVX2 and FMA" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "old").exists()


def test_the_demo_gives_the_weights_that_the_readme_prints(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    printed = re.findall(r"^Weights ([0-9a-f]{16})\.\.\.", readme, re.MULTILINE)
    assert len(printed) == 1
    few = ("schedule.eval_episodes=1", "schedule.final_eval_episodes=1")  # they do not reach the weights
    assert weights_of(("warehouse-4", *few), tmp_path, {}, short=()) == printed[0]
