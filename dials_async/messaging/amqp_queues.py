"""How our queues look in RabbitMQ, the dead letters among them: valid on 3.10 and on 4.x alike."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pika
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection

from dials_async.messaging.broker import MAX_DEAD_LETTER_BYTES, MAX_DEAD_LETTERS, DeadLetter

DEAD_EXCHANGE = "dials.dead"

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


def dead_queue(run: str) -> str:
    """The queue of the rejected messages of a run."""
    return f"dials.{run}.dead"


def declare(channel: BlockingChannel, queue: str, declaration: Declaration, run: str) -> None:
    """Declare ``queue``. Raises pika's AMQPChannelError if it exists and differs."""
    arguments: dict[str, Any] = {
        "x-max-length": declaration.max_messages,
        "x-max-length-bytes": declaration.max_bytes,
        "x-overflow": "reject-publish",
        # A safety net: our own rejects publish the reason too, which this cannot.
        "x-dead-letter-exchange": DEAD_EXCHANGE,
        "x-dead-letter-routing-key": dead_queue(run),
    }
    if declaration.single_consumer:
        arguments["x-single-active-consumer"] = True
    channel.queue_declare(queue, durable=True, arguments=arguments)


def declare_all(connection: BlockingConnection, queues: Mapping[str, Declaration], run: str) -> None:
    """Declare the dead letters of ``run`` and ``queues``."""
    channel = connection.channel()
    declare_dead(channel, run)
    for queue, declaration in queues.items():
        declare(channel, queue, declaration, run)
    channel.close()


def declare_dead(channel: BlockingChannel, run: str) -> None:
    """Declare where the rejected messages of ``run`` go."""
    channel.exchange_declare(DEAD_EXCHANGE, "direct", durable=True)
    name = dead_queue(run)
    arguments = {
        "x-max-length": MAX_DEAD_LETTERS,
        "x-max-length-bytes": MAX_DEAD_LETTER_BYTES,
        "x-overflow": "drop-head",
    }
    channel.queue_declare(name, durable=True, arguments=arguments)
    channel.queue_bind(name, DEAD_EXCHANGE, routing_key=name)


def transient(headers: Mapping[str, Any] | None = None) -> pika.BasicProperties:
    """Not written to disk: it can all be made again, and costs the broker a quarter."""
    return pika.BasicProperties(delivery_mode=1, headers=headers)


def dead_letter_headers(letter: DeadLetter) -> dict[str, Any]:
    """What AMQP has no place for in the message itself."""
    reason = letter.reason[:MAX_REASON].encode("utf-8", "replace").decode("utf-8")
    return {_QUEUE: letter.queue, _REASON: reason, _BYTES: len(letter.body)}


def read_dead_letters(connection: BlockingConnection, run: str) -> list[DeadLetter]:
    """All dead letters of ``run``, oldest first; they stay."""
    channel = connection.channel()
    letters: list[DeadLetter] = []
    while len(letters) < MAX_DEAD_LETTERS:
        method, properties, body = channel.basic_get(dead_queue(run), auto_ack=False)
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
