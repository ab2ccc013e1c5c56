"""The broker of a distributed run: the broker port on RabbitMQ, which may go away and come back."""

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from pika import BasicProperties
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.exceptions import AMQPChannelError, ChannelClosedByBroker, NackError

from dials_async.errors import BrokerError, QueueFullError
from dials_async.messaging.broker import MAX_QUEUE_BYTES, DeadLetter, QueueNames, Requeued
from dials_async.messaging.envelope import MAX_MESSAGE_BYTES
from dials_async.messaging.rabbitmq import queues
from dials_async.messaging.rabbitmq.connect import (
    ACCESS_REFUSED,
    HEARTBEAT_S,
    PRECONDITION_FAILED,
    Address,
    is_missing,
    refusal,
)
from dials_async.messaging.rabbitmq.consumer import Consumers, RabbitConsumer
from dials_async.messaging.rabbitmq.link import CLOSED, Link, Patience, close_links
from dials_async.messaging.rabbitmq.queues import Declaration

Result = TypeVar("Result")

#: Seconds before something that a recovering broker refused is tried again.
RETRY_S = 0.2

#: Also for who connects first while a broker still brings its queues up.
DECLARE_TRIES = 5


class RabbitBroker:
    """Implements the Broker protocol.

    While RabbitMQ is away calls wait until it is back, at most ``patience_s`` seconds, and not once
    ``give_up`` is set or the broker is closed: then BrokerError says why. What is published while a
    connection is being lost may arrive twice.
    """

    def __init__(
        self,
        url: str,
        names: QueueNames,
        patience_s: float = 600.0,
        give_up: threading.Event | None = None,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        """Connect at once; raises BrokerError, in one line without the password, if that fails."""
        self._names = names
        self._lock = threading.Lock()
        self._declared: dict[str, Declaration] = {}
        self._open_consumers: set[RabbitConsumer] = set()
        self._tags = itertools.count(1)
        self._started_consuming = self._closed = False
        address = Address(url, heartbeat_s)
        patience = Patience(patience_s, give_up or threading.Event())
        self._channels = _Channels(self._declare_all)
        self._publishing = Link(address, self._channels, "publishing", patience)
        self._consumers = Consumers(self._declare_all)
        # Of its own: a broker short of memory stops reading from publishers, and acks have to get through.
        self._consuming = Link(address, self._consumers, "consuming", patience)
        self._publishing.start_now()

    def declare(
        self,
        queue: str,
        max_messages: int,
        max_bytes: int = MAX_QUEUE_BYTES,
        single_consumer: bool = False,
    ) -> None:
        """See Broker."""
        if min(max_messages, max_bytes) < 1:
            raise BrokerError(f"queue {queue}: bounds must be positive, got {max_messages}, {max_bytes}")
        declaration = Declaration(max_messages, max_bytes, single_consumer)
        self._settled(
            self._publishing,
            queue,
            lambda connection: queues.declare(
                self._channels.plain(connection), queue, declaration, self._names
            ),
            tries=DECLARE_TRIES,
        )
        with self._lock:
            self._declared[queue] = declaration

    def delete(self, queue: str) -> None:
        """See Broker."""
        with self._lock:  # first, or a reconnect in between would bring it back
            self._declared.pop(queue, None)
        self._administer(queue, lambda channel: channel.queue_delete(queue))

    def publish(self, queue: str, body: bytes) -> None:
        """See Broker."""
        if len(body) > MAX_MESSAGE_BYTES:
            raise BrokerError(f"queue {queue}: message of {len(body)} bytes, limit {MAX_MESSAGE_BYTES}")
        self._publish("", queue, body, queues.TRANSIENT)

    def consumer(self, queues: Sequence[str], prefetch: int) -> RabbitConsumer:
        """See Broker."""
        if prefetch < 1 or not queues:
            raise BrokerError(f"a consumer needs queues and a positive prefetch, got {queues}, {prefetch}")
        with self._lock:
            if not self._started_consuming:
                self._started_consuming = True
                self._consuming.start()
        consumer = RabbitConsumer(self._consuming, queues, prefetch, self._tags, self._bury)
        try:
            self._settled(
                self._consuming,
                ", ".join(consumer.queues),
                lambda connection: self._consumers.add(consumer, connection),
            )
        except BaseException:
            consumer.close()
            raise
        with self._lock:
            self._open_consumers = {known for known in self._open_consumers if not known.ended} | {consumer}
            if self._closed:  # meanwhile
                consumer.end(CLOSED)
        return consumer

    def depth(self, queue: str) -> int:
        """See Broker."""
        count: int = self._administer(
            queue, lambda channel: channel.queue_declare(queue, passive=True).method.message_count
        )
        return count

    def dead_letters(self) -> list[DeadLetter]:
        """See Broker: of a long body the first MAX_DEAD_BODY_BYTES. Who reads at the same time sees fewer."""
        return self._settled(
            self._publishing,
            self._names.dead,
            lambda connection: queues.read_dead_letters(connection, self._names.dead),
        )

    def dead_letter_count(self) -> int:
        """See Broker."""
        queue = self._names.dead
        return self._administer(queue, lambda channel: queues.declare_dead(channel, queue))

    def requeue_dead_letters(self) -> Requeued:
        """See Broker. If the connection is lost in between, what was published last may go there twice."""
        with self._lock:
            known = frozenset(self._declared)
        published: list[str] = []  # to which queues; in an attempt that a lost connection ended, too
        left = self._settled(
            self._publishing,
            self._names.dead,
            lambda connection: queues.requeue_dead_letters(
                connection, self._names.dead, known, published.append
            ),
        )
        return Requeued(len(published), left)

    def drop_dead_letters(self) -> int:
        """See Broker: but not those that somebody reads at the moment."""
        queue = self._names.dead
        return self._administer(queue, lambda channel: queues.drop_dead_letters(channel, queue))

    @property
    def connected(self) -> bool:
        """See Broker: both connections, the second one once something is consumed."""
        links = (self._publishing, self._consuming) if self._started_consuming else (self._publishing,)
        return all(link.outage is None for link in links)

    @property
    def reconnects(self) -> int:
        """See Broker: of both connections together."""
        return self._publishing.reconnects + self._consuming.reconnects

    @property
    def refusal(self) -> str | None:
        """See Broker: its alarm, of memory or disk. It still delivers, and takes acknowledgements."""
        return self._publishing.alarm.reason

    def close(self) -> None:
        """See Broker. Takes 2 s at most, even if RabbitMQ does not answer."""
        self._publishing.hang_up()
        self._consuming.hang_up()
        with self._lock:
            self._closed = True
            for consumer in self._open_consumers:
                consumer.end(CLOSED)
        close_links(self._publishing, self._consuming)

    def _declare_all(self, connection: BlockingConnection) -> None:
        with self._lock:
            declared = dict(self._declared)
        queues.declare_all(connection, declared, self._names)

    def _bury(self, letter: DeadLetter) -> None:
        body = letter.body[: queues.MAX_DEAD_BODY_BYTES]
        properties = queues.dead_letter_properties(letter)
        queue = self._names.dead
        # Somebody who has read them may have deleted the queue: that must not end who rejects the next one.
        self._administer(queue, lambda channel: queues.declare_dead(channel, queue))
        self._publish(queues.DEAD_EXCHANGE, queue, body, properties)

    def _publish(self, exchange: str, key: str, body: bytes, properties: BasicProperties) -> None:
        def publish(connection: BlockingConnection) -> None:
            channel = self._channels.confirming(connection)
            channel.basic_publish(exchange, key, body, properties, mandatory=True)

        try:
            self._settled(self._publishing, key, publish)
        except NackError:
            raise QueueFullError(f"queue {key} is full") from None

    def _administer(self, queue: str, job: Callable[[BlockingChannel], Result]) -> Result:
        return self._settled(
            self._publishing, queue, lambda connection: job(self._channels.plain(connection))
        )

    def _settled(
        self, link: Link, queue: str, job: Callable[[BlockingConnection], Result], tries: int = 1
    ) -> Result:
        """Run ``job`` and say in one line what was refused; what may be there in a moment is tried again."""
        while True:
            try:
                return link.call(job)
            except NackError:
                raise
            except AMQPChannelError as error:
                tries -= 1
                code = error.reply_code if isinstance(error, ChannelClosedByBroker) else 0
                for_good = code in (ACCESS_REFUSED, PRECONDITION_FAILED)
                if not for_good and (link.recovering or tries > 0) and link.pause(RETRY_S):
                    continue
                if is_missing(error):
                    raise BrokerError(f"queue {queue} was never declared ({refusal(error)})") from None
                if code == PRECONDITION_FAILED:
                    raise BrokerError(
                        f"queue {queue} is declared already, differently: {refusal(error)}"
                    ) from None
                raise BrokerError(f"queue {queue}: RabbitMQ refuses: {refusal(error)}") from None


class _Channels:
    """The tenant of the publishing connection; its methods are for the link's thread."""

    def __init__(self, declare: Callable[[BlockingConnection], None]) -> None:
        self._declare = declare
        self._plain: BlockingChannel | None = None
        self._confirming: BlockingChannel | None = None

    def plain(self, connection: BlockingConnection) -> BlockingChannel:
        """For administration; the broker closes a channel with every refusal."""
        if self._plain is None or not self._plain.is_open:
            self._plain = connection.channel()
        return self._plain

    def confirming(self, connection: BlockingConnection) -> BlockingChannel:
        """On which a publish returns once the broker has the message."""
        if self._confirming is None or not self._confirming.is_open:
            self._confirming = connection.channel()
            self._confirming.confirm_delivery()
        return self._confirming

    def came_up(self, connection: BlockingConnection) -> None:
        """See Tenant: the broker may have come back without its data."""
        self._declare(connection)

    def turn(self, connection: BlockingConnection) -> None:
        """See Tenant."""

    def went_down(self, cause: str) -> None:  # noqa: ARG002
        """See Tenant."""
        self._plain = self._confirming = None
