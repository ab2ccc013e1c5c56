"""/healthz and /readyz of a process of a run: it says what it waits for, and that is no reason to kill it."""

import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from dials_async.distributed.connection import connect
from dials_async.distributed.create import create
from dials_async.distributed.daemon import Daemon
from dials_async.errors import NumericsError
from dials_async.servers.private import lasting_port
from dials_async.servers.redis import RedisServer
from tests.runtime.small import small_config

from .fleet import eventually
from .test_identity import as_elsewhere


@pytest.fixture
def own_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisServer]:
    """One that the test may kill, for this run."""
    server = RedisServer(tmp_path / "redis", lasting_port())
    server.start()
    monkeypatch.setenv("DIALS_REDIS_URL", server.url)
    yield server
    server.stop()


def ask(port: int, path: str) -> tuple[int, str]:
    """Status and line; (0, "") while nothing listens there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode().rstrip("\n")
    except ConnectionRefusedError:
        return 0, ""
    finally:
        connection.close()


def test_a_worker_says_what_it_waits_for(run: str, own_redis: RedisServer) -> None:
    port = lasting_port()
    words = ["worker", "rollout", "--run", run, "--wait", "600", "--metrics-address", f"127.0.0.1:{port}"]
    child = subprocess.Popen([sys.executable, "-m", "dials_async", *words], env={**os.environ})
    try:
        # Given no run yet
        assert eventually(lambda: ask(port, "/readyz")[1].startswith(f"waiting: no run '{run}' in Redis"))
        assert ask(port, "/readyz")[0] == 503
        assert ask(port, "/healthz")[0] == 200
        # When there is one
        create(run, small_config())
        assert eventually(lambda: ask(port, "/readyz") == (200, "waiting for a task"))
        assert ask(port, "/healthz")[1].startswith("the main loop came by ")
        # When Redis is away
        own_redis.kill()
        shown = f"waiting for Redis at redis://127.0.0.1:{own_redis.port}/0"
        assert eventually(lambda: ask(port, "/readyz") == (503, shown)), ask(port, "/readyz")
        assert ask(port, "/healthz") == (200, shown)
        # And back
        own_redis.start()
        assert eventually(lambda: ask(port, "/readyz") == (200, "waiting for a task"))
        child.send_signal(signal.SIGTERM)
        assert child.wait(120) == 0
    finally:
        child.kill()
        child.wait()


def test_a_process_that_computes_otherwise_is_not_ready(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    create(run, small_config())
    as_elsewhere(monkeypatch, "rollout")
    connection = connect(run, Event())
    with pytest.raises(NumericsError):
        Daemon(connection, "rollout", "rollout.1").join(allow_other_numerics=False)
    good, why = connection.context.metrics.health.ready()
    assert not good
    assert why.startswith("refused: this process computes otherwise than the run (rollout ")
