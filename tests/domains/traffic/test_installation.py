"""A SUMO that is missing, broken or of another version is one clear line that says how to mend it."""

import importlib.machinery
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dials_async.domains.traffic.domain import Traffic
from dials_async.domains.traffic.installation import SUMO_VERSION, find_sumo
from dials_async.errors import ConfigError, SimulatorError


@pytest.fixture
def no_memory() -> None:
    find_sumo.cache_clear()


def pretend_home(monkeypatch: pytest.MonkeyPatch, home: Path | None) -> None:
    real = importlib.util.find_spec

    def find(name: str, package: str | None = None) -> importlib.machinery.ModuleSpec | None:
        if name != "sumo":
            return None if name in ("traci", "libsumo") else real(name, package)
        if home is None:
            return None
        spec = importlib.machinery.ModuleSpec("sumo", None, is_package=True)
        spec.submodule_search_locations = [str(home)]
        return spec

    monkeypatch.setattr(importlib.util, "find_spec", find)


def fake_sumo(home: Path, script: str) -> None:
    (home / "bin").mkdir()
    program = home / "bin" / "sumo"
    program.write_text("#!/bin/sh\n" + script)
    program.chmod(0o755)


def test_the_installed_sumo_is_the_one_that_the_kernel_was_validated_against() -> None:
    assert find_sumo().version == SUMO_VERSION
    assert find_sumo().binary("sumo").exists()


@pytest.mark.usefixtures("no_memory")
def test_no_sumo(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_home(monkeypatch, None)
    with pytest.raises(SimulatorError, match=r"needs SUMO, which is not installed: run 'make sumo'"):
        find_sumo()


@pytest.mark.usefixtures("no_memory")
def test_a_sumo_that_lacks_a_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_sumo(tmp_path, "echo 'sumo: error while loading shared libraries: libX11.so.6' >&2; exit 127")
    pretend_home(monkeypatch, tmp_path)
    with pytest.raises(SimulatorError, match=r"does not start: .*libX11\.so\.6; run 'make sumo'"):
        find_sumo()


@pytest.mark.usefixtures("no_memory")
def test_another_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_sumo(tmp_path, "echo 'Eclipse SUMO sumo 1.27.0'")
    pretend_home(monkeypatch, tmp_path)
    with pytest.raises(SimulatorError, match=r"SUMO 1\.27\.0 is installed, and 1\.28\.0 is needed"):
        find_sumo()
    assert find_sumo("1.27.0").version == "1.27.0"
    find_sumo.cache_clear()


def test_the_command_says_it_in_one_line(tmp_path: Path) -> None:
    # Given: a Python that finds no SUMO, as after a plain "pip install dials-async".
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['sumo'] = None\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "dials_async", "train", "traffic-4", "--run", "none"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "the traffic domain needs SUMO, which is not installed: run 'make sumo'" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_without_sumo_the_presets_are_listed_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['sumo'] = None\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "dials_async", "presets"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "traffic-25" in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"side": 0}, r"domain\.side = 0: the grid has 1 to 30 lights a side"),
        ({"local": "fast"}, r"domain\.local = 'fast': one of compiled, sumo"),
        ({"interface": "tcp"}, r"domain\.interface = 'tcp': one of libsumo, traci"),
        ({"gui": True}, r"need domain\.interface = 'traci'"),
        ({"address": "host:8813"}, r"need domain\.interface = 'traci'"),
    ],
)
def test_wrong_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Traffic(**options)  # type: ignore[arg-type]


def test_a_window_needs_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(ConfigError, match="there is no screen here"):
        Traffic(interface="traci", gui=True)


def test_a_sumo_at_an_address_serves_one_episode_at_a_time() -> None:
    with pytest.raises(SimulatorError, match="simulates one episode at a time, not 2"):
        Traffic(interface="traci", address="127.0.0.1:1").make_global(2)


def test_no_sumo_at_an_address(unused_port: int) -> None:
    domain = Traffic(interface="traci", address=f"127.0.0.1:{unused_port}")
    with pytest.raises(SimulatorError, match=r"no SUMO answers at 127\.0\.0\.1"):
        domain.make_global(1).reset(np.array([1], dtype=np.uint64))


@pytest.mark.parametrize("name", ["traci", "libsumo"])
def test_a_library_of_another_sumo_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older SUMOs tell people to put their tools on PYTHONPATH."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, name, raising=False)
    find_sumo.cache_clear()
    with pytest.raises(SimulatorError, match=rf"{name} is found in {tmp_path}.*out of PYTHONPATH"):
        find_sumo()
    find_sumo.cache_clear()
