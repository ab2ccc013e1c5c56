"""How our queues look in RabbitMQ, the dead letters among them: valid on 3.10 and on 4.x alike."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pika
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection

from dials_async.messaging.broker import MAX_DEAD_LETTER_BYTES, MAX_DEAD_LETTERS, DeadLetter, QueueNames

DEAD_EXCHANGE = "dials.dead"

#: A queue that nobody has used for so long goes: its run was forgotten, or goes on in another life.
EXPIRES_MS = 7 * 24 * 3600 * 1000

#: Dead letters wait for somebody who reads them.
DEAD_EXPIRES_MS = 28 * 24 * 3600 * 1000

#: A dead letter is read by a person: the start of it says what it was.
MAX_DEAD_BODY_BYTES = 1024 * 1024

#: The headers of a message have to fit in one frame of 128 KiB.
MAX_REASON = 4000

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


def transient(headers: Mapping[str, Any] | None = None) -> pika.BasicProperties:
    """Not written to disk: it can all be made again, and costs the broker a quarter."""
    return pika.BasicProperties(delivery_mode=1, headers=headers)


def dead_letter_headers(letter: DeadLetter) -> dict[str, Any]:
    """What AMQP has no place for in the message itself."""
    reason = letter.reason[:MAX_REASON].encode("utf-8", "replace").decode("utf-8")
    return {_QUEUE: letter.queue, _REASON: reason, _BYTES: len(letter.body)}


def read_dead_letters(connection: BlockingConnection, queue: str) -> list[DeadLetter]:
    """All dead letters in ``queue``, oldest first; they stay."""
    channel = connection.channel()
    declare_dead(channel, queue)
    letters: list[DeadLetter] = []
    while len(letters) < MAX_DEAD_LETTERS:
        method, properties, body = channel.basic_get(queue, auto_ack=False)
        if method is None:
            break
        letters.append(_letter(body, properties.headers or {}))
    channel.close()  # gives all of them back, to where they were
    return letters


def _letter(body: bytes, headers: Mapping[str, Any]) -> DeadLetter:
    if _QUEUE in headers:
        return DeadLetter(str(headers[_QUEUE]), body, str(headers.get(_REASON, "")))
    # The broker put it there: somebody else's consumer rejected it without a word.
    deaths = headers.get("x-death") or [{}]
    return DeadLetter(str(deaths[0].get("queue", "")), body, str(deaths[0].get("reason", "")))
