"""The broker of an embedded run: the broker port for the threads of one process, nothing outside it."""

import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from dials_async.errors import BrokerError, QueueFullError
from dials_async.messaging.broker import (
    FULL,
    MAX_DEAD_LETTER_BYTES,
    MAX_DEAD_LETTERS,
    MAX_QUEUE_BYTES,
    NO_QUEUE,
    DeadLetter,
    Delivery,
    Requeued,
)
from dials_async.messaging.envelope import MAX_MESSAGE_BYTES


@dataclass(frozen=True, slots=True)
class _Message:
    sequence: int  # over the whole broker: publish order also between queues
    body: bytes
    redelivered: bool = False


@dataclass(slots=True)
class _Queue:
    max_messages: int
    max_bytes: int
    single_consumer: bool
    ready: deque[_Message] = field(default_factory=deque)
    ready_bytes: int = 0
    consumers: list["MemoryConsumer"] = field(default_factory=list)

    def give_back(self, messages: Iterable[_Message]) -> None:
        """To where they were. Consumers of one queue may end in any order, so the front is not enough."""
        again = [_Message(m.sequence, m.body, redelivered=True) for m in messages]
        self.ready = deque(sorted([*again, *self.ready], key=lambda m: m.sequence))
        self.ready_bytes += sum(len(m.body) for m in again)
        self.wake()

    def serves(self, consumer: "MemoryConsumer") -> bool:
        return not self.single_consumer or self.consumers[0] is consumer

    def wake(self) -> None:
        # All of them: a single one might be out of credit or about to time out, and the wake-up be lost.
        for consumer in self.consumers:
            consumer.changed.notify()


class MemoryBroker:
    """Implements the Broker protocol; one lock guards everything, since calls only move references."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.dead: deque[DeadLetter] = deque()
        self.closed = False
        self._dead_bytes = 0
        self._queues: dict[str, _Queue] = {}
        self._sequence = 0
        self._tag = 0

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
        with self.lock:
            self.require_open()
            asked = (max_messages, max_bytes, single_consumer)
            known = self._queues.setdefault(queue, _Queue(*asked))
            if (known.max_messages, known.max_bytes, known.single_consumer) != asked:
                raise BrokerError(f"queue {queue} is declared already, with other bounds or single_consumer")

    def delete(self, queue: str) -> None:
        """See Broker."""
        with self.lock:
            self.require_open()
            gone = self._queues.pop(queue, None)
            if gone is not None:  # its consumers still hold it, and find nothing in it
                gone.ready.clear()
                gone.ready_bytes = 0

    def publish(self, queue: str, body: bytes) -> None:
        """See Broker."""
        if len(body) > MAX_MESSAGE_BYTES:
            raise BrokerError(f"queue {queue}: message of {len(body)} bytes, limit {MAX_MESSAGE_BYTES}")
        with self.lock:
            self.require_open()
            self._put(queue, body)

    def consumer(self, queues: Sequence[str], prefetch: int) -> "MemoryConsumer":
        """See Broker."""
        if prefetch < 1 or not queues:
            raise BrokerError(f"a consumer needs queues and a positive prefetch, got {queues}, {prefetch}")
        with self.lock:
            self.require_open()
            consumer = MemoryConsumer(self, {name: self.queue(name) for name in queues}, prefetch)
            for name in dict.fromkeys(queues):
                self.queue(name).consumers.append(consumer)
            return consumer

    def depth(self, queue: str) -> int:
        """See Broker."""
        with self.lock:
            self.require_open()
            return len(self.queue(queue).ready)

    def dead_letters(self) -> list[DeadLetter]:
        """See Broker."""
        with self.lock:
            self.require_open()
            return list(self.dead)

    def dead_letter_count(self) -> int:
        """See Broker."""
        with self.lock:
            self.require_open()
            return len(self.dead)

    def requeue_dead_letters(self) -> Requeued:
        """See Broker."""
        left: Counter[str] = Counter()
        with self.lock:
            self.require_open()
            letters = self._take_dead_letters()
            for letter in letters:
                try:
                    self._put(letter.queue, letter.body)
                except BrokerError as error:
                    left[FULL if isinstance(error, QueueFullError) else NO_QUEUE] += 1
                    self.bury(letter)
        return Requeued(len(letters) - left.total(), left)

    def drop_dead_letters(self) -> int:
        """See Broker."""
        with self.lock:
            self.require_open()
            return len(self._take_dead_letters())

    @property
    def connected(self) -> bool:
        """See Broker: always, until it is closed."""
        return not self.closed

    @property
    def reconnects(self) -> int:
        """See Broker: nothing to lose."""
        return 0

    @property
    def refusal(self) -> str | None:
        """See Broker."""
        return None

    def close(self) -> None:
        """See Broker."""
        with self.lock:
            self.closed = True
            for queue in self._queues.values():
                queue.wake()

    # Below: for MemoryConsumer, with the lock held.

    def require_open(self) -> None:
        """Raise BrokerError once the broker is closed."""
        if self.closed:
            raise BrokerError("the broker is closed")

    def queue(self, name: str) -> _Queue:
        """The queue ``name``; BrokerError if it was never declared."""
        if name not in self._queues:
            raise BrokerError(f"queue {name} was never declared")
        return self._queues[name]

    def next_tag(self) -> int:
        """A new delivery tag, unique in this broker."""
        self._tag += 1
        return self._tag

    def bury(self, letter: DeadLetter) -> None:
        """Keep ``letter`` among the dead letters; the oldest make room."""
        self.dead.append(letter)
        self._dead_bytes += len(letter.body)
        while len(self.dead) > MAX_DEAD_LETTERS or self._dead_bytes > MAX_DEAD_LETTER_BYTES:
            self._dead_bytes -= len(self.dead.popleft().body)

    def _take_dead_letters(self) -> list[DeadLetter]:
        taken = list(self.dead)
        self.dead.clear()
        self._dead_bytes = 0
        return taken

    def _put(self, queue: str, body: bytes) -> None:
        target = self.queue(queue)
        full = len(target.ready) >= target.max_messages
        if full or target.ready_bytes + len(body) > target.max_bytes:
            raise QueueFullError(f"queue {queue} is full: {len(target.ready)} messages wait")
        self._sequence += 1
        target.ready.append(_Message(self._sequence, body))
        target.ready_bytes += len(body)
        target.wake()


class MemoryConsumer:
    """Implements the Consumer protocol for MemoryBroker."""

    def __init__(self, broker: MemoryBroker, queues: dict[str, _Queue], prefetch: int) -> None:
        # One condition a consumer, on the broker's lock: a publish wakes the consumers of that queue alone.
        self.changed = threading.Condition(broker.lock)
        self._broker = broker
        self._queues = queues
        self._prefetch = prefetch
        self._in_flight: dict[int, tuple[Delivery, _Message]] = {}
        self._closed = False

    def receive(self, timeout_s: float) -> Delivery | None:
        """See Consumer."""
        deadline = time.monotonic() + timeout_s
        with self._broker.lock:
            while True:
                self._require_open()
                delivery = self._take()
                remaining = deadline - time.monotonic()
                if delivery is not None or remaining <= 0:
                    return delivery
                self.changed.wait(remaining)

    def ack(self, delivery: Delivery) -> None:
        """See Consumer."""
        with self._broker.lock:
            self._settle(delivery)

    def reject(self, delivery: Delivery, reason: str) -> None:
        """See Consumer."""
        with self._broker.lock:
            self._settle(delivery)
            letter = DeadLetter(delivery.queue, delivery.body, reason, time.time(), len(delivery.body))
            self._broker.bury(letter)

    @property
    def interruptions(self) -> int:
        """See Consumer: there is no connection to lose."""
        return 0

    def close(self) -> None:
        """See Consumer."""
        with self._broker.lock:
            if self._closed:
                return
            self._closed = True
            for name, queue in self._queues.items():
                queue.consumers.remove(self)
                held = [message for delivery, message in self._in_flight.values() if delivery.queue == name]
                # Even if none: a queue of a single consumer is the next one's now.
                queue.give_back(held)
            self._in_flight.clear()
            self.changed.notify()

    def _take(self) -> Delivery | None:
        if len(self._in_flight) >= self._prefetch:
            return None
        heads = [
            (queue.ready[0].sequence, name)
            for name, queue in self._queues.items()
            if queue.ready and queue.serves(self)
        ]
        if not heads:
            return None
        # Oldest message first over all queues: none starves, and no queue needs a turn of its own.
        _, name = min(heads)
        queue = self._queues[name]
        message = queue.ready.popleft()
        queue.ready_bytes -= len(message.body)
        delivery = Delivery(message.body, name, self._broker.next_tag(), message.redelivered)
        self._in_flight[delivery.tag] = (delivery, message)
        return delivery

    def _settle(self, delivery: Delivery) -> None:
        self._require_open()
        # Tags are unique in the broker, so one of another consumer is not found here either.
        if self._in_flight.pop(delivery.tag, None) is None:
            raise BrokerError(f"delivery {delivery.tag} of queue {delivery.queue} is not in flight here")

    def _require_open(self) -> None:
        self._broker.require_open()
        if self._closed:
            raise BrokerError("the consumer is closed")
