"""Compiling before the clock starts: which kernels are found, and what becomes of those that compile them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from numba.core.dispatcher import Dispatcher

from dials_async.config import Config, load_config
from dials_async.kernels.compile import CACHE_FOLDER
from dials_async.runtime.compiling import find_kernels
from dials_async.runtime.warmup import compile_kernels
from tests.runtime.small import small_config, small_traffic

#: Compiles in a cache folder of its own and tells how many kernels this process had to compile itself.
COMPILE = """
import os, sys
from numba.core import event
from dials_async.config import load_config
from dials_async.runtime import warmup

class Count(event.Listener):
    compiled = 0
    def on_start(self, event): self.compiled += 1
    def on_end(self, event): pass

count = Count()
event.register("numba:compile", count)
warmup.cores = lambda: 2
{more}
warmup.compile_kernels(load_config("warehouse-4"), quiet=False)
print("here:", count.compiled)
"""


def with_the_largest(cache: Path) -> Path:
    """``cache`` with those two kernels that take most of the time, as if the others had got lost."""
    compile_kernels(load_config("warehouse-4"), quiet=True)
    for pattern in ("ppo.update_agent-*", "training._train-*"):
        for path in CACHE_FOLDER.glob(f"*/{pattern}"):
            there = cache / path.relative_to(CACHE_FOLDER.parent)
            there.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            shutil.copy(path, there)
    return cache


def started(cache: Path, more: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", COMPILE.replace("{more}", more)],
        env={**os.environ, "DIALS_CACHE_DIR": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def compiling(cache: Path) -> list[int]:
    """The processes that compile into ``cache``."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                command = (process / "cmdline").read_bytes()
                mine = f"DIALS_CACHE_DIR={cache}".encode() in (process / "environ").read_bytes()
            except OSError:  # it has ended, or is not ours
                continue
            if mine and b"dials_async.runtime.compiling" in command:
                found.append(int(process.name))
    return found


def wait_until_compiling(cache: Path, process: "subprocess.Popen[str]") -> list[int]:
    while len(compiling(cache)) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    return compiling(cache)


def wait_until_nobody_compiles(cache: Path) -> None:
    deadline = time.monotonic() + 60
    while compiling(cache):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("config", "kernel"),
    [
        (small_config(), "dials_async.rollout.compiled.rollout_group"),
        (small_config("run.simulator=gs"), "dials_async.learning.ppo.update_agent"),
        (small_traffic(), "dials_async.rollout.compiled.rollout_group"),
    ],
    ids=["warehouse", "gs", "traffic"],
)
def test_a_run_in_which_nothing_is_computed_tells_its_kernels(config: Config, kernel: str) -> None:
    code = (
        "import sys; from dials_async.config import config_from_dict; import tomllib; "
        "from dials_async.runtime.compiling import find_kernels; "
        "print(*[k.name for k in find_kernels(config_from_dict(tomllib.loads(sys.stdin.read())))], sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=config.to_toml(), capture_output=True, text=True, check=True
    )
    names = done.stdout.split()
    assert kernel in names
    assert len(set(names)) == len(names)


def test_afterwards_kernels_are_computed_again() -> None:
    find_kernels(small_config())
    all_kernels: Any = Dispatcher  # what was changed there is not in Numba's types
    assert all_kernels._compile_for_args.__module__.startswith("numba.")


def test_processes_compile_everything_that_a_run_needs(tmp_path: Path) -> None:
    process = started(with_the_largest(tmp_path))
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert out == "here: 0\n"
    first, *lines = err.splitlines()
    assert first.startswith("compiling kernels: once per machine")
    n = len(lines)
    assert [line.partition(" done")[0] for line in lines] == [
        f"compiling kernels: {k} of {n}" for k in range(1, n + 1)
    ]
    assert len(list(tmp_path.glob("kernels-*/complete-*"))) == 1
    again = started(tmp_path)
    assert again.communicate() == ("here: 0\n", "")


def test_what_a_process_leaves_that_ends_early_is_compiled_and_said(tmp_path: Path) -> None:
    more = (
        'warmup.compiling.__name__ = "no_such_module"; warmup.tiny_run = lambda _: print("the rest"); '
        "warmup.rehearse = lambda *_, **__: None"  # it would compile what the tiny run has not
    )
    process = started(tmp_path, more)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert out == "the rest\nhere: 0\n"
    assert err.count("a process that compiled kernels ended early: ") == 2
    assert "No module named no_such_module" in err


def test_ctrl_c_ends_all_of_them(tmp_path: Path) -> None:
    process = started(tmp_path)
    wait_until_compiling(tmp_path, process)
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode != 0
    assert not compiling(tmp_path)
    assert not list(tmp_path.glob("kernels-*/complete-*"))


def test_they_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    process = started(tmp_path)
    wait_until_compiling(tmp_path, process)
    process.kill()
    process.communicate()
    wait_until_nobody_compiles(tmp_path)
