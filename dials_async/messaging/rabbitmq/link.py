"""One connection to RabbitMQ on a thread of its own, made again when it is lost.

A connection of pika's belongs to one thread, which has to come back to it more often than the heartbeat; a
learner computes for longer. So the thread here does nothing else, and others hand it jobs.
"""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

from pika.adapters.blocking_connection import BlockingConnection
from pika.exceptions import AMQPConnectionError, ConnectionWrongStateError, StreamLostError

from dials_async.errors import BrokerError, BrokerUnreachableError
from dials_async.messaging.rabbitmq.alarm import Alarm
from dials_async.messaging.rabbitmq.connect import Address

logger = logging.getLogger("dials_async.messaging")

Result = TypeVar("Result")

#: Seconds between attempts to connect: doubled from the first to the last, times 0.5 to 1 by chance, so that
#: a hundred workers do not come back in step.
FIRST_PAUSE_S, LAST_PAUSE_S = 0.1, 5.0

#: Seconds between looks at what nobody wakes us for: somebody's ``give_up``, a channel the broker closed.
LOOK_S = 0.1
TURN_S = 0.5

#: Seconds that a call on a healthy connection may still take once ``give_up`` is set.
GIVE_UP_S = 1.0

#: Seconds to say goodbye in; then the connection is cut, which takes effect well within the second one.
GOODBYE_S, CUT_S = 1.5, 0.5

#: What calls on a closed link are told.
CLOSED = "the broker is closed"

#: Seconds after a reconnect in which a missing queue may just not have been declared again by its owner.
RECOVERY_S = 10.0


class Tenant(Protocol):
    """Whose connection it is. Called on the link's thread, outside of pika's own callbacks."""

    def came_up(self, connection: BlockingConnection) -> None:
        """Set up what lives on the connection. What this raises counts as a failure to connect."""

    def turn(self, connection: BlockingConnection) -> None:
        """Look after it, every TURN_S or more often."""

    def went_down(self, cause: str) -> None:
        """Forget what lived on it."""


class Outage(NamedTuple):
    """There is no connection."""

    since: float  # time.monotonic()
    cause: str
    refused: bool = False  # waiting does not help, unless somebody changes the rights


class Patience(NamedTuple):
    """How long a call waits for a broker that is away."""

    seconds: float
    give_up: threading.Event

    def is_over(self, since: float) -> bool:
        """Whether to stop waiting for what has been away since ``since``, in time.monotonic()."""
        return self.give_up.is_set() or time.monotonic() - since > self.seconds


class _LostError(Exception):
    """The connection was lost while the job ran: whether it took effect is not known."""


@dataclass(frozen=True, slots=True)
class _Job:
    run: Callable[[BlockingConnection], Any]
    future: "Future[Any]"


class Link:
    """Keeps a connection up from ``start`` to ``close``."""

    def __init__(self, address: Address, tenant: Tenant, purpose: str, patience: Patience) -> None:
        self.reconnects = 0
        self.outage: Outage | None = Outage(time.monotonic(), "not connected yet")
        self.alarm = Alarm(address.shown)
        self.patience = patience
        self._address = address
        self._tenant = tenant
        self._purpose = purpose
        self._connection: BlockingConnection | None = None
        self._up_since = 0.0
        self._jobs: deque[_Job] = deque()
        self._tried = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"dials-amqp-{purpose}", daemon=True)

    def start(self) -> None:
        """Connect in the background, for as long as it takes."""
        self._thread.start()

    def start_now(self) -> None:
        """Connect at once. Raises BrokerError, in one line, if that fails: unreachable, or refused."""
        self.start()
        self._tried.wait()
        if (outage := self.outage) is not None:
            close_links(self)
            raise BrokerError(outage.cause) if outage.refused else BrokerUnreachableError(outage.cause)

    @property
    def recovering(self) -> bool:
        """Whether the connection was made again so recently that queues may be missing for now."""
        return self.reconnects > 0 and time.monotonic() - self._up_since < RECOVERY_S

    def call(self, job: Callable[[BlockingConnection], Result]) -> Result:
        """Run ``job`` on the link's thread; again on the next connection if this one is lost meanwhile.

        Raises what ``job`` raises, and BrokerError once the link is closed or patience is over.
        """
        since = time.monotonic()
        while True:
            future = self._submit(job)
            with suppress(_LostError):
                return self._wait(future, since)

    def post(self, job: Callable[[BlockingConnection], None], wait_s: float = 0.0) -> None:
        """Run ``job`` on the link's thread soon; wait at most ``wait_s`` for it, never raise."""
        with suppress(BrokerError):
            future = self._submit(job)
            if wait_s > 0 and self.outage is None:
                with suppress(TimeoutError):
                    future.exception(wait_s)

    def pause(self, seconds: float) -> bool:
        """Wait; False if it was in vain since the link is closed or nobody waits any more."""
        return not self._closing.wait(seconds) and not self.patience.give_up.is_set()

    def hang_up(self) -> None:
        """Refuse new jobs, and let the thread end after those that are there."""
        self._closing.set()
        self._wake()

    def join(self, deadline: float) -> None:
        """Wait for the thread until ``deadline``, in time.monotonic()."""
        if self._thread.ident is not None:  # else it was never started
            self._thread.join(max(0.0, deadline - time.monotonic()))

    def cut(self) -> None:
        """End what waits for a broker that is silent."""
        connection = self._connection
        if connection is not None and self._thread.is_alive():
            inner = connection._impl  # pika has no public way to do this from another thread
            cut = partial(inner._terminate_stream, StreamLostError("cut by close"))
            inner.ioloop.add_callback_threadsafe(cut)

    def _submit(self, job: Callable[[BlockingConnection], Result]) -> "Future[Result]":
        future: Future[Result] = Future()
        if self._closing.is_set():
            raise BrokerError(CLOSED)
        self._jobs.append(_Job(job, future))
        self._wake()
        return future

    def _wait(self, future: "Future[Result]", since: float) -> Result:
        while True:
            with suppress(TimeoutError):
                future.exception(LOOK_S)
            if future.done():
                return future.result()
            outage = self.outage
            if self._closing.is_set():
                reason = CLOSED
            elif outage is not None and self.patience.is_over(outage.since):
                reason = outage.cause
            elif time.monotonic() - since > GIVE_UP_S and self.patience.is_over(since):
                reason = f"no answer from RabbitMQ at {self._address.shown}: short of memory or disk?"
            else:
                continue
            future.cancel()
            raise BrokerError(reason)

    def _wake(self) -> None:
        connection = self._connection
        if connection is not None:
            # If it is just being lost: the job is run, or refused, after the next attempt to connect.
            with suppress(ConnectionWrongStateError):
                connection.add_callback_threadsafe(lambda: None)

    # Below: on the link's thread.

    def _run(self) -> None:
        failures = 0
        while not self._closing.is_set():
            connection = self._open()
            self._tried.set()
            if connection is not None:
                failures = 0
                self._serve(connection)
            pause_s = min(LAST_PAUSE_S, FIRST_PAUSE_S * 2.0**failures) * random.uniform(0.5, 1.0)
            failures = min(failures + 1, 10)
            self._closing.wait(pause_s)
        self._tried.set()
        while self._jobs:
            job = self._jobs.popleft()
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(BrokerError(CLOSED))

    def _open(self) -> BlockingConnection | None:
        connection = None
        try:
            connection = self._connection = self._address.connect()
            self._tenant.came_up(connection)
        # pika documents its errors, and lets through others. Whatever it was, a new connection is the cure.
        except Exception as error:
            since = self.outage.since if self.outage else time.monotonic()
            self.outage = Outage(since, self._address.why(error), self._address.refuses(error))
            if connection is not None:
                self._tenant.went_down(self.outage.cause)
                self._hang_up_quietly(connection)
            return None
        if self._up_since > 0:
            self.reconnects += 1
            away_s = time.monotonic() - self.outage.since if self.outage else 0.0
            where = (self._address.shown, away_s, self._purpose)
            logger.warning("RabbitMQ at %s is back after %.1f s (%s)", *where)
        self.alarm.watch(connection)
        self._up_since = time.monotonic()
        self.outage = None
        return connection

    def _serve(self, connection: BlockingConnection) -> None:
        cause = "closed"
        try:
            while not self._closing.is_set():
                self._run_jobs(connection)
                self._tenant.turn(connection)
                connection.process_data_events(time_limit=TURN_S)
            self._run_jobs(connection)
        except Exception as error:  # as in _open
            cause = self._address.why(error)
            if not self._closing.is_set():
                logger.warning("%s; connecting again (%s)", cause, self._purpose)
        finally:
            # In this order: who sees no outage may count on the connection.
            self.outage, self.alarm.reason = Outage(time.monotonic(), cause), None
            self._tenant.went_down(cause)
            self._hang_up_quietly(connection)

    def _hang_up_quietly(self, connection: BlockingConnection) -> None:
        try:
            if connection.is_open:
                connection.close()
        except Exception as error:  # lost meanwhile: there is nothing left to close
            logger.debug("closing a connection: %s", error)
        self._connection = None

    def _run_jobs(self, connection: BlockingConnection) -> None:
        while self._jobs:
            job = self._jobs.popleft()
            if not job.future.set_running_or_notify_cancel():
                continue
            try:
                result = job.run(connection)
            except Exception as error:
                if isinstance(error, AMQPConnectionError) or not connection.is_open:
                    job.future.set_exception(_LostError())
                    raise
                job.future.set_exception(error)
            else:
                job.future.set_result(result)


def close_links(*links: Link) -> None:
    """Hang up on all of them and wait for their threads, 2 s at most. Twice is allowed.

    A thread may live on only while it connects to a host that does not answer: it ends with that attempt.
    """
    for link in links:
        link.hang_up()
    deadline = time.monotonic() + GOODBYE_S
    for link in links:
        link.join(deadline)
    for link in links:
        link.cut()
    for link in links:
        link.join(deadline + CUT_S)
