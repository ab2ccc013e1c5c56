"""The roles of a process in a run: each a loop, and what it says of itself. The learner is in ``learners``.

The keeper, which writes the run's folder, is ``dials_async.distributed.keeper``.
"""

from collections.abc import Callable, Mapping
from threading import Event
from typing import Any, Protocol

from dials_async.distributed.connection import Connection
from dials_async.distributed.leases import Leases
from dials_async.evaluation.evaluator import Evaluator
from dials_async.influence.sampler import gs_sampler as make_sampler
from dials_async.part import Part
from dials_async.rollout.worker import RolloutWorker
from dials_async.runtime.machine import cores

#: Seconds between tries to get a lease that another process has.
STANDBY_S = 1.0


class Role(Protocol):
    """What a process does in a run."""

    def run(self) -> None:
        """Do it, until the run is done or the process is told to stop."""
        ...

    def facts(self) -> Mapping[str, Any]:
        """What others may want to know of it now: "doing", and counters; JSON."""
        ...


class RolloutRole:
    """Serves rollout tasks; any number of these may run."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._worker = RolloutWorker(connection.context, name)

    def run(self) -> None:
        """See Role."""
        self._worker.run()

    def facts(self) -> Mapping[str, Any]:
        """See Role."""
        worker = self._worker
        return {
            "doing": worker.doing,
            "tasks_done": worker.tasks_done,
            "tasks_outdated": worker.tasks_outdated,
            "rejected": worker.tasks_rejected,
        }


class SingleRole:
    """A part of which a run has one: further processes stand by and take over when it is gone."""

    def __init__(self, what: str, stop: Event, leases: Leases, make: Callable[[Event], Part]) -> None:
        self._what = what
        self._stop = stop
        self._leases = leases
        self._make = make
        self._part: Part | None = None

    def run(self) -> None:
        """See Role."""
        while not self._stop.is_set():
            lost = self._leases.take(self._what)
            if lost is None:
                self._stop.wait(STANDBY_S)
                continue
            self._part = self._make(lost)
            self._part.run()
            if not lost.is_set():
                self._leases.give(self._what)
                return
            self._part = None

    def facts(self) -> Mapping[str, Any]:
        """See Role."""
        return {
            "doing": self._part.doing if self._part else f"standing by: another process is the {self._what}"
        }


def gs_sampler(connection: Connection, leases: Leases) -> Role:
    """Refreshes the AIPs; uses all cores for it, since everybody waits for it meanwhile."""
    context = connection.context
    return SingleRole("gs-sampler", context.stop, leases, lambda lost: make_sampler(context, cores(), lost))


def evaluator(connection: Connection, leases: Leases) -> Role:
    """Measures policies on the GS, beside training."""
    context = connection.context
    return SingleRole("evaluator", context.stop, leases, lambda lost: Evaluator(context, cores(), lost))
