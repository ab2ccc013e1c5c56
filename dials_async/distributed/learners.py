"""The learner daemon: learns for its share of the groups, each on a thread of its own.

Without a shard the learners of a run share its groups evenly among those that are alive, and rebalance when
one comes or goes. With a shard, ``index/count``, it has the groups whose number is index modulo count.
"""

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Event
from typing import Any

from dials_async.distributed.connection import Connection
from dials_async.distributed.leases import TTL_S, Leases
from dials_async.distributed.shard import Shard
from dials_async.groups import Group
from dials_async.learning.inbox import Arrivals
from dials_async.learning.learner import GroupLearner
from dials_async.store.redis.runs import FAILED, INITIALISED, RUNNING, RunRegistry

#: Seconds between looks at who else is there.
BALANCE_S = 1.0

#: Seconds that a group's learner gets to finish the update it is in.
FINISH_S = 120.0


@dataclass
class _Learning:
    learner: GroupLearner
    released: Event
    thread: threading.Thread


class LearnerRole:
    """Holds leases on groups and learns for them."""

    def __init__(self, connection: Connection, leases: Leases, name: str, shard: Shard | None) -> None:
        self._context = connection.context
        self._registry = connection.registry
        self._leases = leases
        self._name = name
        self._shard = shard
        self._learning: dict[int, _Learning] = {}
        self._done: set[int] = set()
        self._past = Arrivals()  # of groups that this process no longer has
        self._failure: BaseException | None = None

    def run(self) -> None:
        """See Role. Raises what a group's learner raised."""
        context = self._context
        if self._registry.status(context.name).state in (INITIALISED, FAILED):
            self._registry.set_status(context.name, RUNNING)
        while not context.stop.is_set() and len(self._done) < len(context.groups):
            self._reap()
            self._balance()
            context.stop.wait(BALANCE_S)
        for learning in list(self._learning.values()):
            learning.thread.join(FINISH_S)
        self._reap()

    def facts(self) -> Mapping[str, Any]:
        """See Role."""
        learning = dict(self._learning)
        doing = [f"group {group}: {entry.learner.doing}" for group, entry in sorted(learning.items())]
        arrivals = [self._past, *(entry.learner.arrivals for entry in learning.values())]
        return {
            "doing": "; ".join(doing) or "no group: others have them, or all are done",
            "groups": {str(group): entry.learner.facts() for group, entry in sorted(learning.items())},
            "copies": sum(counts.copies for counts in arrivals),
            "dropped": sum(counts.dropped for counts in arrivals),
            "rejected": sum(counts.rejected for counts in arrivals),
        }

    def _balance(self) -> None:
        """Take groups while this process has less than its share, give one up while it has more."""
        wanted = [group for group in self._context.groups if self._is_mine(group)]
        share = self._share(len(wanted))
        for group in wanted:
            if len(self._learning) < share and group.index not in self._learning:
                self._start(group)
        for group_index in sorted(self._learning, reverse=True)[: max(0, len(self._learning) - share)]:
            self._learning[group_index].released.set()

    def _is_mine(self, group: Group) -> bool:
        if self._context.store.group_version(group.index) >= self._context.clock.n_updates:
            self._done.add(group.index)
            return False
        return self._shard is None or self._shard.has(group.index)

    def _share(self, wanted: int) -> int:
        if self._shard is not None:
            return wanted
        return math.ceil(wanted / len(living_learners(self._registry, self._context.name) | {self._name}))

    def _start(self, group: Group) -> None:
        lost = self._leases.take(_lease(group.index))
        if lost is None:
            return
        learner = GroupLearner(self._context, group, lost)
        thread = threading.Thread(
            target=self._learn, args=(learner,), name=f"group-{group.index}", daemon=True
        )
        self._learning[group.index] = _Learning(learner, lost, thread)
        thread.start()

    def _learn(self, learner: GroupLearner) -> None:
        try:
            learner.run()
        except BaseException as error:
            self._failure = self._failure or error

    def _reap(self) -> None:
        """Give back the leases of groups whose learner has ended. Raises what it raised."""
        for group, entry in list(self._learning.items()):
            if not entry.thread.is_alive():
                del self._learning[group]
                self._past = self._past.plus(entry.learner.arrivals)
                self._leases.give(_lease(group))
        if self._failure is not None:
            raise self._failure


def living_learners(registry: RunRegistry, run: str) -> set[str]:
    """The learner processes that were heard of lately, name@host."""
    return {
        f"{presence.facts['name']}@{presence.facts.get('host')}"
        for presence in registry.processes(run).values()
        if presence.facts.get("role") == "learner" and presence.age_s < TTL_S and "left" not in presence.facts
    }


def _lease(group: int) -> str:
    return f"group-{group}"
