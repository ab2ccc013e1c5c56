"""RabbitMQ's own metrics: served on loopback alone, never in the way of a start or a stop."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pika
import pytest

from dials_async.addresses import PRIVATE_USER
from dials_async.errors import ServerError
from dials_async.servers.private import lasting_port, password_in
from dials_async.servers.rabbitmq import RabbitServer

#: Never reached by a test that passes.
LONG_S = 100.0

#: What would hold up a stop does so for longer: 5 s for what the plugin asks at SIGTERM.
HELD_UP_S = 2.5

SCRAPED = "/metrics/detailed?family=queue_coarse_metrics&family=queue_consumer_count"


@pytest.fixture
def server(servers: None, tmp_path: Path) -> Iterator[RabbitServer]:
    port = lasting_port()
    server = RabbitServer(tmp_path, port, metrics_port=lasting_port(port))
    try:
        server.start()
        yield server
    finally:
        server.stop()


def read(port: int, path: str = SCRAPED) -> tuple[str, http.client.HTTPConnection]:
    """The page, and the connection, as Prometheus keeps it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONG_S)
    connection.request("GET", path)
    answer = connection.getresponse()
    assert answer.status == 200
    return answer.read().decode(), connection


def seconds_to_stop(server: RabbitServer) -> float:
    """From SIGTERM until it has left by itself, with 0."""
    process = server.process
    assert process is not None
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(LONG_S) == 0
    return time.monotonic() - began


def processes_of(folder: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if str(folder).encode() in path.read_bytes() and path.parent.name != str(os.getpid()):
                found.append((path.parent / "cmdline").read_text())
        except OSError:
            continue
    return found


def test_queues_are_served_and_neither_connections_nor_scrapes_hold_up_the_stop(
    server: RabbitServer, tmp_path: Path
) -> None:
    assert server.metrics_port is not None
    client = pika.BlockingConnection(pika.URLParameters(server.url))
    channel = client.channel()
    for number in range(50):
        channel.queue_declare(f"dials.city.8e0c1d7a90b34f56.experience.{number}", durable=True)
    channel.basic_publish("", "dials.city.8e0c1d7a90b34f56.experience.7", b"x" * 100_000)
    # Queues count anew every 5 s
    deadline, wanted = time.monotonic() + LONG_S, 'queue="dials.city.8e0c1d7a90b34f56.experience.7"} 1\n'
    while wanted not in (page := read(server.metrics_port)[0]) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert f'rabbitmq_detailed_queue_messages_ready{{vhost="/",{wanted}' in page
    assert "rabbitmq_detailed_queue_consumers" in page
    # Only this machine reaches it
    with socket.socket() as other, pytest.raises(OSError, match="refused"):
        other.connect(("127.0.0.2", server.metrics_port))
    # When it is stopped while others are connected, then that takes what it takes one that nobody uses
    _, kept = read(server.metrics_port)
    seconds = seconds_to_stop(server)
    server.stop()
    unused = RabbitServer(tmp_path / "unused", lasting_port())
    try:
        unused.start()
        assert seconds < seconds_to_stop(unused) + HELD_UP_S
    finally:
        unused.stop()
    assert not processes_of(tmp_path)
    kept.close()


def test_it_comes_back_with_its_metrics_after_a_crash(server: RabbitServer) -> None:
    assert server.metrics_port is not None
    _, kept = read(server.metrics_port)
    server.kill()
    server.start()
    assert "rabbitmq_detailed" in read(server.metrics_port)[0]
    kept.close()


def test_a_taken_port_costs_the_metrics_and_not_the_server(servers: None, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(ServerError, match=f"RabbitMQ's metrics cannot listen on 127.0.0.1:{taken}"):
            RabbitServer(tmp_path / "one", lasting_port(), metrics_port=taken).start()
        runs, port = tmp_path / "runs", lasting_port()
        ports = {"DIALS_RUNS": str(runs), "DIALS_PORT_AMQP": str(port), "DIALS_PORT_AMQP_METRICS": str(taken)}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DIALS_")}
        process = subprocess.Popen(
            [sys.executable, "-m", "dials_async", "server", "rabbitmq"],
            env={**kept, **ports},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        try:
            assert process.stderr.readline().startswith(
                f"RabbitMQ's metrics cannot listen on 127.0.0.1:{taken}"
            )
            folder = runs / ".servers" / "rabbitmq"
            word = password_in(folder)
            RabbitServer(folder, port, user=PRIVATE_USER, password=word).wait_until_it_answers()
            assert not list(runs.glob(".targets/*/*"))
        finally:
            process.terminate()
            assert process.wait(LONG_S) == 0
    assert not processes_of(tmp_path)
