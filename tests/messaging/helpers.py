"""What the contract tests of brokers and consumers share."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel

from dials_async.messaging.broker import Broker, Consumer, QueueNames
from dials_async.messaging.rabbitmq.broker import RabbitBroker

LONG_S = 60.0  # never reached by a test that passes
NEVER_S = 3 * LONG_S  # who is not woken comes back after this, too late
SHORT_S = 0.05


@contextmanager
def rabbit_broker(url: str, run: str = "", **options: Any) -> Iterator[RabbitBroker]:
    """A broker object that leaves no queue behind: many tests share the server."""
    run = run or f"test-{uuid.uuid4().hex}"
    names = QueueNames(run, "life")
    broker = RabbitBroker(url, names, **options)
    try:
        yield broker
    finally:
        broker.close()
    # Not after a failure: the server may be away, and that would hide the failure.
    with plain_channel(url) as channel:
        for name in (*broker._declared, names.dead):
            channel.queue_delete(name)


@contextmanager
def plain_channel(url: str) -> Iterator[BlockingChannel]:
    """What somebody else may do to our queues."""
    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        yield connection.channel()


def declared(
    broker: Broker, max_messages: int = 1000, max_bytes: int = 10**6, single_consumer: bool = False
) -> str:
    name = f"test.{uuid.uuid4().hex}"
    broker.declare(name, max_messages, max_bytes, single_consumer)
    return name


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + LONG_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def bodies(consumer: Consumer, count: int) -> list[bytes]:
    """Receive and acknowledge ``count`` messages."""
    result = []
    for _ in range(count):
        delivery = consumer.receive(LONG_S)
        assert delivery is not None
        consumer.ack(delivery)
        result.append(delivery.body)
    return result


def buried(broker: Broker, queue: str, *published: bytes) -> None:
    """Publish to ``queue`` and reject all that is in it."""
    for body in published:
        broker.publish(queue, body)
    waiting, before = broker.depth(queue), broker.dead_letter_count()
    consumer = broker.consumer([queue], 1)
    for _ in range(waiting):
        delivery = consumer.receive(LONG_S)
        assert delivery is not None
        consumer.reject(delivery, "test")
    consumer.close()
    assert eventually(lambda: broker.dead_letter_count() == before + waiting)
