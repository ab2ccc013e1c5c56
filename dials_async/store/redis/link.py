"""The connection to Redis: one way to call it that outlasts outages, and one clear line when it does not."""

import logging
import random
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    InvalidResponse,
    NoPermissionError,
    RedisError,
)
from redis.retry import Retry

from dials_async.addresses import REDIS_VARIABLE, without_password
from dials_async.errors import StoreError, StoreUnreachableError
from dials_async.store.redis.errors import first_line, may_pass, reason_of, refuses_for_now

logger = logging.getLogger("dials_async.store")

T = TypeVar("T")

#: Seconds that an operation is tried again before it fails: Redis is restarted by hand in less.
PATIENCE_S = 600.0

#: Seconds for one connect and for one answer. A commit of 30 MB takes 0.1 s, 3 s through a slow link.
_CONNECT_S, _ANSWER_S = 5.0, 10.0

#: Seconds between tries: doubled from the first to the second, and spread, so that a hundred workers do not
#: come back at the same moment.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0

#: Seconds after which a waiting call looks at ``give_up`` again.
_LOOK_S = 0.1

#: After 10 s of silence 3 questions, 5 s apart: a link that was cut without a word is noticed in 25 s.
_KEEPALIVE = {
    getattr(socket, name): value
    for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
    if hasattr(socket, name)
}

#: The client reads 64 KB at a time by default: 2.1 ms for 1 MB of weights, 0.3 ms with this.
_READ_BYTES = 2**20


class RedisLink:
    """Used by many threads; its client may be used directly only by who handles outages himself."""

    def __init__(
        self, url: str, patience_s: float = PATIENCE_S, give_up: threading.Event | None = None
    ) -> None:
        """Raises StoreUnreachableError if nothing answers there now, StoreError if it refuses.

        Afterwards, and while it loads its data, calls are tried again for ``patience_s``, unless ``give_up``
        is set.
        """
        self.shown = without_password(url)
        self.closed = threading.Event()
        self.reconnects = 0
        self._patience_s = patience_s
        self._give_up = give_up or threading.Event()
        self._outage = threading.Lock()  # guards the next
        self._gone_since: float | None = None
        self.refusal: str | None = None
        """Why it refuses for now, in few words, while calls wait for that; None else."""
        self._waiting = 0  # calls that are tried again
        try:
            # Any: the types of redis-py allow for an asynchronous answer everywhere.
            self.client: Any = redis.Redis.from_url(
                url,
                protocol=2,
                socket_timeout=_ANSWER_S,
                socket_connect_timeout=_CONNECT_S,
                socket_keepalive=True,
                socket_keepalive_options=_KEEPALIVE,
                socket_read_size=_READ_BYTES,
                retry=Retry(NoBackoff(), 0),  # its own retries know neither give_up nor close
            )
            pool = self.client.connection_pool
            pool.connection_class(**pool.connection_kwargs)  # only now it looks at the options behind '?'
        except (
            ValueError,
            TypeError,
            RedisError,
        ) as error:  # their text may quote what is wrong: the password, say
            raise StoreError(
                f"not a URL of a Redis: {self.shown} ({type(error).__name__}); "
                f"{REDIS_VARIABLE} is redis[s]://user:password@host:port/number"
            ) from None
        try:
            self.call(lambda client: client.ping(), first=True)
        except BaseException:
            self.close()
            raise

    def call(self, operation: Callable[[Any], T], *, first: bool = False) -> T:
        """What ``operation``, given the client, returns. It may be called often: it must be repeatable.

        Raises StoreUnreachableError when Redis is gone for longer than the patience (at the ``first`` call:
        is gone), StoreError when it refuses, or when the wait for it is given up or closed.
        """
        wait = _Wait(self)
        try:
            while True:
                self.require_open()
                try:
                    result = operation(self.client)
                except Exception as error:
                    # A socket that is closed under a call raises about anything.
                    self.require_open()
                    if not isinstance(error, RedisError | OSError):
                        raise
                    self._bear(error, wait, first)
                else:
                    wait.over()
                    return result
        finally:
            wait.given_up()

    def _bear(self, error: RedisError | OSError, wait: "_Wait", first: bool) -> None:
        """Wait until the next try; raises as ``call`` if there is none."""
        if not may_pass(error):
            raise StoreError(self._refusal(error)) from None
        refuses = refuses_for_now(error)
        reason = reason_of(error)
        if first and refuses and not isinstance(error, BusyLoadingError):
            raise StoreUnreachableError(f"Redis at {self.shown} refuses for now: {reason}") from None
        if first and not refuses:
            raise StoreUnreachableError(
                f"cannot reach Redis at {self.shown}: {reason}; is it running? "
                "('dials train' needs no server)"
            ) from None
        wait.begin(refuses, reason)
        if wait.seconds >= self._patience_s:
            raise StoreUnreachableError(
                f"lost Redis at {self.shown}: {reason}, for {wait.seconds:.0f} s; "
                f"{'mend it' if refuses else 'start it again'}, then resume"
            ) from None
        if not self._pause(wait.next_pause_s(), wait.start):
            raise StoreError(f"stopped while waiting for Redis at {self.shown}: {reason}") from None

    def why_not(self, operation: Callable[[Any], object]) -> str | None:
        """Why Redis refuses ``operation`` for now, tried once; None if it was done, or failed otherwise."""
        try:
            operation(self.client)
        except (RedisError, OSError) as error:
            return reason_of(error) if refuses_for_now(error) else None
        return None

    def script(self, text: str) -> Callable[[Sequence[str], Sequence[Any]], Any]:
        """A function of keys and arguments that runs this Lua script by its hash; errors as ``call``."""
        # Typed for one client, but a restarted server has forgotten it: the object then sends the text again.
        script: Script = self.client.register_script(text)

        def run(keys: Sequence[str], arguments: Sequence[Any]) -> Any:
            return self.call(lambda client: script(keys=list(keys), args=arguments, client=client))

        return run

    @property
    def answers(self) -> bool:
        """Whether Redis serves: no call waits for it, and the last one was not given up."""
        return self._gone_since is None

    def require_open(self) -> None:
        """Raises StoreError after ``close``."""
        if self.closed.is_set():
            raise StoreError(f"the connection to Redis at {self.shown} is closed")

    def close(self) -> None:
        """End it, and with an error every call that waits. Twice is allowed."""
        self.closed.set()
        # Also those in use: it shuts their sockets down, which wakes the threads that read from them.
        self.client.connection_pool.disconnect(inuse_connections=True)

    def _pause(self, pause_s: float, start: float) -> bool:
        """Wait, at most until the patience is over; False as soon as the wait is given up."""
        end = min(time.monotonic() + pause_s, start + self._patience_s)
        while (left := end - time.monotonic()) > 0 and not self._give_up.is_set():
            if self.closed.wait(min(left, _LOOK_S)):
                break  # the next try says so
        return not self._give_up.is_set()

    def note_wait(self, refuses: bool, reason: str) -> None:
        """One more call waits. It is said once, not for every thread and try."""
        with self._outage:
            self._waiting += 1
            self.refusal = reason if refuses else None
            if self._gone_since is not None:
                return
            self._gone_since = time.monotonic()
        logger.warning(
            "Redis at %s %s: %s; trying again for %.0f s",
            self.shown,
            "refuses for now" if refuses else "is gone",
            reason,
            self._patience_s,
        )

    def note_end_of_wait(self, waited: bool, served: bool) -> None:
        """A call ended, which had ``waited`` or not: ``served``, or given up.

        Redis may refuse writes and serve reads: it is back when no call waits any more.
        """
        with self._outage:
            self._waiting -= waited
            if not served or self._waiting or self._gone_since is None:
                return
            since, self._gone_since, self.refusal = self._gone_since, None, None
            self.reconnects += 1
        logger.warning("Redis at %s is back after %.1f s", self.shown, time.monotonic() - since)

    def _refusal(self, error: Exception) -> str:
        place, text = f"Redis at {self.shown}", first_line(error)
        if isinstance(error, AuthenticationError):
            return f"{place} refuses the login: {text}; {REDIS_VARIABLE} is redis://user:password@host:port/0"
        if isinstance(error, AuthorizationError | NoPermissionError):
            return f"{place} does not let this user: {text}"
        if "DB index" in text or text == "Invalid Database":
            return f"{place} has no database of this number ({text})"
        if text.startswith("LOST"):
            return (
                f"{place} has lost the run: go on from its newest checkpoint with "
                "'dials init --run NAME --resume'"
            )
        if isinstance(error, InvalidResponse):
            return f"what answers at {self.shown} is not a Redis"
        return f"{place} refuses: {text}"


class _Wait:
    """How long one call has been tried, and whether it is one of those that wait."""

    def __init__(self, link: RedisLink) -> None:
        self.start = time.monotonic()
        self._link = link
        self._pause_s = _FIRST_PAUSE_S
        self._waits = False

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.start

    def next_pause_s(self) -> float:
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, _LONGEST_PAUSE_S)
        return pause_s * random.uniform(0.5, 1.0)

    def begin(self, refuses: bool, reason: str) -> None:
        if not self._waits:
            self._waits = True
            self._link.note_wait(refuses, reason)

    def over(self) -> None:
        if self._waits or not self._link.answers:
            self._link.note_end_of_wait(self._waits, served=True)
        self._waits = False

    def given_up(self) -> None:
        if self._waits:
            self._link.note_end_of_wait(True, served=False)
