"""What a daemon says, line by line, with the time: as text for people, or as JSON for programs.

Lines that were stamped once, by the process that wrote them, are passed on as they are.
"""

import io
import json
import logging
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TextIO

TEXT, JSON = "text", "json"
FORMATS = (TEXT, JSON)

_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ")
_OBJECT = '{"time": "'


@dataclass(frozen=True)
class Stamp:
    """Makes the lines of one process."""

    format: str
    """One of FORMATS."""
    run: str
    process: str

    def line(self, message: str, level: str = "info", **more: str) -> str:
        """``message``, a line without its end, as a line with the time (UTC, ISO 8601).

        As JSON also level ("info", "warning", "error"), run, process, and ``more``.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if self.format == TEXT:
            return f"{now} {message}"
        for prefix in (f"{self.process}: ", "dials: "):  # who says it is a field
            message = message.removeprefix(prefix)
        fields = {"time": now, "level": level, "run": self.run, "process": self.process, "message": message}
        return json.dumps(fields | more)

    def once(self, line: str) -> str:
        """``line`` of whoever wrote it, stamped unless it is already."""
        is_stamped = _STAMP.match(line) if self.format == TEXT else _fields(line)
        return line if is_stamped else self.line(line)


def message_of(line: str) -> str:
    """What a line said before it was stamped."""
    fields = _fields(line)
    return (
        str(fields["message"]) if fields else line[match.end() :] if (match := _STAMP.match(line)) else line
    )


@contextmanager
def stamped(stamp: Stamp) -> Iterator[None]:
    """All that this process says as long as the block lasts; in text results on stdout stay as they are."""
    before = sys.stdout, sys.stderr
    err = _Stamped(sys.stderr, stamp)
    handler = _Handler(err, stamp.process)
    logging.getLogger().addHandler(handler)
    sys.stderr = err
    if stamp.format == JSON:
        sys.stdout = _Stamped(sys.stdout, stamp)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, _Stamped):
                stream.end()
        sys.stdout, sys.stderr = before


def report(message: str, kind: str) -> None:
    """Say an error on stderr; ``kind`` is its class, for programs."""
    if isinstance(sys.stderr, _Stamped):
        sys.stderr.say(message, "error", error=kind)
    else:
        print(message, file=sys.stderr, flush=True)


class _Stamped(io.TextIOBase):
    """A stream that stamps each line on its way to another; used by many threads. Never a terminal."""

    def __init__(self, target: TextIO, stamp: Stamp) -> None:
        self._target = target
        self._stamp = stamp
        self._half = ""
        self._lock = threading.RLock()  # a signal handler may print, too

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._target.encoding

    @property
    def errors(self) -> str:  # type: ignore[override]
        return self._target.errors or "strict"

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._target.fileno()

    def write(self, text: str) -> int:
        if not isinstance(text, str):  # who asks whether this takes bytes
            raise TypeError(f"expected text, got {type(text).__name__}")
        with self._lock:
            *lines, self._half = (self._half + text).split("\n")
            for line in lines:
                if line.strip():
                    self._target.write(self._stamp.once(line) + "\n")
        return len(text)

    def flush(self) -> None:
        self._target.flush()

    def say(self, message: str, level: str, **more: str) -> None:
        """A line of a level."""
        with self._lock:
            self._target.write(self._stamp.line(message, level, **more) + "\n")
            self._target.flush()

    def end(self) -> None:
        """Write what has no end yet."""
        with self._lock:
            if self._half:
                self.write("\n")
            self.flush()


class _Handler(logging.Handler):
    """Warnings of the program and its libraries, as lines of their level."""

    def __init__(self, stream: _Stamped, process: str) -> None:
        super().__init__(logging.WARNING)
        self._stream, self._process = stream, process

    def emit(self, record: logging.LogRecord) -> None:
        message = " ".join(self.format(record).splitlines())
        level = "warning" if record.levelno < logging.ERROR else "error"
        self._stream.say(f"{self._process}: {message}", level)


def _fields(line: str) -> dict[str, Any]:
    """The fields of a line of ours, empty if it is none."""
    if not line.startswith(_OBJECT):
        return {}
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and "message" in found else {}
