"""What the contract tests of brokers and consumers share."""

import time
import uuid
from collections.abc import Callable

from dials_async.messaging.broker import Broker, Consumer

LONG_S = 10.0  # never reached by a test that passes
SHORT_S = 0.05


def declared(broker: Broker, max_messages: int = 1000, max_bytes: int = 10**6) -> str:
    name = f"test.{uuid.uuid4().hex}"
    broker.declare(name, max_messages, max_bytes)
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
