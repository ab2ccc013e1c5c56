"""Where the time of a process goes, by phase; safe to use from many threads."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

PHASES = ("collect", "aip", "rollout", "learn", "evaluate")


class PhaseTimer:
    """Busy seconds by phase, summed over threads; and who is busy with what right now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._running: dict[int, tuple[str, float]] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Count the time inside the block for ``phase`` (one of PHASES)."""
        thread, start = threading.get_ident(), time.perf_counter()
        with self._lock:
            self._running[thread] = (phase, start)
        try:
            yield
        finally:
            with self._lock:
                del self._running[thread]
                self._seconds[phase] += time.perf_counter() - start

    def seconds(self) -> dict[str, float]:
        """Busy seconds of each phase so far."""
        with self._lock:
            return dict(self._seconds)

    def seconds_until_now(self) -> dict[str, float]:
        """The same, with the part of what is still running."""
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

    def add(self, seconds: dict[str, float]) -> None:
        """Add what an earlier session of the run counted."""
        with self._lock:
            for phase, value in seconds.items():
                if phase in self._seconds:
                    self._seconds[phase] += value
