"""``dials dashboard`` as a process: what it prints, which run it takes, and how it ends."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from .synthetic import CONFIG, live, write

#: Never reached by a test that passes.
LONG_S = 100.0

COMMAND = (sys.executable, "-m", "dials_async", "dashboard")


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runs folder with the run "demo", and no display to open a browser on."""
    monkeypatch.setenv("DIALS_RUNS", str(tmp_path))
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    write(tmp_path / "demo", live(0.5))
    return tmp_path


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that are killed at the end of the test if they are still there."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def start(
    started: list[subprocess.Popen[str]], *arguments: str, out: int | IO[str] = subprocess.PIPE
) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [*COMMAND, "--address", ":0", *arguments], stdout=out, stderr=subprocess.PIPE, text=True
    )
    started.append(process)
    return process


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def state_at(line: str) -> dict[str, object]:
    url = line.partition(": ")[2].partition(" ")[0]
    with urllib.request.urlopen(f"{url}state", timeout=LONG_S) as answer:
        state: dict[str, object] = json.load(answer)
    return state


def refused(*arguments: str) -> str:
    """The one line of an error with exit code 2."""
    done = subprocess.run([*COMMAND, *arguments], check=False, capture_output=True, text=True, timeout=LONG_S)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    return done.stderr.rstrip("\n")


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("runs")
def test_it_says_where_it_is_and_ends_quietly(
    end: signal.Signals, started: list[subprocess.Popen[str]]
) -> None:
    process = start(started, "demo")
    line = first_line(process)
    assert line.startswith("dashboard of 'demo': http://127.0.0.1:")
    assert line.endswith("/ (Ctrl-C ends it; the run goes on)")
    assert state_at(line)["state"] == "running"

    process.send_signal(end)
    rest, errors = process.communicate(timeout=LONG_S)

    assert (process.returncode, rest.strip(), errors) == (0, "", "")


def test_without_a_run_it_takes_the_one_that_was_trained_last(
    runs: Path, started: list[subprocess.Popen[str]]
) -> None:
    for name, age_s in (("older", 500), ("newest", 10), ("oldest", 900)):
        write(runs / name, live(0.5))
        when = (runs / "demo" / "live.json").stat().st_mtime + 1000 - age_s
        os.utime(runs / name / "live.json", (when, when))
    assert first_line(start(started)).startswith("dashboard of 'newest': ")


def test_a_run_is_found_by_its_path_too(runs: Path, started: list[subprocess.Popen[str]]) -> None:
    assert first_line(start(started, str(runs / "demo"))).startswith("dashboard of 'demo': ")


@pytest.mark.usefixtures("runs")
def test_open_to_others_it_warns(started: list[subprocess.Popen[str]]) -> None:
    process = start(started, "demo", "--address", "0.0.0.0:0")
    assert first_line(process).startswith("dashboard of 'demo': ")
    assert process.stderr is not None
    assert process.stderr.readline() == (
        "dials: warning: there is no password, whoever reaches this address can look\n"
    )


def test_a_run_that_is_not_there_is_refused(runs: Path) -> None:
    assert refused("nothing") == f"dials: no run 'nothing' in {runs}; there are demo"


def test_without_any_run_it_says_how_to_start_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIALS_RUNS", str(tmp_path / "none"))
    assert refused() == (
        f"dials: no run in {tmp_path / 'none'} yet: start one, 'dials train warehouse-4 --run demo'"
    )


def test_without_live_news_it_asks_which_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIALS_RUNS", str(tmp_path))
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.toml").write_text(CONFIG)
    assert refused().endswith("was trained with live news: say which to show, old")


@pytest.mark.usefixtures("runs")
def test_a_taken_port_is_refused_and_address_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        error = refused("demo", "--address", address)
    assert error.startswith(f"dials: the dashboard cannot listen on {address}: address already in use")
    assert "--address" in error


@pytest.mark.usefixtures("runs")
def test_what_is_no_address_is_refused() -> None:
    assert refused("demo", "--address", "8265") == (
        "dials: --address 8265: expected HOST:PORT, for example 127.0.0.1:8265 (port 0: any)"
    )


@pytest.mark.parametrize(
    ("terminal", "display", "arguments", "opens"),
    [
        (True, ":7", (), True),
        (True, ":7", ("--no-browser",), False),
        (True, "", (), False),
        (False, ":7", (), False),
    ],
)
def test_a_browser_is_opened_where_somebody_looks(
    terminal: bool,
    display: str,
    arguments: tuple[str, ...],
    opens: bool,
    runs: Path,
    monkeypatch: pytest.MonkeyPatch,
    started: list[subprocess.Popen[str]],
) -> None:
    browser, opened = runs / "browser.sh", runs / "opened"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}.tmp\nmv {opened}.tmp {opened}\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    if display:
        monkeypatch.setenv("DISPLAY", display)
    ours, theirs = pty.openpty() if terminal else os.pipe()
    with os.fdopen(theirs, "w") as out, os.fdopen(ours) as shown:
        process = start(started, "demo", *arguments, out=out)
        line = shown.readline()
        state_at(line)
        deadline = time.monotonic() + (LONG_S if opens else 1)
        while not opened.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=LONG_S)
    assert opened.exists() == opens
    if opens:
        assert opened.read_text().strip() in line
