"""The consumers of a RabbitMQ broker object: one channel each on their common connection."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.exceptions import AMQPChannelError

from dials_async.errors import BrokerError
from dials_async.messaging.broker import DeadLetter, Delivery
from dials_async.messaging.rabbitmq.connect import refusal
from dials_async.messaging.rabbitmq.link import FIRST_PAUSE_S, LAST_PAUSE_S, LOOK_S, Link, Outage

logger = logging.getLogger("dials_async.messaging")

#: Seconds that ``close`` waits for the broker to have taken back what was in flight.
CLOSE_S = 1.0

#: What fits in the field.
MAX_PREFETCH = 65_535


class _Arrived(NamedTuple):
    channel: BlockingChannel
    tag: int  # the channel's own
    queue: str
    body: bytes
    redelivered: bool


class RabbitConsumer:
    """Implements the Consumer protocol: its channel lives on the link's thread, its buffer between the two.

    The broker counts prefetch for each queue, since RabbitMQ 4 has no other way; over all queues ``receive``
    counts. So up to ``prefetch`` messages of every queue wait in the buffer.
    """

    def __init__(
        self,
        link: Link,
        queues: Sequence[str],
        prefetch: int,
        tags: Iterator[int],
        bury: Callable[[DeadLetter], None],
    ) -> None:
        self.queues = tuple(dict.fromkeys(queues))
        self.interruptions = 0
        self._link = link
        self._prefetch = prefetch
        self._tags = tags
        self._bury = bury
        self._changed = threading.Condition()
        self._buffer: deque[_Arrived] = deque()
        self._in_flight: dict[int, _Arrived] = {}
        # Tags that a lost connection took back: as many as were in flight then, and few connections are lost.
        self._taken_back: set[int] = set()
        self._closed = ""  # why
        self._channel: BlockingChannel | None = None
        self._outage: Outage | None = None
        self._cancelled = False
        self._was_up = False
        self._pause_s = FIRST_PAUSE_S
        self._next_try = 0.0

    def receive(self, timeout_s: float) -> Delivery | None:
        """See Consumer. Raises BrokerError too when patience with a lost connection is over."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                self._require_open()
                outage = self._outage
                if outage is not None and self._link.patience.is_over(outage.since):
                    raise BrokerError((self._link.outage or outage).cause)
                delivery = self._take()
                remaining = deadline - time.monotonic()
                if delivery is not None or remaining <= 0:
                    return delivery
                self._changed.wait(remaining if outage is None else min(remaining, LOOK_S))

    def ack(self, delivery: Delivery) -> None:
        """See Consumer."""
        with self._changed:
            held = self._held(delivery)
            self._in_flight.pop(delivery.tag, None)
            self._taken_back.discard(delivery.tag)
        if held is not None:
            self._link.post(partial(_ack, held))

    def reject(self, delivery: Delivery, reason: str) -> None:
        """See Consumer. Its copy is in the dead letters before the broker forgets the original."""
        with self._changed:
            held = self._held(delivery)
        if held is not None:
            self._bury(DeadLetter(delivery.queue, delivery.body, reason, time.time(), len(delivery.body)))
        self.ack(delivery)

    def close(self) -> None:
        """See Consumer. Never raises: a dead connection gives back by itself."""
        if self.end("the consumer is closed"):
            self._link.post(self.detach, CLOSE_S)

    def end(self, why: str) -> bool:
        """Refuse everything from now on, and wake who waits; False if that was so already."""
        with self._changed:
            if self._closed:
                return False
            self._closed = why
            self._buffer.clear()
            self._in_flight.clear()
            self._changed.notify_all()
            return True

    @property
    def ended(self) -> bool:
        """Whether it is closed."""
        return bool(self._closed)

    def _take(self) -> Delivery | None:
        if len(self._in_flight) >= self._prefetch or not self._buffer:
            return None
        # First come, first served: a queue has at most ``prefetch`` messages in the buffer, so none starves.
        arrived = self._buffer.popleft()
        delivery = Delivery(arrived.body, arrived.queue, next(self._tags), arrived.redelivered)
        self._in_flight[delivery.tag] = arrived
        return delivery

    def _held(self, delivery: Delivery) -> _Arrived | None:
        """What is in flight under this tag; None if a lost connection took it back."""
        self._require_open()
        if delivery.tag in self._taken_back:
            return None
        if delivery.tag not in self._in_flight:
            raise BrokerError(f"delivery {delivery.tag} of queue {delivery.queue} is not in flight here")
        return self._in_flight[delivery.tag]

    def _require_open(self) -> None:
        if self._closed:
            raise BrokerError(self._closed)

    # Below: on the link's thread.

    def attach(self, connection: BlockingConnection) -> None:
        """Consume on ``connection``. Raises pika's AMQPChannelError if a queue is missing or refused."""
        channel = connection.channel()
        # Per consumer, that is per queue: RabbitMQ 4 deprecates counting over a channel.
        channel.basic_qos(prefetch_count=min(self._prefetch, MAX_PREFETCH), global_qos=False)
        channel.add_on_cancel_callback(self._on_cancel)
        self._cancelled = False
        for queue in self.queues:
            channel.basic_consume(queue, partial(self._on_message, channel, queue))
        with self._changed:
            self._channel = channel
            self._outage = None
            self.interruptions += self._was_up
            self._was_up = True
            self._pause_s = FIRST_PAUSE_S
            self._changed.notify_all()

    def detach(self, _connection: BlockingConnection | None = None) -> None:
        """Close the channel: the broker then gives back what was in flight."""
        channel, self._channel = self._channel, None
        if channel is not None and channel.is_open:
            channel.close()

    def interrupt(self, cause: str) -> None:
        """Its channel is lost: forget what came by it; the broker delivers all of it again."""
        with self._changed:
            self._channel = None
            self._buffer.clear()
            self._taken_back |= self._in_flight.keys()
            self._in_flight.clear()
            self._outage = self._outage or Outage(time.monotonic(), cause)
            self._changed.notify_all()

    def look_after(
        self, connection: BlockingConnection, declare: Callable[[BlockingConnection], None]
    ) -> None:
        """Notice that the broker closed the channel or cancelled a queue, and consume again after a pause."""
        channel = self._channel
        if channel is not None and channel.is_open and not self._cancelled:
            return
        if channel is not None:
            logger.warning("RabbitMQ ended the consumer of %s; consuming again", ", ".join(self.queues))
            self.detach()
            self.interrupt(f"RabbitMQ ended the consumer of {', '.join(self.queues)}")
        if time.monotonic() < self._next_try:
            return
        try:
            declare(connection)
            self.attach(connection)
        except AMQPChannelError as error:
            cause = f"cannot consume {', '.join(self.queues)}: {refusal(error)}"
            with self._changed:
                self._outage = Outage(self._outage.since if self._outage else time.monotonic(), cause)
            self._next_try = time.monotonic() + self._pause_s
            self._pause_s = min(LAST_PAUSE_S, self._pause_s * 2)

    def _on_message(
        self, channel: BlockingChannel, queue: str, _: BlockingChannel, method: Any, __: Any, body: bytes
    ) -> None:
        with self._changed:
            if channel is self._channel and not self._closed:
                self._buffer.append(_Arrived(channel, method.delivery_tag, queue, body, method.redelivered))
                self._changed.notify()

    def _on_cancel(self, _: Any) -> None:
        self._cancelled = True


class Consumers:
    """The tenant of the consuming connection: all consumers of one broker object."""

    def __init__(self, declare: Callable[[BlockingConnection], None]) -> None:
        self._declare = declare
        self._consumers: list[RabbitConsumer] = []  # used on the link's thread only

    def add(self, consumer: RabbitConsumer, connection: BlockingConnection) -> None:
        """Serve ``consumer`` from now on. Raises as ``attach``."""
        consumer.attach(connection)
        if consumer not in self._consumers:
            self._consumers.append(consumer)

    def came_up(self, connection: BlockingConnection) -> None:
        """See Tenant: queues first, for the broker may have come back without its data."""
        if self._consumers:
            self._declare(connection)
        self.turn(connection)

    def turn(self, connection: BlockingConnection) -> None:
        """See Tenant."""
        for consumer in self._consumers.copy():
            if consumer.ended:
                consumer.detach()
                self._consumers.remove(consumer)
            else:
                consumer.look_after(connection, self._declare)

    def went_down(self, cause: str) -> None:
        """See Tenant."""
        for consumer in self._consumers:
            consumer.interrupt(cause)


def _ack(arrived: _Arrived, _connection: BlockingConnection) -> None:
    if arrived.channel.is_open:  # else the broker delivers it again, and who receives it drops it
        arrived.channel.basic_ack(arrived.tag)
