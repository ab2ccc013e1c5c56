"""One output of a supervised child on its way to ours."""

import os
import select
from typing import IO

from dials_async.logs import Stamp, message_of

_BUFFER_BYTES = 64 * 1024
_PIECE_BYTES = select.PIPE_BUF  # a pipe that polls as writable takes so much without blocking, in one piece
_TAIL_BYTES = 8 * 1024


class ChildOutput:
    """One output of the child on its way to ours: whole lines, a bounded buffer, no waiting."""

    def __init__(self, target: int, stamp: Stamp | None = None) -> None:
        """``target`` is the file to write to; lines get ``stamp``, unless they have one."""
        self.target = target
        self._stamp = stamp
        self._half = b""  # a line whose end has not come, where lines are stamped
        self._source: IO[bytes] | None = None
        self._pending = bytearray()
        self._tail = b""
        self._broken = False

    def open(self, source: IO[bytes] | None) -> None:
        """Take over what comes from ``source``: a new life of the child."""
        self._source, self._tail = source, b""

    def close(self) -> None:
        """Its life is over."""
        if self._source:
            self._source.close()
            self._source = None
            self._take(b"\n" if self._half else b"")
            if self._stamp is None and self._tail[-1:] not in (b"", b"\n"):
                self._pending += b"\n"  # or the next line would continue this one

    def wants(self) -> list[int]:
        """The file to read, if there is room: a slow reader slows the child, as it would without us."""
        return [self._source.fileno()] if self._source and len(self._pending) < _BUFFER_BYTES else []

    def read(self, source: int) -> None:
        """Take over what the child wrote; only when there is something, or it has ended."""
        if data := os.read(source, _BUFFER_BYTES):
            self._tail = (self._tail + data)[-_TAIL_BYTES:]
            self._take(data)
        else:
            self.close()

    def _take(self, data: bytes) -> None:
        if self._stamp is None:
            self._pending += data
            return
        *lines, self._half = (self._half + data).split(b"\n")
        if len(self._half) >= _BUFFER_BYTES:  # too long to wait for its end
            lines, self._half = [*lines, self._half], b""
        for line in lines:
            if line.strip():
                self._pending += self._stamp.once(line.decode("utf-8", "replace")).encode() + b"\n"

    def piece(self) -> int:
        """Bytes to write next: whole lines, or a part of a line too long to wait for its end."""
        size = self._pending.rfind(b"\n", 0, _PIECE_BYTES) + 1
        return _PIECE_BYTES if not size and len(self._pending) >= _PIECE_BYTES else size

    def write(self) -> None:
        """Pass on as much as is taken without blocking."""
        # Asked anew for each piece: both streams may lead to one pipe.
        while (size := self.piece()) and (self._broken or select.select([], [self.target], [], 0)[1]):
            try:
                del self._pending[: size if self._broken else os.write(self.target, self._pending[:size])]
            except BlockingIOError:
                break
            except OSError:
                self._broken = True  # nobody reads it any more; the child must not notice

    def say(self, line: str) -> None:
        """Add a line of our own, before any half line of the child."""
        line = line if self._stamp is None else self._stamp.line(line)
        start = self._pending.rfind(b"\n") + 1
        self._pending[start:start] = line.encode("utf-8", "replace") + b"\n"

    def last_line(self) -> str:
        """The last line of this life that is not empty, or ''; at most 300 characters."""
        last = (self._tail.decode("utf-8", "replace").strip().splitlines() or [""])[-1]
        return "".join(c if c.isprintable() else " " for c in message_of(last)[:300]).strip()
