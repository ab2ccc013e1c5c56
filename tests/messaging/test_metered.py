"""The broker that counts: what passes through it is what is counted, and nothing is changed on the way."""

import pytest

from dials_async.errors import QueueFullError
from dials_async.messaging.broker import QueueNames, kind_of_queue
from dials_async.messaging.memory import MemoryBroker
from dials_async.messaging.metered import MeteredBroker
from dials_async.metrics.instruments import Metrics

QUEUE = QueueNames("a.tasks.rollout", "8e0c").experience(3)


def counted(metrics: Metrics) -> dict[str, float]:
    return {
        sample.name.removeprefix("dials_messages_").removesuffix("_total"): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if family.name.startswith("dials_messages") and sample.labels["queue"] == "experience"
    }


def test_messages_and_bytes_are_counted_in_both_directions_dead_letters_and_refusals_too() -> None:
    metrics = Metrics()
    broker = MeteredBroker(MemoryBroker(), metrics)
    assert counted(metrics) == {"dead_lettered": 0}  # a rate has to see the first one
    broker.declare(QUEUE, max_messages=2)
    broker.publish(QUEUE, b"12345")
    broker.publish(QUEUE, b"678")
    with pytest.raises(QueueFullError):
        broker.publish(QUEUE, b"9")
    consumer = broker.consumer([QUEUE], prefetch=1)
    first = consumer.receive(0.0)
    assert first is not None
    assert first.body == b"12345"
    assert consumer.receive(0.0) is None  # no credit: nothing came, nothing is counted
    consumer.reject(first, "malformed")
    second = consumer.receive(0.0)
    assert second is not None
    consumer.ack(second)
    assert counted(metrics) == {
        "published": 2,
        "published_bytes": 8,
        "refused": 1,
        "received": 2,
        "received_bytes": 8,
        "dead_lettered": 1,
    }
    assert [letter.reason for letter in broker.dead_letters()] == ["malformed"]


@pytest.mark.parametrize("run", ["city", "a.tasks.gs", "tasks.rollout"])
def test_the_kind_of_a_queue_is_told_whatever_the_run_is_called(run: str) -> None:
    names = QueueNames(run, "8e0c")
    assert kind_of_queue(names.rollout_tasks) == "rollout_tasks"
    assert kind_of_queue(names.gs_tasks) == "gs_tasks"
    assert kind_of_queue(names.experience(12)) == "experience"
