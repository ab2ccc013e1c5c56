"""The broker port: bounded queues with acknowledgement, as RabbitMQ offers them and memory imitates them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

#: Bytes of ready messages in one queue. Credits keep queues far shorter; this is the safety net.
MAX_QUEUE_BYTES = 256 * 1024 * 1024

#: Dead letters are for a person to read: the newest are enough.
MAX_DEAD_LETTERS = 1000
MAX_DEAD_LETTER_BYTES = 64 * 1024 * 1024


class QueueNames(NamedTuple):
    """What the queues of a run are called. Its life is in the names: two runs of one name never meet."""

    run: str
    life: str

    @property
    def rollout_tasks(self) -> str:
        """The queue of IALS rollout tasks; its depth is the signal to scale workers on."""
        return f"dials.{self.run}.{self.life}.tasks.rollout"

    @property
    def gs_tasks(self) -> str:
        """The queue of joint episodes of the GS, for training on it."""
        return f"dials.{self.run}.{self.life}.tasks.gs"

    @property
    def dead(self) -> str:
        """The queue of rejected messages."""
        return f"dials.{self.run}.{self.life}.dead"

    def experience(self, agent: int) -> str:
        """The queue of one agent's experience."""
        return f"dials.{self.run}.{self.life}.experience.{agent}"


#: What ``kind_of_queue`` may say.
KINDS_OF_QUEUES = ("rollout_tasks", "gs_tasks", "experience")


def kind_of_queue(queue: str) -> str:
    """What is in ``queue``: "rollout_tasks", "gs_tasks" or "experience"; names of runs may hold dots."""
    if queue.endswith(".tasks.rollout"):
        return "rollout_tasks"
    return "gs_tasks" if queue.endswith(".tasks.gs") else "experience"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message in the hands of one consumer until it is acknowledged or rejected."""

    body: bytes
    queue: str
    tag: int
    redelivered: bool
    """It was handed out before and not acknowledged: its work may have been done already."""


class DeadLetter(NamedTuple):
    """A rejected message and why it was rejected. Nothing of it is checked: anybody may have made it."""

    queue: str
    """Where it came from."""
    body: bytes
    """All of it, or its beginning: a broker may cut what is long."""
    reason: str
    at: float
    """When it was rejected, Unix time in seconds by the clock of who did; 0.0: not known."""
    n_bytes: int
    """Of the message as it was."""


class Requeued(NamedTuple):
    """What became of the dead letters that were to go back to their queues."""

    published: int
    left: Mapping[str, int]
    """Of those that stay: how many, by the reason why."""


#: Why a dead letter stays one.
NO_QUEUE, CUT, FULL = (
    "the queue that it came from is none of this run",
    "only its beginning was kept",
    "its queue is full",
)


class Consumer(Protocol):
    """Takes messages from its queues; used by one thread. Once closed, all but close raise BrokerError."""

    def receive(self, timeout_s: float) -> Delivery | None:
        """The next message, or None if there is none within ``timeout_s``.

        Serves its queues in publish order or in turn, so that none starves. Returns None as well while
        ``prefetch`` deliveries are neither acknowledged nor rejected.
        """
        ...

    # A delivery that a lost connection took back is redelivered; settling it does nothing.

    def ack(self, delivery: Delivery) -> None:
        """Done with it: the broker forgets it. Raises BrokerError if it is not in flight here."""
        ...

    def reject(self, delivery: Delivery, reason: str) -> None:
        """Move it to the dead letters for good. Raises BrokerError if it is not in flight here."""
        ...

    @property
    def interruptions(self) -> int:
        """How often its connection was lost and is there again: messages may have been lost with it.

        Counted once it is there again, so what is published after a look at a new count is not lost by it.
        """
        ...

    def close(self) -> None:
        """Give what is in flight back to the front of its queue, in the old order. Twice is allowed."""
        ...


class Broker(Protocol):
    """Named queues; used by many threads. Once closed, all but close raise BrokerError."""

    def declare(
        self,
        queue: str,
        max_messages: int,
        max_bytes: int = MAX_QUEUE_BYTES,
        single_consumer: bool = False,
    ) -> None:
        """Make ``queue`` exist; the bounds count ready messages, not those in flight.

        With ``single_consumer`` one consumer of the queue is served at a time, the one that came first; when
        it ends, the next takes over. Declaring again alike does nothing. Raises BrokerError if it differs.
        """
        ...

    def delete(self, queue: str) -> None:
        """Remove ``queue`` and what is in it; one that does not exist is ignored.

        Close its consumers before: what an open one gets until the queue is declared again is not defined.
        """
        ...

    def publish(self, queue: str, body: bytes) -> None:
        """Put ``body`` at the end of ``queue``; on return the broker has it.

        Raises QueueFullError if the queue is full, BrokerError if it was never declared or ``body`` is longer
        than MAX_MESSAGE_BYTES.
        """
        ...

    def consumer(self, queues: Sequence[str], prefetch: int) -> Consumer:
        """A consumer of ``queues`` that holds at most ``prefetch`` unacknowledged messages over all of them.

        A learner that acks after its commit needs at least the messages of one update, or it waits forever.
        Raises BrokerError if a queue was never declared.
        """
        ...

    def depth(self, queue: str) -> int:
        """Ready messages: published, not in flight. Raises BrokerError if it was never declared."""
        ...

    def dead_letters(self) -> list[DeadLetter]:
        """The newest rejected messages, oldest first; they stay. A broker may cut a long body."""
        ...

    def dead_letter_count(self) -> int:
        """How many dead letters there are; cheap."""
        ...

    def requeue_dead_letters(self) -> Requeued:
        """Put each back at the end of the queue that it came from, if that was declared here; oldest first.

        It ceases to be a dead letter once that queue has it. Those that come meanwhile are not looked at.
        """
        ...

    def drop_dead_letters(self) -> int:
        """Delete all that are there; how many."""
        ...

    @property
    def connected(self) -> bool:
        """Whether there is a connection to the broker now; answers at once."""
        ...

    @property
    def reconnects(self) -> int:
        """How often a connection to the broker was lost and is there again."""
        ...

    @property
    def refusal(self) -> str | None:
        """Why calls wait although the broker is there, in few words; None if they do not."""
        ...

    def close(self) -> None:
        """End all consumers; those that wait raise BrokerError. Closing twice is allowed."""
        ...
