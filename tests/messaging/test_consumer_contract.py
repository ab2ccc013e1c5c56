"""What every consumer does, of whatever broker: prefetch, fairness, waiting, ends and crashes."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from dials_async.errors import BrokerError, QueueFullError
from dials_async.messaging.broker import Broker

from .helpers import LONG_S, NEVER_S, SHORT_S, bodies, declared, eventually


def test_no_more_than_prefetch_messages_are_in_flight_over_all_queues(broker: Broker, queue: str) -> None:
    other = declared(broker)
    for name in (queue, other, queue):
        broker.publish(name, b"x")
    consumer = broker.consumer([queue, other], 2)
    first, second = consumer.receive(LONG_S), consumer.receive(LONG_S)
    assert first is not None
    assert second is not None
    assert consumer.receive(SHORT_S) is None
    consumer.ack(first)
    assert consumer.receive(LONG_S) is not None
    assert consumer.receive(SHORT_S) is None
    consumer.reject(second, "test")
    broker.publish(other, b"x")
    assert consumer.receive(LONG_S) is not None


def test_no_queue_of_a_consumer_starves(broker: Broker, queue: str) -> None:
    # Given a busy queue that is filled again after every message, and one message elsewhere
    quiet = declared(broker)
    for _ in range(10):
        broker.publish(queue, b"busy")
    broker.publish(quiet, b"quiet")
    consumer = broker.consumer([queue, quiet], 1)
    # When as many messages are served as were published before, and a few more
    served = []
    for _ in range(15):
        served += bodies(consumer, 1)
        broker.publish(queue, b"busy")
    # Then the one elsewhere was among them
    assert b"quiet" in served


def test_only_what_is_in_flight_can_be_acknowledged(broker: Broker, queue: str) -> None:
    for _ in range(2):
        broker.publish(queue, b"x")
    one, two = broker.consumer([queue], 1), broker.consumer([queue], 1)
    first, second = one.receive(LONG_S), two.receive(LONG_S)
    assert first is not None
    assert second is not None
    with pytest.raises(BrokerError):
        one.ack(second)
    one.ack(first)
    for again in (one.ack, lambda delivery: one.reject(delivery, "late")):
        with pytest.raises(BrokerError):
            again(first)
    two.close()
    with pytest.raises(BrokerError):
        two.ack(second)
    with pytest.raises(BrokerError):
        two.receive(SHORT_S)
    two.close()


def test_a_waiting_consumer_wakes_when_a_message_is_published(broker: Broker, queue: str) -> None:
    consumer = broker.consumer([declared(broker), queue], 1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(consumer.receive, NEVER_S)
        time.sleep(SHORT_S)
        broker.publish(queue, b"a")
        delivery = waiting.result(LONG_S)
    assert delivery is not None


def test_a_waiting_consumer_gets_what_another_one_gave_back(broker: Broker, queue: str) -> None:
    broker.publish(queue, b"a")
    dying = broker.consumer([queue], 1)
    assert dying.receive(LONG_S) is not None
    heir = broker.consumer([queue], 1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(heir.receive, NEVER_S)
        time.sleep(SHORT_S)
        dying.close()
        delivery = waiting.result(LONG_S)
    assert delivery is not None
    assert delivery.redelivered


def test_receive_returns_none_at_its_timeout(broker: Broker, queue: str) -> None:
    consumer = broker.consumer([queue], 1)
    start = time.monotonic()
    assert consumer.receive(SHORT_S) is None
    assert SHORT_S * 0.9 < time.monotonic() - start < LONG_S
    assert consumer.receive(0.0) is None


def test_closing_the_broker_ends_who_waits_and_refuses_the_rest(broker: Broker, queue: str) -> None:
    consumer = broker.consumer([queue], 1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(consumer.receive, NEVER_S)
        time.sleep(SHORT_S)
        broker.close()
        with pytest.raises(BrokerError):
            waiting.result(LONG_S)
    for request in (lambda: broker.publish(queue, b"x"), lambda: broker.depth(queue), broker.dead_letters):
        with pytest.raises(BrokerError):
            request()
    consumer.close()
    broker.close()


def test_every_message_is_acknowledged_exactly_once_by_consumers_that_crash(broker: Broker) -> None:
    # Given four producers that try again when a small queue is full
    queue, count = declared(broker, max_messages=8), 50
    expected = {f"{producer}/{number}".encode() for producer in range(4) for number in range(count)}
    done: Counter[bytes] = Counter()
    lock, finished = threading.Lock(), threading.Event()

    def produce(producer: int) -> None:
        for number in range(count):
            while True:
                try:
                    broker.publish(queue, f"{producer}/{number}".encode())
                    break
                except QueueFullError:
                    time.sleep(0.001)

    # When three consumers take them, and close after every seventh message without acknowledging it
    def consume() -> None:
        while not finished.is_set():
            with closing(broker.consumer([queue], 3)) as consumer:
                for _ in range(6):
                    delivery = consumer.receive(SHORT_S)
                    if delivery is not None:
                        consumer.ack(delivery)
                        with lock:
                            done[delivery.body] += 1
                consumer.receive(0.0)

    with ThreadPoolExecutor(7) as pool:
        consumers = [pool.submit(consume) for _ in range(3)]
        producers = [pool.submit(produce, producer) for producer in range(4)]
        complete = eventually(lambda: done.keys() >= expected)
        finished.set()
        for future in (*producers, *consumers):
            future.result(LONG_S)
    # Then each was acknowledged once and none is left
    assert complete
    assert done == Counter(expected)
    assert eventually(lambda: broker.depth(queue) == 0)


def test_a_queue_of_a_single_consumer_serves_the_first_until_it_ends(broker: Broker) -> None:
    # Given two consumers of such a queue
    queue = declared(broker, single_consumer=True)
    first, second = broker.consumer([queue], 3), broker.consumer([queue], 10)
    for body in (b"a", b"b", b"c", b"d", b"e"):
        broker.publish(queue, body)
    # Then the first alone is served, even when it is out of prefetch
    held = [first.receive(LONG_S) for _ in range(3)]
    assert [d.body for d in held if d] == [b"a", b"b", b"c"]
    assert second.receive(SHORT_S) is None
    assert held[1] is not None
    first.ack(held[1])
    # When the first ends while the second waits, then that gets everything, in the old order
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(second.receive, NEVER_S)
        time.sleep(SHORT_S)
        first.close()
        deliveries = [waiting.result(LONG_S), *(second.receive(LONG_S) for _ in range(3))]
    assert [d.body for d in deliveries if d] == [b"a", b"c", b"d", b"e"]
    assert deliveries[0] is not None
    assert deliveries[0].redelivered
    assert (first.interruptions, second.interruptions) == (0, 0)


def test_the_second_consumer_takes_over_even_if_nothing_was_in_flight(broker: Broker) -> None:
    queue = declared(broker, single_consumer=True)
    first, second = broker.consumer([queue], 1), broker.consumer([queue], 1)
    first.close()
    broker.publish(queue, b"a")
    assert bodies(second, 1) == [b"a"]
