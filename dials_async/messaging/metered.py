"""A broker that counts what passes through it: wraps any broker, changes nothing else."""

from collections.abc import Sequence

from dials_async.errors import QueueFullError
from dials_async.messaging.broker import (
    KINDS_OF_QUEUES,
    MAX_QUEUE_BYTES,
    Broker,
    Consumer,
    DeadLetter,
    Delivery,
    Requeued,
    kind_of_queue,
)
from dials_async.metrics.instruments import Metrics


class MeteredBroker:
    """Implements the Broker protocol by another broker."""

    def __init__(self, broker: Broker, metrics: Metrics) -> None:
        self._broker = broker
        self._metrics = metrics
        for kind in KINDS_OF_QUEUES:  # from 0 on: a rate has to see the first one
            metrics.dead_lettered.labels(kind)

    def declare(
        self,
        queue: str,
        max_messages: int,
        max_bytes: int = MAX_QUEUE_BYTES,
        single_consumer: bool = False,
    ) -> None:
        """See Broker."""
        self._broker.declare(queue, max_messages, max_bytes, single_consumer)

    def delete(self, queue: str) -> None:
        """See Broker."""
        self._broker.delete(queue)

    def publish(self, queue: str, body: bytes) -> None:
        """See Broker."""
        kind = kind_of_queue(queue)
        try:
            self._broker.publish(queue, body)
        except QueueFullError:
            self._metrics.refused.labels(kind).inc()
            raise
        self._metrics.published.labels(kind).inc()
        self._metrics.published_bytes.labels(kind).inc(len(body))

    def consumer(self, queues: Sequence[str], prefetch: int) -> Consumer:
        """See Broker."""
        return _MeteredConsumer(self._broker.consumer(queues, prefetch), self._metrics)

    def depth(self, queue: str) -> int:
        """See Broker."""
        return self._broker.depth(queue)

    def dead_letters(self) -> list[DeadLetter]:
        """See Broker."""
        return self._broker.dead_letters()

    def dead_letter_count(self) -> int:
        """See Broker."""
        return self._broker.dead_letter_count()

    def requeue_dead_letters(self) -> Requeued:
        """See Broker."""
        return self._broker.requeue_dead_letters()

    def drop_dead_letters(self) -> int:
        """See Broker."""
        return self._broker.drop_dead_letters()

    @property
    def connected(self) -> bool:
        """See Broker."""
        return self._broker.connected

    @property
    def reconnects(self) -> int:
        """See Broker."""
        return self._broker.reconnects

    @property
    def refusal(self) -> str | None:
        """See Broker."""
        return self._broker.refusal

    def close(self) -> None:
        """See Broker."""
        self._broker.close()


class _MeteredConsumer:
    """Implements the Consumer protocol by another consumer."""

    def __init__(self, consumer: Consumer, metrics: Metrics) -> None:
        self._consumer = consumer
        self._metrics = metrics

    def receive(self, timeout_s: float) -> Delivery | None:
        """See Consumer."""
        delivery = self._consumer.receive(timeout_s)
        if delivery is not None:
            kind = kind_of_queue(delivery.queue)
            self._metrics.received.labels(kind).inc()
            self._metrics.received_bytes.labels(kind).inc(len(delivery.body))
        return delivery

    def ack(self, delivery: Delivery) -> None:
        """See Consumer."""
        self._consumer.ack(delivery)

    def reject(self, delivery: Delivery, reason: str) -> None:
        """See Consumer."""
        self._consumer.reject(delivery, reason)
        self._metrics.dead_lettered.labels(kind_of_queue(delivery.queue)).inc()

    @property
    def interruptions(self) -> int:
        """See Consumer."""
        return self._consumer.interruptions

    def close(self) -> None:
        """See Consumer."""
        self._consumer.close()
