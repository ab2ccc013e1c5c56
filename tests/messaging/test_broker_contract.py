"""What every broker does with its queues.

Brokers behind a network may count late and hand messages to a consumer's buffer ahead of ``receive``: hence
``eventually``, and no test that counts ready messages while a consumer has prefetch to spare.
"""

import time
import uuid

import pytest

from dials_async.errors import BrokerError, QueueFullError
from dials_async.messaging.broker import FULL, NO_QUEUE, Broker, QueueNames
from dials_async.messaging.envelope import MAX_MESSAGE_BYTES

from .helpers import LONG_S, SHORT_S, bodies, buried, declared, eventually


def test_queue_names_are_those_of_the_design() -> None:
    names = QueueNames("r", "8e0c")
    assert names.rollout_tasks == "dials.r.8e0c.tasks.rollout"
    assert names.gs_tasks == "dials.r.8e0c.tasks.gs"
    assert names.experience(7) == "dials.r.8e0c.experience.7"
    assert names.dead == "dials.r.8e0c.dead"
    assert names._replace(life="0").dead != names.dead


def test_messages_arrive_in_the_order_they_were_published(broker: Broker, queue: str) -> None:
    for number in range(5):
        broker.publish(queue, bytes([number]))
    first = broker.consumer([queue], 5)
    delivery = first.receive(LONG_S)
    assert delivery is not None
    assert (delivery.body, delivery.queue, delivery.redelivered) == (b"\0", queue, False)
    first.ack(delivery)
    assert bodies(first, 4) == [b"\1", b"\2", b"\3", b"\4"]


def test_publishing_to_a_queue_that_was_never_declared_fails(broker: Broker) -> None:
    name = f"test.{uuid.uuid4().hex}"
    with pytest.raises(BrokerError) as caught:
        broker.publish(name, b"x")
    assert not isinstance(caught.value, QueueFullError)
    for request in (broker.depth, lambda queue: broker.consumer([queue], 1)):
        with pytest.raises(BrokerError):
            request(name)


def test_a_full_queue_refuses_until_a_message_is_handed_out(broker: Broker) -> None:
    # Given a full queue
    queue = declared(broker, max_messages=2)
    broker.publish(queue, b"a")
    broker.publish(queue, b"b")
    with pytest.raises(QueueFullError):
        broker.publish(queue, b"c")
    # When one message is in flight
    consumer = broker.consumer([queue], 1)
    assert consumer.receive(LONG_S) is not None
    # Then there is room for one, and what was refused is not there
    broker.publish(queue, b"d")
    consumer.close()
    assert bodies(broker.consumer([queue], 3), 3) == [b"a", b"b", b"d"]


def test_a_queue_is_bounded_in_bytes_too(broker: Broker) -> None:
    queue = declared(broker, max_bytes=1000)
    broker.publish(queue, bytes(600))
    broker.publish(queue, bytes(400))
    with pytest.raises(QueueFullError):
        broker.publish(queue, bytes(600))
    assert broker.depth(queue) == 2
    bodies(broker.consumer([queue], 2), 2)
    broker.publish(queue, bytes(600))


def test_a_message_beyond_the_limit_is_refused(broker: Broker) -> None:
    queue = declared(broker, max_bytes=2**30)
    with pytest.raises(BrokerError, match="limit"):
        broker.publish(queue, bytes(MAX_MESSAGE_BYTES + 1))


def test_declaring_again_keeps_the_messages_and_other_bounds_are_refused(broker: Broker) -> None:
    queue = declared(broker, 10, 1000)
    broker.publish(queue, b"a")
    broker.declare(queue, 10, 1000)
    assert broker.depth(queue) == 1
    with pytest.raises(BrokerError):
        broker.declare(queue, 11, 1000)
    with pytest.raises(BrokerError):
        broker.declare(queue, 10, 1000, single_consumer=True)
    assert broker.depth(queue) == 1
    broker.declare(queue, 10, 1000)


def test_what_was_acknowledged_never_comes_back(broker: Broker, queue: str) -> None:
    broker.publish(queue, b"a")
    consumer = broker.consumer([queue], 1)
    bodies(consumer, 1)
    consumer.close()
    assert eventually(lambda: broker.depth(queue) == 0)
    assert broker.consumer([queue], 1).receive(SHORT_S) is None


def test_what_was_not_acknowledged_goes_back_to_the_front_in_the_old_order(
    broker: Broker, queue: str
) -> None:
    # Given a consumer that holds a, c, d and has acknowledged b
    for body in (b"a", b"b", b"c", b"d", b"e"):
        broker.publish(queue, body)
    consumer = broker.consumer([queue], 4)
    held = [consumer.receive(LONG_S) for _ in range(4)]
    assert held[1] is not None
    consumer.ack(held[1])
    # When it ends, by close or crash
    consumer.close()
    # Then they come first, in order, and marked
    again = broker.consumer([queue], 4)
    deliveries = [again.receive(LONG_S) for _ in range(4)]
    assert [d.body for d in deliveries if d] == [b"a", b"c", b"d", b"e"]
    assert [d.redelivered for d in deliveries if d][:3] == [True, True, True]


def test_the_old_order_holds_when_several_consumers_end(broker: Broker, queue: str) -> None:
    for body in (b"a", b"b", b"c", b"d"):
        broker.publish(queue, body)
    consumers = []
    for _ in range(3):
        consumers.append(broker.consumer([queue], 1))
        assert consumers[-1].receive(LONG_S) is not None
    for which in (2, 0, 1):
        consumers[which].close()
    assert eventually(lambda: broker.depth(queue) == 4)
    assert bodies(broker.consumer([queue], 4), 4) == [b"a", b"b", b"c", b"d"]


def test_a_rejected_message_becomes_a_dead_letter_with_its_reason(broker: Broker, queue: str) -> None:
    began = time.time()
    broker.publish(queue, b"poison")
    consumer = broker.consumer([queue], 1)
    delivery = consumer.receive(LONG_S)
    assert delivery is not None
    consumer.reject(delivery, "rewards: a number is not finite")
    consumer.close()
    assert eventually(lambda: len(broker.dead_letters()) == 1)
    assert broker.consumer([queue], 1).receive(SHORT_S) is None
    (letter,) = broker.dead_letters()  # reading leaves them there
    assert letter[:3] == (queue, b"poison", "rewards: a number is not finite")
    assert letter.n_bytes == 6
    assert began - 1 <= letter.at <= time.time()  # a broker may keep whole seconds


def test_a_deleted_queue_is_gone_with_its_messages(broker: Broker, queue: str) -> None:
    broker.publish(queue, b"a")
    broker.delete(queue)
    broker.delete(queue)  # unknown by now
    with pytest.raises(BrokerError):
        broker.publish(queue, b"b")
    broker.declare(queue, 5, 500)
    assert broker.depth(queue) == 0
    broker.publish(queue, b"c")
    assert bodies(broker.consumer([queue], 1), 1) == [b"c"]


def test_dead_letters_are_counted(broker: Broker, queue: str) -> None:
    before = broker.dead_letter_count()
    for number in range(3):
        broker.publish(queue, bytes([number]))
    consumer = broker.consumer([queue], 1)
    for _ in range(2):
        delivery = consumer.receive(LONG_S)
        assert delivery is not None
        consumer.reject(delivery, "test")
    assert eventually(lambda: broker.dead_letter_count() == before + 2)
    assert [letter.body for letter in broker.dead_letters()][-2:] == [b"\0", b"\1"]
    assert broker.reconnects == 0


def test_requeued_dead_letters_come_again_once_in_the_old_order(broker: Broker, queue: str) -> None:
    # Given dead letters of two queues, and a message that came meanwhile
    other = declared(broker)
    buried(broker, queue, b"a", b"b")
    buried(broker, other, b"c")
    broker.publish(queue, b"new")
    # When they are requeued, twice
    assert broker.requeue_dead_letters() == (3, {})
    assert broker.requeue_dead_letters() == (0, {})
    # Then each queue has its own again, behind what waited there, and nothing is left
    assert broker.dead_letter_count() == 0
    assert bodies(broker.consumer([queue], 3), 3) == [b"new", b"a", b"b"]
    assert bodies(broker.consumer([other], 1), 1) == [b"c"]
    assert broker.consumer([queue, other], 9).receive(SHORT_S) is None


def test_what_is_rejected_again_at_once_does_not_keep_requeueing_busy(broker: Broker, queue: str) -> None:
    buried(broker, queue, b"a", b"b")
    assert broker.requeue_dead_letters().published == 2
    buried(broker, queue)
    assert eventually(lambda: broker.dead_letter_count() == 2)
    assert [letter.body for letter in broker.dead_letters()] == [b"a", b"b"]


def test_dead_letters_without_a_place_to_go_to_stay(broker: Broker) -> None:
    # Given a queue with room for one, and one that is gone
    small, gone = declared(broker, max_messages=1), declared(broker)
    buried(broker, gone, b"x")
    for body in (b"a", b"b", b"c"):
        buried(broker, small, body)
    broker.delete(gone)
    # Then as many as fit go back, and the others stay in their order
    assert broker.requeue_dead_letters() == (1, {NO_QUEUE: 1, FULL: 2})
    assert bodies(broker.consumer([small], 1), 1) == [b"a"]
    assert eventually(lambda: [letter.body for letter in broker.dead_letters()] == [b"x", b"b", b"c"])


def test_dropped_dead_letters_are_gone_and_the_queues_are_as_they_were(broker: Broker, queue: str) -> None:
    buried(broker, queue, b"a", b"b")
    broker.publish(queue, b"c")
    assert broker.drop_dead_letters() == 2
    assert broker.drop_dead_letters() == 0
    assert broker.dead_letters() == []
    buried(broker, queue)  # the next one is kept again
    assert eventually(lambda: [letter.body for letter in broker.dead_letters()] == [b"c"])
