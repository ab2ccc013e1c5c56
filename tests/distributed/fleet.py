"""A distributed run inside a test: real servers, each process on a thread with connections of its own."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event

from dials_async.distributed import roles
from dials_async.distributed.connection import Connection, connect
from dials_async.distributed.daemon import Daemon, MakeRole
from dials_async.distributed.keeper import Keeper
from dials_async.distributed.learners import LearnerRole
from dials_async.runtime.results import weights_sha256

LONG_S = 300.0  # never reached by a test that passes

MAKE: dict[str, MakeRole] = {
    "rollout": lambda link, _, me: roles.RolloutRole(link, me),
    "learner": lambda link, leases, me: LearnerRole(link, leases, me, None),
    "gs-sampler": lambda link, leases, _: roles.gs_sampler(link, leases),
    "evaluator": lambda link, leases, _: roles.evaluator(link, leases),
    "keeper": lambda link, leases, _: Keeper(link, leases, "test"),
}


class Member:
    """One process of the run, as a thread."""

    def __init__(
        self,
        kind: str,
        name: str,
        run: str,
        make: MakeRole | None = None,
        allow_other_numerics: bool = False,
    ) -> None:
        self.kind = kind
        self.name = name
        self.stop = Event()
        self.error: BaseException | None = None
        self.connection: Connection = connect(run, self.stop)
        daemon = Daemon(self.connection, kind, name)
        daemon.join(allow_other_numerics)
        self._thread = threading.Thread(target=self._serve, args=(daemon, make or MAKE[kind]), daemon=True)
        self._thread.start()

    def _serve(self, daemon: Daemon, make: MakeRole) -> None:
        try:
            daemon.run(make)
        except BaseException as error:
            self.error = error
        finally:
            self.connection.close()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def leave(self) -> None:
        """As SIGTERM would end it."""
        self.stop.set()
        self.join()

    def join(self) -> None:
        self._thread.join(LONG_S)
        assert not self._thread.is_alive(), f"{self.name} does not leave"


class Fleet:
    """All processes of one run."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.members: list[Member] = []

    def start(self, **counts: int) -> list[Member]:
        """Start so many of each kind: ``start(rollout=4, gs_sampler=1)``."""
        started = []
        for kind, count in counts.items():
            for _ in range(count):
                name = f"{kind}.{len(self.members) + 1}"
                started.append(Member(kind.replace("_", "-"), name, self.run))
                self.members.append(started[-1])
        return started

    def add(self, kind: str, name: str, make: MakeRole) -> Member:
        """Start one with a role of its own."""
        self.members.append(Member(kind, name, self.run, make))
        return self.members[-1]

    def start_all(self, rollout: int = 1, learner: int = 1) -> None:
        self.start(keeper=1, learner=learner, rollout=rollout, gs_sampler=1, evaluator=1)

    def wait(self) -> None:
        """Until every process has left by itself; raises what one of them raised."""
        for member in self.members:
            deadline = time.monotonic() + LONG_S
            while member.is_alive() and time.monotonic() < deadline:
                member._thread.join(0.1)
                self.require_health()
            member.join()
        self.require_health()

    def require_health(self) -> None:
        for member in self.members:
            if member.error is not None:
                raise member.error

    def stop(self) -> None:
        for member in self.members:
            member.stop.set()
        for member in self.members:
            member.join()


@contextmanager
def fleet(run: str) -> Iterator[Fleet]:
    """A fleet that leaves at the end of the block."""
    result = Fleet(run)
    try:
        yield result
    finally:
        result.stop()


@contextmanager
def observer(run: str) -> Iterator[Connection]:
    """A connection that takes no part."""
    connection = connect(run, Event())
    try:
        yield connection
    finally:
        connection.close()


def final_sha256(run: str) -> str:
    with observer(run) as connection:
        return weights_sha256(connection.context)


def eventually(condition: Callable[[], object]) -> bool:
    deadline = time.monotonic() + LONG_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(condition())
