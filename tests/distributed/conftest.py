"""Distributed runs share one private RabbitMQ and one private Redis; each test has a run of its own name."""

import uuid
from pathlib import Path

import pytest

from dials_async.servers.private import PrivateServer


@pytest.fixture(autouse=True)
def surroundings(
    whole_runs: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rabbitmq_server: PrivateServer,
    redis_server: PrivateServer,
) -> Path:
    """The addresses in the environment, and an empty folder for runs."""
    monkeypatch.setenv("DIALS_AMQP_URL", rabbitmq_server.url)
    monkeypatch.setenv("DIALS_REDIS_URL", redis_server.url)
    monkeypatch.setenv("DIALS_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def run() -> str:
    """A name that no other test uses."""
    return f"t{uuid.uuid4().hex[:12]}"
