"""A private Prometheus finds processes, loses them, keeps their past, and its configuration is valid."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dials_async.errors import ServerError
from dials_async.metrics.instruments import Metrics
from dials_async.metrics.targets import register
from dials_async.servers.private import lasting_port
from dials_async.servers.prometheus import CONFIGURATION, PrometheusServer
from tests.metrics.pages import exposed

PROJECT = Path(__file__).parents[2]

#: Never reached by a test that passes.
LONG_S = 100.0

Answer = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder whose name YAML and shells could stumble over."""
    folder = tmp_path / "it's my #1: runs"
    monkeypatch.setenv("DIALS_RUNS", str(folder))
    monkeypatch.delenv("DIALS_TARGETS", raising=False)
    monkeypatch.chdir(PROJECT)
    return folder


@pytest.fixture
def server(servers: None, runs: Path) -> Iterator[PrometheusServer]:
    server = PrometheusServer(runs / ".servers" / "prometheus", lasting_port(), interval_s=0.5)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def ask(server: PrometheusServer, query: str) -> Answer:
    url = f"{server.url}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    with urllib.request.urlopen(url, timeout=LONG_S) as answer:
        result: Answer = json.load(answer)["data"]["result"]
    return result


def eventually(server: PrometheusServer, query: str, true: Callable[[Answer], object] = bool) -> Answer:
    """What the server answers once it is ``true``: who is busy may miss any single scrape."""
    deadline = time.monotonic() + LONG_S
    while not true(answer := ask(server, query)):
        assert time.monotonic() < deadline, f"{query} is still {answer}"
        time.sleep(0.05)
    return answer


def by_instance(answer: Answer) -> dict[str, str]:
    return {series["metric"]["instance"]: series["value"][1] for series in answer}


def test_processes_come_and_go_and_a_successor_goes_on_as_the_same_series(
    server: PrometheusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the two changes takes Prometheus up to 10 s to see."""
    monkeypatch.setattr(socket, "gethostname", lambda: "h")
    metrics = Metrics()
    metrics.published.labels("experience").inc(3)
    # Given a process that begins while Prometheus runs, and one that was killed
    query = 'dials_messages_published_total{run="city"}'
    dead = {"run": "city", "role": "learner", "process": "learner.1", "host": "h"}
    register("dials", "city.learner.1@h", f"127.0.0.1:{lasting_port()}", dead)
    with exposed(metrics, "127.0.0.1:0", "city", "rollout", "rollout.1"):
        # Then one is read, with what its file says of it, and a name that can be read in a legend
        eventually(server, "up{job='dials'}", lambda answer: len(answer) == 2)
        (series,) = eventually(server, query)
        assert series["value"][1] == "3"
        labels = series["metric"]
        assert (labels["job"], labels["role"], labels["process"]) == ("dials", "rollout", "rollout.1")
        assert labels["instance"] == "rollout.1@h"
        # And a process of that name on another host is another series
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(socket, "gethostname", lambda: "h2")
            other = exposed(Metrics(), "127.0.0.1:0", "city", "rollout", "rollout.1")
            other.__enter__()
        both = {"rollout.1@h", "rollout.1@h2"}
        up = "up{process='rollout.1'} == 1"
        eventually(server, up, lambda answer: by_instance(answer).keys() == both)
        other.__exit__(None, None, None)
        # And the other is down
        now = {"rollout.1@h": "1", "learner.1@h": "0"}
        eventually(server, "up{job='dials'}", lambda answer: by_instance(answer) == now)
    # When the first leaves, and the other one's successor is there
    with exposed(Metrics(), "127.0.0.1:0", "city", "learner", "learner.1"):
        # Then nobody is missed, and nobody is down
        eventually(server, "up{job='dials'}", lambda answer: by_instance(answer) == {"learner.1@h": "1"})


def test_it_keeps_what_it_read_through_a_crash(server: PrometheusServer) -> None:
    register("prometheus", "private", f"127.0.0.1:{server.port}", {})
    started = "min_over_time(process_start_time_seconds{job='prometheus'}[10m])"
    first = eventually(server, started)[0]["value"][1]
    server.kill()
    server.start()
    # The past of the one before, and the present one
    eventually(server, f"process_start_time_seconds{{job='prometheus'}} > {first}")
    assert ask(server, started)[0]["value"][1] == first


def test_only_this_machine_reaches_it_and_its_rules_are_those_of_the_project(
    server: PrometheusServer,
) -> None:
    with socket.socket() as other, pytest.raises(OSError, match="refused"):
        other.connect(("127.0.0.2", server.port))
    with urllib.request.urlopen(f"{server.url}/api/v1/status/config", timeout=LONG_S) as answer:
        text = json.load(answer)["data"]["yaml"]
    assert str(PROJECT / "monitoring" / "rules") in text
    assert "../runs" not in text
    with urllib.request.urlopen(f"{server.url}/api/v1/status/flags", timeout=LONG_S) as answer:
        flags = json.load(answer)["data"]
    assert flags["storage.tsdb.retention.time"] == "30d"
    assert flags["storage.tsdb.retention.size"] == "1GiB"
    # All folders that it watches are there: else its log would grow at every look
    assert "level=error" not in server.log.read_text()


def test_the_configuration_is_valid_as_it_is_and_as_it_is_copied(runs: Path) -> None:
    server = PrometheusServer(runs / ".servers" / "prometheus", lasting_port())
    server.command()
    for config in (PROJECT / CONFIGURATION, server.folder / "prometheus.yml"):
        done = subprocess.run(
            ["promtool", "check", "config", str(config)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_configuration_is_said_with_the_end_of_its_log(
    servers: None, runs: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.yml"
    wrong.write_text("scrape_configs: [{job_name: a, scrape_everything: true}]\n")
    server = PrometheusServer(runs / ".servers" / "prometheus", lasting_port(), config=wrong)
    with pytest.raises(ServerError, match=r"Prometheus on port \d+ ended at its start: .*scrape_everything"):
        server.start()
    server.stop()


def test_what_is_missing_or_taken_is_one_line(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = runs / ".servers" / "prometheus"
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ServerError, match=r"Prometheus cannot listen on 127\.0\.0\.1:"):
            PrometheusServer(folder, other.getsockname()[1]).command()
    with pytest.raises(ServerError, match=r"Prometheus has no configuration: .*nowhere\.yml"):
        PrometheusServer(folder, lasting_port(), config=tmp_path / "nowhere.yml").command()
    monkeypatch.setenv("DIALS_TARGETS", "/dev/null/targets")
    with pytest.raises(ServerError, match="Prometheus cannot watch /dev/null/targets"):
        PrometheusServer(folder, lasting_port()).command()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerError, match="Prometheus is not installed: 'make services' installs it"):
        PrometheusServer(folder, lasting_port()).command()


def server_command(**environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "dials_async", "server", "prometheus"],
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


def test_by_hand_a_missing_prometheus_is_an_error_and_under_honcho_all_else_goes_on(tmp_path: Path) -> None:
    (tmp_path / "true").symlink_to(shutil.which("true") or "/bin/true")
    by_hand = server_command(PATH=str(tmp_path))
    assert by_hand.wait(LONG_S) == 1
    assert by_hand.stderr is not None
    assert by_hand.stderr.read() == "dials: Prometheus is not installed: 'make services' installs it\n"
    under_honcho = server_command(PATH=str(tmp_path), HONCHO_PROCESS_NAME="prometheus.1")
    assert under_honcho.stderr is not None
    try:
        assert under_honcho.stderr.readline() == (
            "Prometheus is not installed: 'make services' installs it; training goes on without it\n"
        )
        time.sleep(1.0)
        assert under_honcho.poll() is None
    finally:
        under_honcho.terminate()
        assert under_honcho.wait(LONG_S) == 0
