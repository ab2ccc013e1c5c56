"""A SUMO that does not start is told of within seconds, in its own words, and leaves nothing behind."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import traci

from dials_async.domains.traffic import processes, sumo_server
from dials_async.domains.traffic.domain import Traffic
from dials_async.domains.traffic.installation import Installation, find_sumo
from dials_async.domains.traffic.network import network_files
from dials_async.domains.traffic.processes import POOL
from dials_async.domains.traffic.sumo_link import SumoLink
from dials_async.domains.traffic.sumo_server import SumoEndedError, start_server
from dials_async.errors import SimulatorError
from tests.processes import children_of


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    before = set(children_of(os.getpid()))
    yield
    POOL.close()
    assert set(children_of(os.getpid())) <= before


def network() -> list[str]:
    return ["--net-file", str(network_files(2, find_sumo()).network)]


def link_to(home: Path) -> SumoLink:
    return SumoLink(Installation(home, "1.28.0"), "traci")


def program(folder: Path, script: str) -> Path:
    """An installation whose SUMO is a shell script."""
    (folder / "bin").mkdir(parents=True)
    path = folder / "bin" / "sumo"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return folder


def fails_within(seconds: float, start: Callable[[], object], message: str) -> None:
    began = time.monotonic()
    with pytest.raises(SimulatorError, match=message):
        start()
    assert time.monotonic() - began < seconds


def test_a_sumo_that_ends_at_once_is_quoted(tmp_path: Path) -> None:
    link = link_to(program(tmp_path, "echo 'no licence today' >&2; exit 3"))
    fails_within(5.0, lambda: link.load(network()), "did not start: exit code 3; no licence today")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--no-such-option", "1"], "No option with the name 'no-such-option' exists"),
        (["--net-file", "/nowhere.net.xml"], r"File '/nowhere\.net\.xml' is not accessible"),
    ],
)
def test_wrong_options_are_told_in_the_words_of_sumo(options: list[str], message: str) -> None:
    link = SumoLink(find_sumo(), "traci")
    fails_within(5.0, lambda: link.load(options), f"SUMO did not start: exit code 1.*{message}")
    # Then: the same link can still start a SUMO.
    link.load(network())
    link.step()
    link.close()


def test_a_program_that_is_none_is_told(tmp_path: Path) -> None:
    (program(tmp_path, "") / "bin" / "sumo").write_bytes(b"\x7fELF, but no more")
    fails_within(5.0, lambda: link_to(tmp_path).load(network()), "SUMO did not start: .*Exec format error")


def test_a_sumo_that_hangs_is_given_up_and_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sumo_server, "START_S", 1.0)
    link = link_to(program(tmp_path, "exec sleep 100"))
    fails_within(6.0, lambda: link.load(network()), "SUMO did not start: it does not listen after 1 s")


def test_a_sumo_that_is_killed_while_it_starts_is_no_error_of_its_options(tmp_path: Path) -> None:
    link = link_to(program(tmp_path, "kill -9 $$"))
    with pytest.raises(SumoEndedError, match="exit code -9"):
        link.load(network())


def test_a_port_that_somebody_else_took_meanwhile_is_left_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given: a port that was free and is not any more.
    with socket.socket() as other:
        other.bind(("", 0))
        taken = other.getsockname()[1]
        free, ports = sumo_server._free_port(), iter([taken])
        monkeypatch.setattr(sumo_server, "_free_port", lambda: next(ports, free))
        server = start_server(traci, [str(find_sumo().binary("sumo")), *network()], find_sumo().environment())
    traci.close()
    assert server.end().startswith("exit code 0")


def test_a_link_whose_sumo_was_killed_closes_and_starts_another() -> None:
    link = SumoLink(find_sumo(), "traci")
    link.load(network())
    (sumo,) = (pid for pid, command in children_of(os.getpid()).items() if "--remote-port" in command)
    os.kill(sumo, signal.SIGKILL)
    link.close()
    link.load(network())
    link.step()
    link.close()


def test_a_sumo_that_crashes_in_an_episode_is_told_with_its_last_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given: no second chance.
    monkeypatch.setattr(processes, "MAX_RESTARTS", 0)
    with Traffic(2, interface="traci").make_global(1) as simulator:
        simulator.reset(np.array([1], dtype=np.uint64))
        (sumo,) = children_of(simulator.process_ids()[0])
        os.kill(sumo, signal.SIGSEGV)
        with pytest.raises(SimulatorError, match=r"SUMO ended 1 times .*: exit code 1, .* exit code -11"):
            simulator.step(np.zeros((4, 1), dtype=np.uint8))


@pytest.fixture
def fake_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """As if another SUMO were installed, which knows its version and does as the script ``bin/run`` says."""
    home = tmp_path / "sumo"
    version = "echo 'Eclipse SUMO sumo 1.28.0'"
    program(
        home, f'case "$1" in --version) {version};; *) echo x >> {tmp_path}/starts; . {home}/bin/run;; esac'
    )
    (home / "__init__.py").touch()
    real = find_sumo()
    (home / "bin" / "netconvert").symlink_to(real.binary("netconvert"))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sumo", raising=False)
    find_sumo.cache_clear()
    assert find_sumo().home == home
    yield home
    find_sumo.cache_clear()


def test_a_sumo_that_does_not_start_is_not_tried_again_as_if_it_had_crashed(fake_package: Path) -> None:
    (fake_package / "bin" / "run").write_text("echo 'the disk is on fire' >&2; exit 1\n")
    with Traffic(2, interface="traci").make_global(1) as simulator:
        reset = np.array([1], dtype=np.uint64)
        fails_within(
            15.0, lambda: simulator.reset(reset), "^SUMO did not start: exit code 1; the disk is on fire$"
        )
    assert (fake_package.parent / "starts").read_text() == "x\n"


def test_a_sumo_that_is_killed_while_it_starts_is_replaced(fake_package: Path) -> None:
    # Given: a SUMO that dies the first time, and is the real one from then on.
    real = (fake_package / "bin" / "netconvert").resolve().parent
    first = fake_package.parent / "starts"
    (fake_package / "bin" / "run").write_text(
        f'[ "$(wc -l < {first})" = 1 ] && kill -9 $$; SUMO_HOME={real.parent} exec {real}/sumo "$@"\n'
    )
    with Traffic(2, interface="traci").make_global(1) as simulator:
        simulator.reset(np.array([1], dtype=np.uint64))
        simulator.step(np.zeros((4, 1), dtype=np.uint8))
    assert first.read_text() == "x\nx\n"


def test_an_unexpected_error_beside_sumo_is_told_once_and_not_tried_again() -> None:
    # Given: a request that the simulation cannot make sense of: actions of three lights out of four.
    with Traffic(2).make_global(1) as simulator:
        simulator.reset(np.array([1], dtype=np.uint64))
        process = simulator._processes[0]
        with pytest.raises(SimulatorError, match=r"the simulator failed: \w*Error: .*lights\.py:\d+ step"):
            process.call({"op": "step", "actions": bytes(3)})
        assert process.restarts == 0


@pytest.mark.parametrize("interface", ["libsumo", "traci"])
def test_what_sumo_objects_to_in_a_file_is_told_once(
    interface: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given: a cached network that lost its main file.
    monkeypatch.setenv("DIALS_CACHE_DIR", str(tmp_path))
    network_files(2, find_sumo()).network.unlink()
    with Traffic(2, interface=interface).make_global(1) as simulator:
        with pytest.raises(SimulatorError, match=r"grid\.net\.xml. is not accessible"):
            simulator.reset(np.array([1], dtype=np.uint64))
        assert simulator._processes[0].restarts == 0
