"""Messages between a simulator's process and the one that uses it: four bytes of length and a msgpack map.

The process itself waits for its next request however long. Who uses it does not wait for ever, whatever state
the process is in: it may be stopped in the middle of a message.
"""

import os
import select
import time
from collections.abc import Mapping
from typing import Any, BinaryIO

import msgpack

Message = dict[str, Any]

#: Bytes of the length before each message.
LENGTH_BYTES = 4

#: Bytes that are read at once: what a pipe holds.
_CHUNK_BYTES = 1 << 16


def _pack(message: Mapping[str, Any]) -> bytes:
    body: bytes = msgpack.packb(message)
    return len(body).to_bytes(LENGTH_BYTES, "little") + body


def write_message(pipe: BinaryIO, message: Mapping[str, Any]) -> None:
    """Send one message."""
    pipe.write(_pack(message))
    pipe.flush()


def read_message(pipe: BinaryIO) -> Message | None:
    """The next message; None at the end."""
    head = pipe.read(LENGTH_BYTES)
    if len(head) < LENGTH_BYTES:
        return None
    length = int.from_bytes(head, "little")
    body = pipe.read(length)
    if len(body) < length:
        return None
    message: Message = msgpack.unpackb(body)
    return message


def send_within(file: int, message: Mapping[str, Any], timeout_s: float) -> None:
    """Send one message through the descriptor ``file``, which must not block.

    Raises TimeoutError, BrokenPipeError.
    """
    rest, deadline = memoryview(_pack(message)), time.monotonic() + timeout_s
    while rest:
        try:
            rest = rest[os.write(file, rest) :]
        except BlockingIOError:
            _wait(file, select.POLLOUT, deadline)


def receive_within(file: int, timeout_s: float) -> Message | None:
    """The next message from the descriptor ``file``, and the only one there; None at the end.

    Raises TimeoutError.
    """
    deadline = time.monotonic() + timeout_s
    found, length = bytearray(), LENGTH_BYTES
    while len(found) < length:
        _wait(file, select.POLLIN, deadline)
        piece = os.read(file, _CHUNK_BYTES)  # as a rule all of it
        if not piece:
            return None
        found += piece
        if len(found) >= LENGTH_BYTES:
            length = LENGTH_BYTES + int.from_bytes(found[:LENGTH_BYTES], "little")
    message: Message = msgpack.unpackb(memoryview(found)[LENGTH_BYTES:])
    return message


def _wait(file: int, event: int, deadline: float) -> None:
    # Not select.select: a run of many processes and queues has descriptors beyond the 1,024 that it knows.
    poll = select.poll()
    poll.register(file, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError
