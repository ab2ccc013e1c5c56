"""Variables that were set for other programs change nothing here."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dials_async.cache import cache_folder


def printed(code: str, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_metrics_are_counted_in_memory_whatever_another_program_wants() -> None:
    code = """
from dials_async.metrics.instruments import Metrics
from prometheus_client import values
print(values.ValueClass.__name__)
"""
    assert printed(code, PROMETHEUS_MULTIPROC_DIR="/no/such/folder") == "MutexValue"


@pytest.mark.skipif(importlib.util.find_spec("traci") is None, reason="SUMO is not installed")
def test_traci_is_traci() -> None:
    code = "import dials_async, traci; print(traci.isLibsumo())"
    assert printed(code, LIBSUMO_AS_TRACI="1") == "False"


def test_a_user_without_a_home_has_a_cache_of_his_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("DIALS_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as without $HOME and an entry in passwd
    assert cache_folder().is_absolute()
    assert cache_folder().name == f"dials-async-{os.getuid()}"


def test_an_empty_variable_names_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIALS_CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/dials-async")
