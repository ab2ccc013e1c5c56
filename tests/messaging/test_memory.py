"""What is true of the memory broker alone."""

from contextlib import closing

import pytest

from dials_async.errors import BrokerError
from dials_async.messaging.broker import MAX_DEAD_LETTERS, Broker, Consumer
from dials_async.messaging.memory import MemoryBroker


def test_the_memory_broker_has_the_shape_of_the_port() -> None:
    broker: Broker = MemoryBroker()
    broker.declare("q", 1)
    consumer: Consumer = broker.consumer(["q"], 1)
    consumer.close()
    broker.close()


def test_the_oldest_dead_letters_make_room() -> None:
    broker = MemoryBroker()
    broker.declare("q", 10)
    with closing(broker.consumer(["q"], 1)) as consumer:
        for number in range(MAX_DEAD_LETTERS + 3):
            broker.publish("q", str(number).encode())
            delivery = consumer.receive(0.0)
            assert delivery is not None
            consumer.reject(delivery, "test")
    letters = broker.dead_letters()
    assert len(letters) == MAX_DEAD_LETTERS
    assert (letters[0].body, letters[-1].body) == (b"3", str(MAX_DEAD_LETTERS + 2).encode())


def test_dead_letters_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dials_async.messaging.memory.MAX_DEAD_LETTER_BYTES", 250)
    broker = MemoryBroker()
    broker.declare("q", 10)
    consumer = broker.consumer(["q"], 1)
    for _ in range(5):
        broker.publish("q", bytes(100))
        delivery = consumer.receive(0.0)
        assert delivery is not None
        consumer.reject(delivery, "test")
    assert len(broker.dead_letters()) == 2


@pytest.mark.parametrize(("queues", "prefetch"), [([], 1), (["q"], 0)])
def test_a_consumer_that_could_never_receive_is_refused(queues: list[str], prefetch: int) -> None:
    broker = MemoryBroker()
    broker.declare("q", 1)
    with pytest.raises(BrokerError, match="prefetch"):
        broker.consumer(queues, prefetch)


def test_a_queue_without_room_is_refused() -> None:
    with pytest.raises(BrokerError, match="positive"):
        MemoryBroker().declare("q", 0)
