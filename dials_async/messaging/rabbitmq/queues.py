"""How our queues look in RabbitMQ, the dead letters among them: valid on 3.10 and on 4.x alike."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import pika
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.exceptions import NackError, UnroutableError

from dials_async.messaging.broker import (
    CUT,
    FULL,
    MAX_DEAD_LETTER_BYTES,
    MAX_DEAD_LETTERS,
    NO_QUEUE,
    DeadLetter,
    QueueNames,
)

DEAD_EXCHANGE = "dials.dead"

#: A queue that nobody has used for so long goes: its run was forgotten, or goes on in another life.
EXPIRES_MS = 7 * 24 * 3600 * 1000

#: Dead letters wait for somebody who reads them.
DEAD_EXPIRES_MS = 28 * 24 * 3600 * 1000

#: A dead letter is read by a person: the start of it says what it was.
MAX_DEAD_BODY_BYTES = 1024 * 1024

#: The headers of a message have to fit in one frame of 128 KiB.
MAX_REASON = 4000

_TRANSIENT = 1

#: Not written to disk: it can all be made again, and costs the broker a quarter.
TRANSIENT = pika.BasicProperties(delivery_mode=_TRANSIENT)

_QUEUE, _REASON, _BYTES = "dials-queue", "dials-reason", "dials-bytes"


class Declaration(NamedTuple):
    """What a queue was declared with."""

    max_messages: int
    max_bytes: int
    single_consumer: bool


def declare(channel: BlockingChannel, queue: str, declaration: Declaration, names: QueueNames) -> None:
    """Declare ``queue``. Raises pika's AMQPChannelError if it exists and differs."""
    arguments: dict[str, Any] = {
        "x-max-length": declaration.max_messages,
        "x-max-length-bytes": declaration.max_bytes,
        "x-overflow": "reject-publish",
        # A safety net: our own rejects publish the reason too, which this cannot.
        "x-dead-letter-exchange": DEAD_EXCHANGE,
        "x-dead-letter-routing-key": names.dead,
        "x-expires": EXPIRES_MS,
    }
    if declaration.single_consumer:
        arguments["x-single-active-consumer"] = True
    channel.queue_declare(queue, durable=True, arguments=arguments)


def declare_all(connection: BlockingConnection, queues: Mapping[str, Declaration], names: QueueNames) -> None:
    """Declare ``queues`` and the one of dead letters."""
    channel = connection.channel()
    declare_dead(channel, names.dead)
    for queue, declaration in queues.items():
        declare(channel, queue, declaration, names)
    channel.close()


def declare_dead(channel: BlockingChannel, queue: str) -> int:
    """Declare where the rejected messages of a run go; how many are there."""
    channel.exchange_declare(DEAD_EXCHANGE, "direct", durable=True)
    arguments = {
        "x-max-length": MAX_DEAD_LETTERS,
        "x-max-length-bytes": MAX_DEAD_LETTER_BYTES,
        "x-overflow": "drop-head",
        "x-expires": DEAD_EXPIRES_MS,
    }
    count: int = channel.queue_declare(queue, durable=True, arguments=arguments).method.message_count
    channel.queue_bind(queue, DEAD_EXCHANGE, routing_key=queue)
    return count


def dead_letter_properties(letter: DeadLetter) -> pika.BasicProperties:
    """What AMQP has no place for in the message itself."""
    reason = letter.reason[:MAX_REASON].encode("utf-8", "replace").decode("utf-8")
    headers = {_QUEUE: letter.queue, _REASON: reason, _BYTES: letter.n_bytes}
    return pika.BasicProperties(delivery_mode=_TRANSIENT, headers=headers, timestamp=int(letter.at))


def read_dead_letters(connection: BlockingConnection, queue: str) -> list[DeadLetter]:
    """All dead letters in ``queue``, oldest first; they stay."""
    channel = connection.channel()
    declare_dead(channel, queue)
    letters: list[DeadLetter] = []
    while len(letters) < MAX_DEAD_LETTERS:
        method, properties, body = channel.basic_get(queue, auto_ack=False)
        if method is None:
            break
        letters.append(_letter(body, properties))
    channel.close()  # gives all of them back, to where they were
    return letters


def requeue_dead_letters(
    connection: BlockingConnection, queue: str, known: Collection[str], publishes: Callable[[str], None]
) -> Counter[str]:
    """Publish the dead letters in ``queue`` to where they came from, if that is ``known``; oldest first.

    ``publishes`` is told the queue of each that RabbitMQ has there. Returns how many stay, by the reason why.
    """
    channel = connection.channel()
    channel.confirm_delivery()
    left: Counter[str] = Counter()
    for _ in range(declare_dead(channel, queue)):  # not for ever: what is bad still will be back at once
        method, properties, body = channel.basic_get(queue, auto_ack=False)
        if method is None:
            break
        letter = _letter(body, properties)
        why = _try_again(channel, letter, known)
        if why:
            left[why] += 1
            continue
        publishes(letter.queue)
        channel.basic_ack(method.delivery_tag)
    channel.close()  # gives the others back, to where they were
    return left


def drop_dead_letters(channel: BlockingChannel, queue: str) -> int:
    """Delete the dead letters in ``queue``; how many."""
    declare_dead(channel, queue)
    count: int = channel.queue_purge(queue).method.message_count
    return count


def _try_again(channel: BlockingChannel, letter: DeadLetter, known: Collection[str]) -> str:
    """Publish ``letter`` to its queue on a ``channel`` that confirms; why not, or ""."""
    if letter.queue not in known:  # else who forges a header has us write to any queue
        return NO_QUEUE
    if len(letter.body) != letter.n_bytes:
        return CUT
    try:
        channel.basic_publish("", letter.queue, letter.body, TRANSIENT, mandatory=True)
    except UnroutableError:
        return NO_QUEUE
    except NackError:
        return FULL
    return ""


def _letter(body: bytes, properties: pika.BasicProperties) -> DeadLetter:
    headers: Mapping[str, Any] = properties.headers or {}
    if _QUEUE in headers:
        at, n_bytes = properties.timestamp or 0, headers.get(_BYTES)
        known = n_bytes if type(n_bytes) is int and n_bytes >= len(body) else len(body)
        return DeadLetter(str(headers[_QUEUE]), body, str(headers.get(_REASON, "")), float(at), known)
    # The broker put it there: somebody else's consumer rejected it without a word.
    deaths = headers.get("x-death")
    death = deaths[0] if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict) else {}
    when = death.get("time")
    at = when.timestamp() if isinstance(when, datetime) else 0.0
    return DeadLetter(str(death.get("queue", "")), body, str(death.get("reason", "")), at, len(body))
