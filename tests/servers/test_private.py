"""Private servers are private: their data are their owner's, and so are the passwords that lead to them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pika
import pytest
import redis

from dials_async.addresses import PRIVATE_USER, amqp_url, redis_url
from dials_async.servers.foreground import private_server
from dials_async.servers.private import lasting_port, password_in
from dials_async.servers.rabbitmq import RabbitServer
from dials_async.servers.redis import RedisServer

pytestmark = pytest.mark.usefixtures("servers")


@contextmanager
def served(kind: str, runs: Path) -> Iterator[int]:
    """``dials server KIND`` as honcho starts it; the port it listens on."""
    port = lasting_port()
    variable = {"redis": "DIALS_PORT_REDIS", "rabbitmq": "DIALS_PORT_AMQP"}[kind]
    others = {"DIALS_PORT_AMQP_METRICS": str(lasting_port(port))}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DIALS_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "dials_async", "server", kind],
        env={**kept, "DIALS_RUNS": str(runs), variable: str(port), **others},
        start_new_session=True,
    )
    try:
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of runs, in the environment of a user without an .env."""
    for name in list(os.environ):
        if name.startswith("DIALS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DIALS_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def password(runs: Path, kind: str) -> str:
    """Of the private server, which is starting."""
    return password_in(runs / ".servers" / kind)


def closed_to_others(folder: Path) -> bool:
    """Whether nobody else can look into it."""
    return folder.stat().st_mode & 0o077 == 0


def test_a_redis_is_found_by_its_owner_and_nobody_else(runs: Path) -> None:
    with served("redis", runs) as port:
        RedisServer(runs / ".servers" / "redis", port, password(runs, "redis")).wait_until_it_answers()
        folder = runs / ".servers" / "redis"
        # Its folder is closed, and so is each file with the password by itself
        assert closed_to_others(folder)
        assert all(closed_to_others(folder / name) for name in ("url", "password", "redis.conf"))
        # Its owner's commands find it without any variable
        assert f":{port}/0" in redis_url()
        assert redis.Redis.from_url(redis_url()).ping()
        # And who does not know the password can do nothing
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=port).flushall()


def test_a_rabbitmq_is_found_by_its_owner_and_nobody_else(runs: Path) -> None:
    with served("rabbitmq", runs) as port:
        folder, word = runs / ".servers" / "rabbitmq", password(runs, "rabbitmq")
        RabbitServer(folder, port, user=PRIVATE_USER, password=word).wait_until_it_answers()
        assert closed_to_others(folder)
        assert all(closed_to_others(folder / name) for name in ("url", "password", "rabbitmq.conf"))
        assert f"amqp://{PRIVATE_USER}:" in amqp_url()
        pika.BlockingConnection(pika.URLParameters(amqp_url())).close()
        with pytest.raises(pika.exceptions.AMQPConnectionError):
            pika.BlockingConnection(pika.URLParameters(f"amqp://guest:guest@127.0.0.1:{port}/%2F"))


def test_a_password_is_drawn_once(tmp_path: Path) -> None:
    first = password_in(tmp_path / "one")
    assert len(first) >= 32
    assert password_in(tmp_path / "one") == first
    assert password_in(tmp_path / "two") != first


def test_a_port_that_is_asked_for_goes_before_the_one_that_was_used(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = runs / ".servers" / "redis"
    folder.mkdir(parents=True)
    (folder / "url").write_text("redis://:word@127.0.0.1:17/0")
    assert redis_url() == "redis://:word@127.0.0.1:17/0"
    monkeypatch.setenv("DIALS_PORT_REDIS", "18")
    assert redis_url() == "redis://:word@127.0.0.1:18/0"
    monkeypatch.setenv("DIALS_REDIS_URL", "redis://elsewhere:19/1")
    assert redis_url() == "redis://elsewhere:19/1"


def test_without_private_servers_the_defaults_of_both_are_used(runs: Path) -> None:
    assert not runs.exists()
    assert amqp_url() == "amqp://guest:guest@127.0.0.1:5672/%2F"
    assert redis_url() == "redis://127.0.0.1:6379/0"


def test_data_that_are_older_than_passwords_are_served_as_they_were(runs: Path) -> None:
    for kind in ("redis", "rabbitmq"):
        (runs / ".servers" / kind / "data").mkdir(parents=True)
    older_redis, older_rabbitmq = private_server("redis"), private_server("rabbitmq")
    assert isinstance(older_redis, RedisServer)
    assert older_redis.password is None
    assert isinstance(older_rabbitmq, RabbitServer)
    assert (older_rabbitmq.user, older_rabbitmq.password) == ("guest", "guest")


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    server = RabbitServer(tmp_path / "\u6570\u636e \u00fc", lasting_port(), user="me", password="word")
    server.start()
    try:
        assert server.answers()
    finally:
        server.stop()
