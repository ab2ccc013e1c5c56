"""A process serves its numbers as long as it lives, and Prometheus is told where."""

import http.client
import json
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from dials_async.errors import BrokerError, InterruptedRunError, UsageError
from dials_async.metrics import health
from dials_async.metrics.endpoint import OFF, announced, make_metrics, served
from dials_async.metrics.health import State
from dials_async.metrics.instruments import Metrics

from .pages import exposed

HOST = socket.gethostname()


@pytest.fixture
def targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIALS_TARGETS", str(tmp_path))
    return tmp_path


def ask(place: str, path: str, method: str = "GET") -> tuple[int, str]:
    """Status and body."""
    connection = http.client.HTTPConnection(place, timeout=60)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as answer:
        text: str = answer.read().decode()
    return text


def test_the_numbers_are_served_and_the_target_is_there_as_long_as_the_block_lasts(targets: Path) -> None:
    metrics = Metrics()
    metrics.published.labels("experience").inc(3)
    with served(metrics, "127.0.0.1:0") as place, announced(metrics, place, "city", "rollout", "rollout.1"):
        url = f"http://{place}/metrics"
        assert 'dials_messages_published_total{queue="experience"} 3.0' in read(url)
        (file,) = (targets / "dials").glob("*.json")
        (entry,) = json.loads(file.read_text(encoding="utf-8"))
        assert entry["targets"] == [place]
        assert entry["labels"] == {"run": "city", "role": "rollout", "process": "rollout.1", "host": HOST}
    assert not list((targets / "dials").glob("*.json"))
    with pytest.raises(urllib.error.URLError):
        read(url)


@pytest.mark.parametrize("failure", [RuntimeError("a bug"), BrokerError("RabbitMQ stays away")])
def test_a_process_that_fails_is_missed_until_its_successor_is_there(
    targets: Path, failure: Exception
) -> None:
    with pytest.raises(type(failure)), exposed(Metrics(), "127.0.0.1:0", "r", "learner", "learner.1"):
        raise failure
    (file,) = (targets / "dials").glob("*.json")
    with exposed(Metrics(), "127.0.0.1:0", "r", "learner", "learner.1"):
        assert list((targets / "dials").glob("*.json")) == [file]
    assert not list((targets / "dials").glob("*.json"))


def test_a_process_that_was_refused_or_interrupted_is_not_missed(targets: Path) -> None:
    for error in (UsageError("no"), InterruptedRunError("Ctrl-C twice")):
        with pytest.raises(type(error)), exposed(Metrics(), "127.0.0.1:0", "r", "train", "train"):
            raise error
        assert not list((targets / "dials").glob("*.json"))


def test_off_counts_and_serves_nothing(targets: Path) -> None:
    metrics = make_metrics(OFF)
    metrics.published.labels("experience").inc()
    with served(metrics, OFF) as place, announced(metrics, place, "r", "train", "train"):
        assert place is None
    assert not list(metrics.registry.collect())
    assert not targets.joinpath("dials").exists()


def test_a_port_that_is_taken_is_one_clear_line(targets: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with (
            pytest.raises(UsageError, match=rf"cannot serve metrics at {address}: .*--metrics-address"),
            exposed(Metrics(), address, "r", "train", "train"),
        ):
            pass
    assert not list(targets.rglob("*.json"))


def test_training_goes_on_where_no_target_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DIALS_TARGETS", str(tmp_path / "file"))
    metrics = Metrics()
    with served(metrics, "127.0.0.1:0") as place, announced(metrics, place, "r", "learner", "learner.1"):
        assert "dials_" in read(f"http://{place}/metrics")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("learner.1: Prometheus will not find this process: ")


def test_what_is_no_address_is_refused_before_anything_starts() -> None:
    with pytest.raises(UsageError, match="--metrics-address 9100: expected HOST:PORT, for example"):
        make_metrics("9100")


def test_health_follows_what_the_process_says(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics()
    missing = ""
    with served(metrics, "127.0.0.1:0") as place:
        assert place is not None
        # A process that starts is alive, and not ready
        assert ask(place, "/readyz") == (503, "starting\n")
        assert ask(place, "/healthz") == (200, "starting\n")
        metrics.health.waits("waiting: no run 'city' in Redis")
        assert ask(place, "/readyz") == (503, "waiting: no run 'city' in Redis\n")
        # At work
        metrics.health.works(lambda: State(missing, "waiting for a task"))
        assert ask(place, "/readyz") == (200, "waiting for a task\n")
        status, line = ask(place, "/healthz")
        assert status == 200
        assert line.startswith("the main loop came by ")
        # It waits for a server: not ready, and for that alone nobody should kill it
        monkeypatch.setattr(health, "HANGS_S", -1.0)
        missing = "waiting for RabbitMQ"
        assert ask(place, "/readyz") == (503, "waiting for RabbitMQ\n")
        assert ask(place, "/healthz") == (200, "waiting for RabbitMQ\n")
        # Nothing is missing, and its main loop does not come by
        missing = ""
        status, line = ask(place, "/healthz")
        assert status == 503
        assert line.startswith("the main loop has not come by for ")
        # The numbers are where they were
        assert "process_cpu_seconds_total" in ask(place, "/metrics")[1]
        assert ask(place, "/metrics", "POST")[0] == 405
