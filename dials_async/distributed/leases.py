"""Who has what: a group belongs to one learner at a time, and a run has one sampler, evaluator and keeper.

A lease keeps processes out of each other's way; it is not what keeps a run correct. That is the store's
compare-and-set: even two that believe to hold the same lease cannot both commit.
"""

from collections.abc import Iterable
from threading import Event, Lock

from dials_async.store.redis.runs import RunRegistry

#: Seconds after which a lease that is not renewed is free: a process that died is replaced after this time
#: by another, and at once by its own restart.
TTL_S = 10.0


class Leases:
    """The leases of one process in one run."""

    def __init__(self, registry: RunRegistry, run: str, owner: str) -> None:
        self._registry = registry
        self._run = run
        self._owner = owner
        self._held: dict[str, Event] = {}
        self._lock = Lock()

    def take(self, what: str) -> Event | None:
        """Hold ``what``: the event is set when it is lost. None if another process has it."""
        if not self._registry.claim(self._run, what, self._owner, TTL_S):
            return None
        with self._lock:
            return self._held.setdefault(what, Event())

    def give(self, what: str) -> None:
        """Let another process have ``what``."""
        with self._lock:
            self._held.pop(what, None)
        self._registry.unclaim(self._run, what, self._owner)

    def renew(self) -> None:
        """Keep what is held; called every second. What another process took meanwhile is lost."""
        with self._lock:
            held = list(self._held)
        for what in held:
            if not self._registry.claim(self._run, what, self._owner, TTL_S):
                with self._lock:
                    lost = self._held.pop(what, None)
                if lost is not None:
                    lost.set()

    def give_all(self) -> None:
        """Let others have everything, at the end."""
        for what in self._names():
            self.give(what)

    def _names(self) -> Iterable[str]:
        with self._lock:
            return list(self._held)
