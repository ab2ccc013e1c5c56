"""One process of a distributed run: joins, says what it is, beats while its role works, leaves in good order.

The role works on a thread of its own; the main thread takes signals, announces the process every second and
renews its leases. SIGTERM lets the role finish or give back what it has in hand.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from threading import Event
from types import FrameType
from typing import Any

from dials_async.addresses import amqp_url, redis_url, without_password
from dials_async.distributed.connection import Connection, wait_to_connect
from dials_async.distributed.leases import Leases
from dials_async.distributed.roles import Role
from dials_async.errors import (
    BrokerError,
    DialsError,
    NumericsError,
    RunNotFoundError,
    StoreError,
    TrainingError,
    in_one_line,
)
from dials_async.listening import METRICS_ADDRESS
from dials_async.metrics.endpoint import announced, make_metrics, served
from dials_async.metrics.health import State
from dials_async.metrics.phases import rounded
from dials_async.run_context import RunContext
from dials_async.runtime.machine import code_version, machine, machine_in_words, memory_mib
from dials_async.runtime.numerics import join_run, parts_of
from dials_async.runtime.warmup import compile_kernels
from dials_async.store.redis.runs import COMPLETE, FAILED

#: Seconds between two announcements of a process. Shorter only to watch closely.
BEAT_S = float(os.environ.get("DIALS_BEAT_S", "1"))

#: Seconds that a role gets to finish what it has in hand after SIGTERM.
LEAVE_S = 120.0

#: A process that was not heard of for so many seconds has left, or hangs.
SILENT_S = 5.0

#: Seconds without any process after which a run was paused, which its clock leaves out; not just restarted.
PAUSE_S = 10.0

#: Seconds between corrections of this process's clock.
CLOCK_S = 30.0

#: Kinds of processes that are seldom waited for while a run trains: they leave the processor to others.
BESIDE_TRAINING = ("evaluator", "keeper")

#: Kinds of processes whose failure is the run's. Of the others one sick host says nothing about the rest.
FAILS_THE_RUN = ("learner", "gs-sampler", "keeper")

#: Kinds of processes that run compiled kernels.
KERNELS = ("rollout", "learner", "gs-sampler", "evaluator")

#: How nice they are (0: as everybody, 19: most).
NICENESS = 10

#: What a process says last.
_LEFT = {"left": True, "doing": "left", "busy_with": []}

#: Makes the role of a process once it is connected.
MakeRole = Callable[[Connection, Leases, str], Role]


def process_name(role: str) -> str:
    """What this process is called on its host: honcho's name for it (rollout.2), or its role and pid."""
    return os.environ.get("HONCHO_PROCESS_NAME") or f"{role}-{os.getpid()}"


@dataclass(frozen=True)
class Joining:
    """How a process joins its run."""

    run: str
    wait_s: float = 0.0
    """Seconds to wait for servers and for the run to exist."""
    name: str | None = None
    """Of the process; None: honcho's name for it, or its role and pid."""
    allow_other_numerics: bool = False
    """Take part even if this process computes otherwise than the run."""
    metrics_address: str = METRICS_ADDRESS
    """Where Prometheus reads its numbers (``dials_async.metrics.endpoint``)."""


def serve(kind: str, joining: Joining, make_role: MakeRole) -> None:
    """Be a process of the run until the run is complete or a signal comes. Raises DialsError."""
    run = joining.run
    stop = Event()
    _stop_on_signals(stop)
    if kind in BESIDE_TRAINING:
        _step_back()
    name = joining.name or process_name(kind)

    def say(text: str) -> None:
        print(f"{name}: {text}", file=sys.stderr, flush=True)

    metrics = make_metrics(joining.metrics_address)
    health = metrics.health

    def wait_for(text: str) -> None:
        health.waits(text)
        say(text)

    with served(metrics, joining.metrics_address) as place:
        connection = wait_to_connect(run, stop, joining.wait_s, wait_for, metrics)
        if connection is None:
            return
        say(
            f"{kind} of run '{run}', dials-async {code_version()}, pid {os.getpid()}, RabbitMQ at "
            f"{without_password(amqp_url())}, Redis at {without_password(redis_url())}"
        )
        connection.registry.skip_pause(run, PAUSE_S)
        connection.set_clock()
        if kind in KERNELS:
            health.waits("compiling kernels, where they are not yet")
            compile_kernels(connection.context.config)  # on a host where nobody did
        daemon = Daemon(connection, kind, name)
        daemon.join(joining.allow_other_numerics)
        with announced(metrics, place, run, kind, name):
            try:
                daemon.run(make_role)
            except (BrokerError, StoreError):
                if not stop.is_set():
                    raise
                say("left while the servers were away; nothing is lost: what was in hand will be done again")
            finally:
                connection.close()
    say("leaving: " + ("asked to" if stop.is_set() and not daemon.completed else "done"))


class Daemon:
    """A process that has joined a run: its role's thread, its heartbeat, its leases."""

    def __init__(self, connection: Connection, kind: str, name: str) -> None:
        self._connection = connection
        self._context = connection.context
        self._health = self._context.metrics.health
        self._kind = kind
        self._name = name
        self._host = socket.gethostname()
        self._key = f"{name}@{self._host}/{os.getpid()}"
        self._leases = Leases(connection.registry, connection.context.name, f"{name}@{self._host}")
        self._failure: BaseException | None = None
        self.completed = False

    def join(self, allow_other_numerics: bool) -> None:
        """Enter the run's participants. Raises NumericsError, and says so to who asks for the status."""
        parts = parts_of(self._kind, self._context.simulation)
        self._health.waits("computing what this process computes, to compare it with the run")
        try:
            join_run(self._context, self._kind, parts, allow_other_numerics)
        except NumericsError as error:
            self._health.waits(f"refused: {error}")
            facts = {**self._identity(), **_LEFT, "phases": {}, "refused": str(error)}
            self._connection.registry.announce(self._context.name, self._key, facts)
            self._connection.close()
            raise

    def run(self, make_role: MakeRole) -> None:
        """Until the role ends, or the run does."""
        role = make_role(self._connection, self._leases, f"{self._name}@{self._host}")
        self._announce(role)
        thread = threading.Thread(target=self._guarded, args=(role,), name=self._kind, daemon=True)
        thread.start()
        self._health.works(lambda: self._state(role))
        next_clock = time.monotonic() + CLOCK_S
        stop = self._context.stop
        while thread.is_alive() and not stop.wait(BEAT_S):
            self._beat(role)
            if time.monotonic() > next_clock:
                self._connection.set_clock()
                next_clock = time.monotonic() + CLOCK_S
        thread.join(LEAVE_S)
        if self._failure is not None:
            self._raise(self._failure)
        self._leases.give_all()
        self._announce(role, left=True)

    def _guarded(self, role: Role) -> None:
        try:
            role.run()
        except BaseException as error:
            self._failure = error

    def _state(self, role: Role) -> State:
        """How it stands now; without a question to any server."""
        missing = ""
        if self._failure is not None:
            missing = f"failed: {type(self._failure).__name__}: {self._failure}"
        elif self._context.stop.is_set():
            missing = "leaving"
        elif not (self._connection.registry.connected and self._context.store.connected):
            missing = f"waiting for Redis at {without_password(redis_url())}"
        elif not self._context.broker.connected:
            missing = f"waiting for RabbitMQ at {without_password(amqp_url())}"
        return State(missing, str(role.facts()["doing"]))

    def _beat(self, role: Role) -> None:
        self._health.beat()
        self._announce(role)
        self._leases.renew()
        registry, name = self._connection.registry, self._context.name
        try:
            state, life = registry.status(name).state, registry.life(name)
        except RunNotFoundError:
            raise StoreError(
                f"Redis at {without_password(redis_url())} has lost the run: go on from its newest "
                f"checkpoint with 'dials init --run {self._context.name} --resume'"
            ) from None
        if life != self._context.store.life:
            raise StoreError(f"the run '{name}' was made anew: this process belongs to the one before")
        if state == COMPLETE:
            self.completed = True
            self._context.stop.set()

    def _announce(self, role: Role, left: bool = False) -> None:
        facts: dict[str, Any] = {
            **self._identity(),
            "phases": rounded(self._context.phases.seconds()),
            "cpu_phases": rounded(self._context.phases.cpu_seconds()),
            "busy_with": sorted(self._context.phases.busy_with()),
            "memory_mib": memory_mib(),
            "cpu_seconds": round(time.process_time(), 2),
            "reconnects": self._context.broker.reconnects,
            "waits_for": _refusals(self._context),
            **role.facts(),
        }
        if left:
            facts |= _LEFT
        self._connection.registry.announce(self._context.name, self._key, facts)

    def _identity(self) -> dict[str, Any]:
        return {
            "name": self._name,
            "role": self._kind,
            "host": self._host,
            "pid": os.getpid(),
            "code": code_version(),
            "processor": machine()["cpu"],
            "machine": machine_in_words(),
            "numerics": self._context.numerics,
        }

    def _raise(self, failure: BaseException) -> None:
        if not isinstance(failure, DialsError):
            cause = failure
            failure = TrainingError(f"{self._name} failed: {in_one_line(cause)}")
            failure.__cause__ = cause
        if isinstance(failure, TrainingError) and self._kind in FAILS_THE_RUN:
            self._connection.registry.set_status(self._context.name, FAILED, f"{self._name}: {failure}")
        raise failure


def _refusals(context: RunContext) -> list[str]:
    """Servers that are there and refuse for now, and why."""
    servers = (("Redis", context.store), ("RabbitMQ", context.broker))
    return [f"{name}: {server.refusal}" for name, server in servers if server.refusal is not None]


def _step_back() -> None:
    """Lower the priority of this process."""
    os.nice(NICENESS)
    # Where Linux groups processes by session (honcho gives each its own), niceness counts within the group
    # alone: the evaluator would get as much of a core as both threads of a refresh. The group has its own.
    if os.getsid(0) != os.getpid():  # a terminal's, with whatever else was started there
        return
    with suppress(OSError), open("/proc/self/autogroup", "w", encoding="ascii") as file:
        file.write(str(NICENESS))


def _stop_on_signals(stop: Event) -> None:
    def handle(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
