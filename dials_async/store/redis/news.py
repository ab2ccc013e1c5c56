"""Waiting for changes of a store in Redis: a thread that listens, so that those who wait need no network."""

import threading
from contextlib import suppress
from typing import Any

from dials_async.store.redis.link import RedisLink
from dials_async.store.redis.packing import unpack_number

#: Seconds of silence after which the listener looks at the counter itself: the price of a lost message, and
#: of a server where this user may not subscribe.
_POLL_S = 1.0

#: Seconds that ``close`` waits for the thread, which looks up after _POLL_S.
_JOIN_S = 2.0


class News:
    """The number of changes of a run as far as it is known here, and those who wait for it to change."""

    def __init__(self, link: RedisLink, counter: str, channel: str) -> None:
        """``counter`` is a key that every change counts up; its value is published on ``channel``."""
        self._link = link
        self._counter = counter
        self._channel = channel
        self._changes: int = link.call(self._count)
        self._changed = threading.Condition()  # its lock guards _changes
        self._seen = threading.local()  # .changes at this thread's last wait
        self._thread = threading.Thread(target=self._listen, name="store news", daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float) -> bool:
        """See Store.wait. Raises StoreError once the link is closed."""
        self._link.require_open()
        with self._changed:
            seen = getattr(self._seen, "changes", 0)
            closed = self._link.closed.is_set
            self._changed.wait_for(lambda: self._changes != seen or closed(), timeout_s)
            changed = self._changes != seen
            self._seen.changes = self._changes
        self._link.require_open()
        return changed

    def note(self, changes: int) -> None:
        """There are that many now. Messages may arrive late: what is less is old."""
        with self._changed:
            if changes > self._changes:
                self._changes = changes
                self._changed.notify_all()

    def close(self) -> None:
        """End the thread and all waits; the link must be closed before. Twice is allowed."""
        with self._changed:
            self._changed.notify_all()
        self._thread.join(_JOIN_S)

    def _count(self, client: Any) -> int:
        return unpack_number(self._counter, client.get(self._counter) or b"0")

    def _listen(self) -> None:
        while not self._link.closed.is_set():
            # Whatever goes wrong here, also in the middle of closing: it costs a hint, never a run.
            with suppress(Exception), self._link.client.pubsub(ignore_subscribe_messages=True) as channel:
                channel.subscribe(self._channel)
                while not self._link.closed.is_set():
                    # None after _POLL_S, and once the subscription stands: what came before it is not missed.
                    message = channel.get_message(timeout=_POLL_S)
                    self.note(int(message["data"]) if message else self._count(self._link.client))
            if not self._link.closed.wait(_POLL_S):
                with suppress(Exception):
                    self._look_after_outage()

    def _look_after_outage(self) -> None:
        """A server that came back without its last changes counts them anew, from less than is known here."""
        changes = self._count(self._link.client)
        with self._changed:
            if changes != self._changes:
                self._changes = changes
                self._changed.notify_all()
