"""What only a broker behind a network has: it goes away, comes back, refuses, and others use it too."""

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pika
import pytest

from dials_async.errors import BrokerError, ServerError
from dials_async.messaging.broker import Broker, Consumer, Delivery, QueueNames
from dials_async.messaging.envelope import MAX_MESSAGE_BYTES
from dials_async.messaging.rabbitmq.broker import RabbitBroker
from dials_async.messaging.rabbitmq.queues import DEAD_EXCHANGE, MAX_DEAD_BODY_BYTES
from dials_async.servers.private import lasting_port
from dials_async.servers.rabbitmq import RabbitServer

from .helpers import LONG_S, NEVER_S, SHORT_S, bodies, declared, eventually, plain_channel, rabbit_broker

PASSWORD = "s3cret /@%#'\"ü"

#: What a server may take to start on a busy machine.
RESTART_S = 180.0


@pytest.fixture(scope="module")
def private_server(servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    """For tests that kill it; with a user of its own."""
    folder = tmp_path_factory.mktemp("killed-rabbitmq")
    server = RabbitServer(folder, lasting_port(), user="me", password=PASSWORD)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def server(private_server: RabbitServer) -> RabbitServer:
    if private_server.process is None:
        private_server.start()
    return private_server


@pytest.fixture
def other(rabbitmq_server: RabbitServer) -> Iterator[RabbitBroker]:
    with rabbit_broker(rabbitmq_server.url) as broker:
        yield broker


def received(consumer: Consumer, timeout_s: float = LONG_S) -> Delivery:
    delivery = consumer.receive(timeout_s)
    assert delivery is not None
    return delivery


def our_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("dials-amqp")]


def restart(server: RabbitServer, how: str) -> None:
    if how == "killed":
        server.kill()
    else:  # in order, and then it loses its data
        server.stop()
        shutil.rmtree(server.folder / "mnesia")
    time.sleep(0.5)  # long enough for some attempts to connect in vain
    server.start()


@pytest.mark.parametrize("how", ["killed", "emptied"])
def test_publishing_and_consuming_go_on_after_a_restart(
    server: RabbitServer, how: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr("dials_async.messaging.rabbitmq.link.LAST_PAUSE_S", 0.5)  # to save time
    again = threading.Event()
    done = threading.Event()
    rounds: list[int] = []

    def publish_in_rounds(broker: Broker, queue: str) -> None:
        """As a learner does: in one go, and everything again when its consumer was interrupted."""
        for kind in range(2):
            for number in range(300):
                broker.publish(queue, f"{kind}/{number}".encode())
                time.sleep(0.002)
            rounds.append(kind)
            assert again.wait(RESTART_S)
        done.set()

    with ExitStack() as stack:
        # The pool first: if the test fails or is interrupted, closing the brokers ends its calls.
        pool = stack.enter_context(ThreadPoolExecutor(2))
        run = f"restart-{how}"
        owner = stack.enter_context(rabbit_broker(server.url, run, patience_s=RESTART_S))
        queue = declared(owner, max_messages=10_000)
        consumer = owner.consumer([queue], 4)
        # The publisher never declared the queue: after "emptied" it has to wait for its owner.
        publisher = stack.enter_context(closing(RabbitBroker(server.url, QueueNames(run, "life"), RESTART_S)))
        stack.callback(again.set)
        publishing = pool.submit(publish_in_rounds, publisher, queue)
        # Given messages in flight while the server goes away
        held = [received(consumer), received(consumer)]
        restarting = pool.submit(restart, server, how)
        while not restarting.done():
            consumer.receive(SHORT_S)
        restarting.result()
        # Then it is noticed once, and what was in flight is settled without effect
        assert eventually(lambda: consumer.interruptions == 1)
        consumer.ack(held[0])
        consumer.reject(held[1], "was taken back")
        again.set()
        # And everything that is published again arrives
        wanted = {f"1/{number}".encode() for number in range(300)}
        deadline = time.monotonic() + RESTART_S
        while wanted and time.monotonic() < deadline:
            delivery = consumer.receive(SHORT_S)
            if delivery is not None:
                consumer.ack(delivery)
                wanted.discard(delivery.body)
        publishing.result(RESTART_S)
        assert not wanted
        assert rounds == [0, 1]
        assert done.is_set()
        assert owner.dead_letters() == []
        assert owner.reconnects == 2
        assert consumer.interruptions == 1
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 6  # three connections are lost, and are back
    assert all("\n" not in line and "s3cret" not in line for line in said)


def test_close_ends_by_itself_when_the_server_is_silent(server: RabbitServer) -> None:
    broker = RabbitBroker(
        server.url, QueueNames("silent", "life"), heartbeat_s=NEVER_S
    )  # nothing else ends the silence
    queue = declared(broker)
    consumer = broker.consumer([queue], 1)
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(2) as pool:
            calls: list[Future[object]] = [
                pool.submit(broker.publish, queue, b"x"),
                pool.submit(consumer.receive, NEVER_S),
            ]
            time.sleep(0.3)
            start = time.monotonic()
            consumer.close()
            broker.close()
            broker.close()
            assert time.monotonic() - start < LONG_S
            for call in calls:
                with pytest.raises(BrokerError, match="closed"):
                    call.result(LONG_S)
        assert eventually(lambda: our_threads() == [])
    finally:
        server.process.send_signal(signal.SIGCONT)


def test_a_silent_server_is_noticed_and_used_again_when_it_answers(server: RabbitServer) -> None:
    with rabbit_broker(server.url, "slow", heartbeat_s=1.0, patience_s=NEVER_S) as broker:
        queue = declared(broker)
        assert server.process is not None
        server.process.send_signal(signal.SIGSTOP)
        try:
            with ThreadPoolExecutor(1) as pool:
                call = pool.submit(broker.publish, queue, b"x")
                # 6 to 12 s: see HEARTBEAT_S
                assert eventually(lambda: broker._publishing.outage is not None)
                assert not call.done()
                server.process.send_signal(signal.SIGCONT)
                call.result(LONG_S)
        finally:
            server.process.send_signal(signal.SIGCONT)
        assert broker.reconnects >= 1
        assert bodies(broker.consumer([queue], 1), 1) == [b"x"]


def test_blocked_calls_end_when_patience_does_or_nobody_waits_any_more(server: RabbitServer) -> None:
    give_up = threading.Event()
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(9))
        brokers: dict[str, RabbitBroker] = {}
        for name, patience_s in (("patience", 3.0), ("give_up", NEVER_S), ("close", NEVER_S)):
            broker = RabbitBroker(
                server.url, QueueNames(name, "life"), patience_s, give_up if name == "give_up" else None
            )
            brokers[name] = stack.enter_context(closing(broker))
        queues = {name: declared(broker) for name, broker in brokers.items()}
        consumers = {name: broker.consumer([queues[name]], 1) for name, broker in brokers.items()}
        # Given calls that are made while the server is away
        server.kill()
        calls: dict[str, list[Future[Any]]] = {}
        for name, broker in brokers.items():
            calls[name] = [
                pool.submit(broker.publish, queues[name], b"x"),
                pool.submit(broker.depth, queues[name]),
                pool.submit(consumers[name].receive, NEVER_S),
            ]
        # Then each group ends by its own cause, and no other has ended before
        for name, end in (("patience", None), ("give_up", give_up.set), ("close", brokers["close"].close)):
            if end is not None:
                assert not any(future.done() for future in calls[name])
                end()
            for future in calls[name]:
                with pytest.raises(BrokerError) as caught:
                    future.result(LONG_S)
                line = str(caught.value)
                assert "\n" not in line
                assert "s3cret" not in line
                assert ("closed" if name == "close" else f"127.0.0.1:{server.port}") in line
    assert eventually(lambda: our_threads() == [])


def test_a_consumer_may_be_busy_for_longer_than_the_heartbeat(rabbitmq_server: RabbitServer) -> None:
    with rabbit_broker(rabbitmq_server.url, heartbeat_s=1.0) as broker:
        queue = declared(broker)
        broker.publish(queue, b"a")
        consumer = broker.consumer([queue], 1)
        delivery = received(consumer)
        time.sleep(3.5)
        consumer.ack(delivery)
        consumer.close()
        assert broker.depth(queue) == 0
        assert (consumer.interruptions, broker.reconnects) == (0, 0)


def refusal(url: str) -> str:
    start = time.monotonic()
    with pytest.raises(BrokerError) as caught:
        RabbitBroker(url, QueueNames("refused", "life"))
    assert time.monotonic() - start < LONG_S
    line = str(caught.value)
    assert "\n" not in line
    assert "s3cret" not in line
    assert eventually(lambda: our_threads() == [])
    return line


def test_what_keeps_it_from_connecting_is_said_in_one_line(
    rabbitmq_server: RabbitServer, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = rabbitmq_server.port
    at = f"RabbitMQ at amqp://guest@127.0.0.1:{port}"
    assert (
        refusal(f"amqp://guest:s3cret@127.0.0.1:{port}/%2F") == f"{at}/%2F refuses the user or the password"
    )
    line = refusal(f"amqp://guest:guest@127.0.0.1:{port}/nowhere")
    assert line == f"{at}/nowhere has no vhost 'nowhere', or 'guest' may not use it"
    line = refusal(f"amqp://me:s3cret@127.0.0.1:{lasting_port()}/x")
    assert line.startswith("cannot reach RabbitMQ at amqp://me@127.0.0.1:")
    assert line.endswith("/x: connection refused; is it running? ('dials train' needs no server)")
    assert "TLS failed" in refusal(f"amqps://guest:s3cret@127.0.0.1:{port}/%2F")
    assert "not a URL" in refusal("amqp://me:s3cret@127.0.0.1:port/x")
    assert "not a URL" in refusal(f"amqp://me:s3cret@127.0.0.1:{port}/x?retry_delay=soon")

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert "name of the host is not known" in refusal("amqp://me:s3cret@nowhere.invalid/x")
    assert capfd.readouterr().err == ""


def test_what_does_not_speak_amqp_is_told_from_rabbitmq() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:

        def hang_up() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        answering = pool.submit(hang_up)
        assert "does not speak AMQP" in refusal(f"amqp://me:s3cret@127.0.0.1:{listener.getsockname()[1]}/x")
        answering.result(LONG_S)


def test_messages_of_others_are_received_and_can_be_rejected(
    other: RabbitBroker, rabbitmq_server: RabbitServer
) -> None:
    # Given what no program of ours would send, one of it longer than we accept
    queue = declared(other, max_bytes=2**30)
    foreign = [b"", b"\xff" * (MAX_MESSAGE_BYTES + 1), b"hello"]
    properties = pika.BasicProperties(delivery_mode=2, headers={"dials-queue": 7}, content_type="x/y")
    with plain_channel(rabbitmq_server.url) as channel:
        for body in foreign:
            channel.basic_publish("", queue, body, properties)
    # When each is rejected
    consumer = other.consumer([queue], 1)
    for body in foreign:
        delivery = received(consumer)
        assert delivery.body == body
        consumer.reject(delivery, f"bad: {len(body)} bytes \ud800" + "!" * 100_000)
    consumer.close()
    # Then the dead letters have the reason, and of long ones the start
    letters = other.dead_letters()
    assert [letter.body for letter in letters] == [body[:MAX_DEAD_BODY_BYTES] for body in foreign]
    assert [letter.queue for letter in letters] == [queue] * 3
    assert [letter.reason[:12] for letter in letters] == ["bad: 0 bytes", "bad: 1677721", "bad: 5 bytes"]
    assert other.dead_letter_count() == 3
    assert other.dead_letters() == letters
    assert other.depth(queue) == 0


def test_dead_letters_may_be_deleted_by_hand(other: RabbitBroker, rabbitmq_server: RabbitServer) -> None:
    queue = declared(other)
    other.publish(queue, b"a")
    consumer = other.consumer([queue], 1)
    delivery = received(consumer)
    with plain_channel(rabbitmq_server.url) as channel:
        channel.queue_delete(other._names.dead)
    consumer.reject(delivery, "test")
    assert [letter[:3] for letter in other.dead_letters()] == [(queue, b"a", "test")]


def test_what_a_consumer_of_others_rejects_is_a_dead_letter_too(
    other: RabbitBroker, rabbitmq_server: RabbitServer
) -> None:
    queue = declared(other)
    other.publish(queue, b"a")
    with plain_channel(rabbitmq_server.url) as channel:
        method, _, _ = channel.basic_get(queue)
        channel.basic_reject(method.delivery_tag, requeue=False)
    assert eventually(lambda: other.dead_letter_count() == 1)
    assert [letter[:3] for letter in other.dead_letters()] == [(queue, b"a", "rejected")]


def test_runs_have_dead_letters_of_their_own(rabbitmq_server: RabbitServer, other: RabbitBroker) -> None:
    queue = declared(other)
    other.publish(queue, b"a")
    consumer = other.consumer([queue], 1)
    consumer.reject(received(consumer), "test")
    with rabbit_broker(rabbitmq_server.url) as second:
        assert second.dead_letter_count() == 0
        with plain_channel(rabbitmq_server.url) as channel:
            channel.exchange_declare(DEAD_EXCHANGE, passive=True)
        with pytest.raises(BrokerError, match="differently"):
            second.declare(queue, 1000, 10**6)


def test_a_queue_that_somebody_deletes_is_made_again(
    other: RabbitBroker, rabbitmq_server: RabbitServer
) -> None:
    # Given a consumer with a message in flight and others in its buffer
    queue, second = declared(other), declared(other)
    other.publish(queue, b"a")
    consumer = other.consumer([queue, second], 2)
    held = received(consumer)
    # When one of its queues is deleted
    with plain_channel(rabbitmq_server.url) as channel:
        channel.queue_delete(queue)
    # Then it consumes again, from both
    assert eventually(lambda: consumer.interruptions == 1)
    consumer.ack(held)
    for name in (queue, second):
        other.publish(name, b"b")
    assert bodies(consumer, 2) == [b"b", b"b"]
    assert other.reconnects == 0


def test_an_idle_consumer_does_not_hold_messages_of_others(other: RabbitBroker) -> None:
    # Given a consumer of one message at a time that is busy
    queue = declared(other)
    busy = other.consumer([queue], 1)
    for body in (b"a", b"b", b"c"):
        other.publish(queue, body)
    assert received(busy).body == b"a"
    # Then another one gets the rest
    assert bodies(other.consumer([queue], 1), 2) == [b"b", b"c"]


def test_many_threads_publish_through_one_broker(other: RabbitBroker) -> None:
    queue = declared(other, max_messages=10_000, max_bytes=10**9)
    body = bytes(50_000)
    with ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(other.publish, queue, body) for _ in range(400)]
        for each in sent:
            each.result()
    assert other.depth(queue) == 400
    assert sum(map(len, bodies(other.consumer([queue], 20), 400))) == 400 * len(body)


def test_the_rabbitmq_broker_has_the_shape_of_the_port(other: RabbitBroker) -> None:
    broker: Broker = other
    consumer: Consumer = broker.consumer([declared(broker)], 1)
    consumer.close()


def test_the_server_can_be_started_again_and_leaves_nothing_behind(servers: None, tmp_path: Path) -> None:
    server = RabbitServer(tmp_path, lasting_port())
    try:
        server.start()
        process = server.process
        assert process is not None
        with pytest.raises(ServerError, match="cannot listen"):
            RabbitServer(tmp_path / "second", server.port).start()
        server.kill()
        assert process.returncode == -signal.SIGKILL
    finally:
        server.stop()
        server.stop()
    # Its epmd outlives kill, and is gone after stop.
    environments = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/environ") if readable(path)]
    assert not any(str(tmp_path).encode() in environment for environment in environments)


def readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


def control(server: RabbitServer, *words: str) -> None:
    """As an operator would, with the node's own tool."""
    program = shutil.which("rabbitmqctl", path="/usr/lib/rabbitmq/bin:" + os.environ["PATH"])
    assert program
    _, epmd_port = json.loads((server.folder / "ports.json").read_text())
    environment = {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "HOME": str(server.folder / "home"),
        "ERL_EPMD_PORT": str(epmd_port),
    }
    subprocess.run([program, "-n", server.node, *words], env=environment, check=True, capture_output=True)


def test_an_alarm_is_said_and_waited_for(server: RabbitServer, caplog: pytest.LogCaptureFixture) -> None:
    with rabbit_broker(server.url) as broker, ThreadPoolExecutor() as threads:
        queue = declared(broker)
        broker.publish(queue, b"before")
        assert broker.refusal is None
        # Given a RabbitMQ that is short of memory
        control(server, "set_vm_memory_high_watermark", "absolute", "1MB")
        try:
            with caplog.at_level(logging.WARNING, "dials_async.messaging"):
                publication = threads.submit(broker.publish, queue, b"meanwhile")
                # Then who publishes waits, and says for what
                assert eventually(lambda: broker.refusal is not None)
                assert "alarm" in str(broker.refusal)
                assert "memory" in str(broker.refusal)
                assert not publication.done()
                # And who takes messages goes on
                consumer = broker.consumer([queue], 1)
                first = received(consumer)
                consumer.ack(first)
        finally:
            control(server, "set_vm_memory_high_watermark", "absolute", "512MB")
        # When the alarm is over, it goes on
        publication.result(LONG_S)
        assert eventually(lambda: broker.refusal is None)
        assert received(consumer).body == b"meanwhile"
        assert any("refuses for now: it has an alarm" in record.getMessage() for record in caplog.records)
