"""Where the time of a process goes, by phase; safe to use from many threads.

Busy seconds are wall time: they include waiting, for a core, a simulator in another process, or threads that
work for the one that waits. CPU seconds are what threads of this process computed, also those of a pool.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple, ParamSpec, TypeVar

PHASES = ("collect", "aip", "rollout", "learn", "evaluate")

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Busy(NamedTuple):
    """Seconds by phase, summed over threads."""

    wall: Mapping[str, float]
    cpu: Mapping[str, float]


def rounded(seconds: Mapping[str, float]) -> dict[str, float]:
    """To milliseconds, to be written down."""
    return {phase: round(value, 3) for phase, value in seconds.items()}


class PhaseTimer:
    """Busy and CPU seconds by phase, summed over threads; and who is busy with what right now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._cpu = dict.fromkeys(PHASES, 0.0)
        self._running: dict[int, tuple[str, float]] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Count the time inside the block for ``phase`` (one of PHASES)."""
        thread, start = threading.get_ident(), time.perf_counter()
        with self._lock:
            self._running[thread] = (phase, start)
        try:
            with self._computing(phase):
                yield
        finally:
            with self._lock:
                del self._running[thread]
                self._seconds[phase] += time.perf_counter() - start

    @contextmanager
    def _computing(self, phase: str) -> Iterator[None]:
        before = time.thread_time()
        try:
            yield
        finally:
            with self._lock:
                self._cpu[phase] += time.thread_time() - before

    def on(self, pool: Executor, phase: str) -> Executor:
        """``pool``; what its threads compute for this one counts as CPU seconds of ``phase``."""
        return _Counted(pool, lambda: self._computing(phase))

    def seconds(self) -> dict[str, float]:
        """Busy seconds of each phase so far."""
        with self._lock:
            return dict(self._seconds)

    def cpu_seconds(self) -> dict[str, float]:
        """CPU seconds of each phase so far."""
        with self._lock:
            return dict(self._cpu)

    def busy(self) -> Busy:
        """Both."""
        return Busy(self.seconds(), self.cpu_seconds())

    def seconds_until_now(self) -> dict[str, float]:
        """Busy seconds, with the part of what is still running."""
        now = time.perf_counter()
        with self._lock:
            total = dict(self._seconds)
            for phase, start in self._running.values():
                total[phase] += now - start
        return total

    def busy_with(self) -> set[str]:
        """Phases that some thread is in at this moment."""
        with self._lock:
            return {phase for phase, _ in self._running.values()}

    def add(self, earlier: Busy) -> None:
        """Add what an earlier session of the run counted."""
        with self._lock:
            for total, counted in ((self._seconds, earlier.wall), (self._cpu, earlier.cpu)):
                for phase, value in counted.items():
                    if phase in total:
                        total[phase] += value


class _Counted(Executor):
    """A pool whose jobs run inside of ``computing``."""

    def __init__(self, pool: Executor, computing: Callable[[], AbstractContextManager[None]]) -> None:
        self._pool, self._computing = pool, computing

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """See Executor."""

        def job() -> _T:
            with self._computing():
                return fn(*args, **kwargs)

        return self._pool.submit(job)
